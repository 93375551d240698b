"""Turn messages into ordered, gap-filled tracks. Pure."""
