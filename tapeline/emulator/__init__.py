"""The platform, emulated: calls, faults, and what a perfect receiver must hold."""
