"""Kafka to tracks, metrics and recordings."""
