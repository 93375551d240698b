"""How a track's losses lie: filled gaps, and bursts as RFC 3611, 4.7.2, tells them from gaps. Pure.

A burst begins and ends with a lost chunk, holds two or more, and fewer than 16 in a row came inside. All that
lies outside of bursts is a gap by that document, with the single chunks that were lost in it.
"""

import msgspec

from schemas.events import Delivery, Gap
from schemas.schema import Record

#: RFC 3611: so many chunks in a row that came end a burst.
GMIN = 16


class Losses(msgspec.Struct, array_like=True):
    """Counters of a track's losses, in samples, as a checkpoint holds them."""

    filled: int = 0
    """Number of filled gaps."""
    lost: int = 0
    began: int = 0
    """The burst that may go on: where it began, its end so far, and what was lost in it."""
    ended: int = 0
    burst_lost: int = 0
    bursts: int = 0
    """The bursts that are over: their number, length, and what was lost in them."""
    bursts_length: int = 0
    bursts_lost: int = 0

    def add(self, gap: Gap, delivery: Delivery) -> None:
        """Count a gap, or what follows of the last one."""
        if not self.burst_lost or gap.first_sample != self.ended:
            self.filled += 1
            received = gap.first_sample - self.ended
            if not self.burst_lost or received * delivery.received >= GMIN * delivery.samples:
                self.bursts, self.bursts_length, self.bursts_lost = self._with_last(delivery)
                self.began, self.burst_lost = gap.first_sample, 0
        self.lost += gap.samples
        self.burst_lost += gap.samples
        self.ended = gap.first_sample + gap.samples

    def _with_last(self, delivery: Delivery) -> tuple[int, int, int]:
        """Return number, length and losses of all bursts; a loss of less than 1.5 mean chunks is none."""
        if 2 * self.burst_lost * delivery.received < 3 * delivery.samples or not self.burst_lost:
            return self.bursts, self.bursts_length, self.bursts_lost
        length = self.ended - self.began
        return self.bursts + 1, self.bursts_length + length, self.bursts_lost + self.burst_lost

    def record(self, samples: int, rate_hz: int, delivery: Delivery | None) -> Record:
        """Return the measures of a track of so many samples, as fields of ``TrackMetrics``."""
        if delivery is None or not delivery.samples:
            return {}
        bursts, length, lost = self._with_last(delivery)
        mean_gap = self.lost / self.filled if self.filled else 0
        received = 1 - self.lost / samples if samples else 1
        outside = samples - length
        return {
            "gaps": self.filled,
            "mean_gap_ms": mean_gap * 1000 / rate_hz if self.filled else None,
            "burst_ratio": mean_gap * delivery.received / delivery.samples * received
            if self.filled
            else None,
            "loss_bursts": bursts,
            "loss_burst_ms": length / bursts * 1000 / rate_hz if bursts else None,
            "loss_burst_density": lost / length if length else None,
            "loss_gap_density": (self.lost - lost) / outside if outside > 0 else None,
        }
