"""Delivery statistics of a track's messages: counts, sizes, the spacing of arrivals. Pure.

They are counters and a histogram, so nothing grows with the call.
"""

from collections.abc import Iterable

import msgspec

from processors.core.histogram import bucket_of, percentiles
from schemas.events import Delivery


class DeliveryStats(msgspec.Struct, array_like=True):
    """A track's delivery statistics, as a checkpoint holds them."""

    received: int = 0
    lost: int = 0
    duplicate: int = 0
    late: int = 0
    reordered: int = 0
    samples: int = 0
    shortest_chunk: int = 0
    longest_chunk: int = 0
    last_arrival_us: int = -1
    longest_spacing_us: int = 0
    arrivals: int = 0
    spacings: dict[int, int] = {}
    """How many spacings fell into each bucket."""

    def arrived(self, received_us: int) -> None:
        """Count a chunk that is no duplicate, at a time in microseconds by the gateway's clock.

        Two gateways' clocks may differ: a spacing below 0 counts as 0.
        """
        if self.last_arrival_us >= 0:
            spacing = max(0, received_us - self.last_arrival_us)
            bucket = bucket_of(spacing)
            self.spacings[bucket] = self.spacings.get(bucket, 0) + 1
            if spacing > self.longest_spacing_us:
                self.longest_spacing_us = spacing
        self.arrivals += 1
        self.last_arrival_us = received_us

    def used(self, samples: int) -> None:
        """Count a chunk of so many samples in the audio; an empty one is neither long nor short."""
        self.received += 1
        self.samples += samples
        if samples > self.longest_chunk:
            self.longest_chunk = samples
        if 0 < samples < self.shortest_chunk or not self.shortest_chunk:
            self.shortest_chunk = samples

    def delivery(self) -> Delivery:
        """Return the statistics so far."""
        median, p95, p99 = self._percentiles((0.5, 0.95, 0.99))
        return Delivery(
            received=self.received,
            lost=self.lost,
            duplicate=self.duplicate,
            late=self.late,
            reordered=self.reordered,
            samples=self.samples,
            shortest_chunk=self.shortest_chunk,
            longest_chunk=self.longest_chunk,
            spacing_median_us=median,
            spacing_p95_us=p95,
            spacing_p99_us=p99,
            spacing_max_us=self.longest_spacing_us if self.spacings else None,
        )

    def _percentiles(self, shares: Iterable[float]) -> list[int | None]:
        """Return, for each share, the spacing that so many do not exceed (nearest rank), in microseconds.

        It is the upper border of its bucket; None when there is no spacing.
        """
        if not self.spacings:
            return [None for _ in shares]
        return [min(border, self.longest_spacing_us) for border in percentiles(self.spacings, shares)]
