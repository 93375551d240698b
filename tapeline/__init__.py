"""What people run: the command line, and what it is made of."""
