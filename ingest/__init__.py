"""WebSocket to Kafka: parse, validate, encode, publish, push back. Knows nothing of tracks."""
