"""What every process needs: clients of Kafka and of the registry, metrics, memory, throttled logging."""
