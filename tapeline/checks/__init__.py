"""Checking recordings and the log: rebuild, verify, audit, compare."""
