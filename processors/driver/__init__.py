"""Faust, as we need it: batches, committable offsets, punctuations, checked fetches."""
