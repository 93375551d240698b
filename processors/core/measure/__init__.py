"""Tracks into measures, of each track and of the conversation. Pure."""
