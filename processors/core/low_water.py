"""From which record on each stream of a partition has to be read again. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sortedcontainers import SortedSet

from processors.core.processor import StreamProcessor

A = TypeVar("A")


@dataclass(slots=True, eq=False)
class Entry(Generic[A]):
    """A stream of a partition: its processor, and what of it is saved."""

    processor: StreamProcessor[A, Any]
    closed: bool = False
    first_unsaved: int | None = None
    saved_needs: int | None = None

    @property
    def low_water(self) -> int | None:
        """The lowest offset that this stream still needs."""
        needed = (self.first_unsaved, self.saved_needs)
        return min((o for o in needed if o is not None), default=None)


class LowWaters:
    """The lowest offset that each stream still needs, in their order."""

    def __init__(self) -> None:
        self._sorted = SortedSet()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter(self._sorted)

    def lowest(self) -> int | None:
        """Return the lowest of all; None where no stream needs a record."""
        return self._sorted[0][0] if self._sorted else None

    def changed(self, name: str, before: int | None, after: int | None) -> None:
        """Note what a stream needs now, given what it needed before."""
        if after != before:
            if before is not None:
                self._sorted.discard((before, name))
            if after is not None:
                self._sorted.add((after, name))
