"""What Tapeline costs and how fast it is, measured on the machine at hand. ``python -m benchmarks``."""
