"""Since when each stream of a partition has been silent, by a worker's monotonic clock. Pure.

Times are those of the fetches that brought the records, or showed that there were none: a worker that
stands still, or works off its batches late, hears no silence in the meantime.
"""

from dataclasses import dataclass
from heapq import heappop, heappush

#: Two fetches of a partition that lie further apart, in seconds, prove nothing about the time between: Kafka
#: was away, or the worker stood still. Those of an idle partition come every second or oftener.
STALL_S = 2.0
#: No stream is closed by a shorter silence, in milliseconds: behind a pause that is no stall yet, what waited
#: for Kafka must have time to come.
SHORTEST_WAIT_MS = 3000
#: A silence that was appended, and is not read back, is asked for again after so many seconds.
ASK_AGAIN_S = 30.0


@dataclass(slots=True)
class _Stream:
    heard_s: float
    wait_s: float
    look_s: float
    """When to look at it next: in the heap. Never later than when it is due."""


class SilenceDetector:
    """Which streams have been silent for as long as they may be. A look costs nothing for the others."""

    def __init__(self) -> None:
        self._streams: dict[str, _Stream] = {}
        self._looks: list[tuple[float, str]] = []
        self._restarted_s = 0.0
        self._fetched_s: float | None = None

    def fetched(self, fetched_s: float) -> None:
        """Note a fetch; each silence begins anew with the first one, and with one after a stall."""
        if self._fetched_s is None or fetched_s - self._fetched_s > STALL_S:
            self.restart(fetched_s)
        self._fetched_s = fetched_s

    def restart(self, now_s: float) -> None:
        """Let each silence begin now."""
        self._restarted_s = now_s

    def heard(self, name: str, wait_s: float, now_s: float) -> None:
        """Note that a stream was heard, and how long it may be silent from then on."""
        due_s = now_s + wait_s
        stream = self._streams.get(name)
        if stream is None:
            self._streams[name] = _Stream(now_s, wait_s, due_s)
        else:
            stream.heard_s, stream.wait_s = now_s, wait_s
            if due_s >= stream.look_s:
                return  # mostly: when it is looked at, there will be time left
            stream.look_s = due_s
        heappush(self._looks, (due_s, name))

    def forget(self, name: str) -> None:
        """Watch a stream no longer."""
        self._streams.pop(name, None)

    def due(self, now_s: float) -> list[str]:
        """Return the streams that have been silent for too long.

        Each once, until it is heard or ``ASK_AGAIN_S`` have passed.
        """
        due: list[str] = []
        while self._looks and self._looks[0][0] <= now_s:
            look_s, name = heappop(self._looks)
            stream = self._streams.get(name)
            if stream is None or stream.look_s != look_s:
                continue
            stream.look_s = max(stream.heard_s, self._restarted_s) + stream.wait_s
            if stream.look_s <= now_s:
                due.append(name)
                stream.look_s = now_s + ASK_AGAIN_S
            heappush(self._looks, (stream.look_s, name))
        return due
