"""The contract: Avro schemas, their codec, and the Kafka topics. Imports nothing of ours."""
