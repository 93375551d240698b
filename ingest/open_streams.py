"""Which streams a connection has open, as far as what came over it tells. Pure."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

#: So many streams that have ended are remembered, for what comes behind their end.
REMEMBERED_ENDS = 1024


class OpenStreams:
    """The open streams of one connection, at most so many."""

    def __init__(self, limit: int, silent_s: float, may_open: Callable[[], bool] = lambda: True) -> None:
        """``silent_s``: a stream that said nothing for so long gives way to a new one.

        ``may_open`` tells whether one more may begin now, whatever the limit says.
        """
        self._limit = limit
        self._may_open = may_open
        self.too_soon = False
        """Whether the last that was one too many was so by ``may_open``."""
        self._silent_us = round(silent_s * 1e6)
        self._last_us: dict[int, int] = {}
        self._ended: dict[int, None] = {}

    @property
    def ids(self) -> AbstractSet[int]:
        """Their numbers."""
        return self._last_us.keys()

    def note(self, stream_id: int, kind: str, now_us: int) -> bool:
        """Note a message of a type, at a time in microseconds; return False if its stream is one too many.

        What comes behind an ``end_stream`` opens nothing, an ``init_stream`` apart: the number is used again.
        """
        if kind == "end_stream":
            self._last_us.pop(stream_id, None)
            self._ended.pop(stream_id, None)
            self._ended[stream_id] = None
            if len(self._ended) > REMEMBERED_ENDS:
                del self._ended[next(iter(self._ended))]
        elif stream_id in self._last_us:
            self._last_us[stream_id] = now_us
        elif stream_id not in self._ended or kind == "init_stream":
            if len(self._last_us) >= self._limit:
                self._drop_silent(now_us - self._silent_us)
                if len(self._last_us) >= self._limit:
                    self.too_soon = False
                    return False
            if not self._may_open():
                self.too_soon = True
                return False
            self._ended.pop(stream_id, None)
            self._last_us[stream_id] = now_us
        return True

    def _drop_silent(self, since_us: int) -> None:
        self._last_us = {stream_id: last for stream_id, last in self._last_us.items() if last > since_us}
