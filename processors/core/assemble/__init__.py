"""Messages into clean, ordered, gap-filled tracks. Pure."""
