"""How much time lies between two records of a stream, by what stands in the log. Pure.

Two clocks date a record: the gateway's, when it read the message, and Kafka's. Neither is enough. While Kafka
is away, messages wait at a gateway: Kafka dates them seconds apart, though they came one right behind the
other. A spool that empties does the opposite; and the clocks of two gateways differ. So time has passed only
as far as both say so.
"""

import msgspec


class Instant(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """When a record came, by both clocks."""

    kafka_ms: int = 0
    """Kafka's timestamp."""
    received_us: int = 0
    """By the gateway's clock."""

    def ms_since(self, earlier: "Instant") -> int:
        """Return the time from an earlier record to this one, in milliseconds; 0 if a clock ran back."""
        received_ms = (self.received_us - earlier.received_us) // 1000
        return max(0, min(self.kafka_ms - earlier.kafka_ms, received_ms))
