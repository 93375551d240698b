"""Proving and repairing: rebuild, verify, audit, compare."""
