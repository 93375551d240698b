"""Everything on one machine: the embedded Kafka, the whole stack, the demo."""
