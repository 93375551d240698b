"""How much silence gaps are filled with. Pure.

Numbers are a sender's to choose: one message may say that a year is missing. So a take is filled up with no
more than its samples and the time that can have passed, and the takes of a stream together with no more than
a few times the audio that came, and what a telephone call would have had in that time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from processors.core.assemble.state import TrackState

#: How much more silence is filled in than the time that has passed: clocks differ, and so do their rates.
_MARGIN_US = 60_000_000
#: Silence for each sample that a stream received, at most.
_TIMES_RECEIVED = 8
#: Samples of two tracks of telephone audio, in a second.
_CALL_HZ = 16_000


@dataclass(frozen=True, slots=True)
class GapLimit:
    """The limit of one stream."""

    began_us: int
    """When its first message was received, by the gateway's clock."""
    max_gap_ms: int
    """The most silence of one gap; nor does a longer time that passed allow for more."""
    takes: Sequence[TrackState]
    """All takes of the stream."""

    def room(self, take: TrackState, received_us: int) -> int:
        """Return how many samples a gap of a take may have, before a message received at a time."""
        passed_us = max(0, received_us - self.began_us) + _MARGIN_US
        own = take.stats.samples + passed_us * take.rate_hz // 1_000_000 - take.gap_samples
        most_us = min(passed_us, self.max_gap_ms * 1000 + _MARGIN_US)
        received = sum([one.stats.samples for one in self.takes])
        filled = sum([one.gap_samples for one in self.takes])
        common = _TIMES_RECEIVED * received + most_us * _CALL_HZ // 1_000_000 - filled
        return max(0, min(own, common, self.max_gap_ms * take.rate_hz // 1000))
