"""The three agents: decode, call core, send."""
