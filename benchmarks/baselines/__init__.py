"""What the stages are compared with: limits, plain Python, other languages. Users need none of them."""
