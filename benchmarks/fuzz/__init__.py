"""Fuzzing: no message ends anything but its own stream.

``python -m benchmarks.fuzz``: a million messages through the gateway's parser and all that comes behind it,
without sockets and Kafka. ``python -m benchmarks fuzz``: messages and frames over sockets, to a gateway.
"""
