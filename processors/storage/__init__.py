"""Where recordings go."""
