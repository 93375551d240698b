"""Faust around the pure part: decode, call core, send."""
