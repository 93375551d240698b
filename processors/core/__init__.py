"""The pure part: decides everything, touches nothing. No clock, no I/O, no event loop."""
