"""What processors raise in what is done by time, and not at a record. Pure."""

from collections.abc import Callable
from typing import TypeVar

from schemas.errors import ENVIRONMENTAL

T = TypeVar("T")


class Defects:
    """The defects of a partition's streams.

    No record is at fault, so there is none at which a replay would meet it again. A stream whose state may be
    changed by half is broken: it is saved no more, and closed at its next record. Else what could not be done
    is tried again.
    """

    def __init__(self) -> None:
        self.broken: dict[str, Exception] = {}
        self._untold: list[tuple[str, Exception]] = []

    def guarded(self, name: str, do: Callable[[], T], *, changes: bool = False) -> T | None:
        """Return what is done for a stream, or None if that raises; ``changes``: it changes the state.

        Raise what is no fault of the stream (``ENVIRONMENTAL``).
        """
        try:
            return do()
        except ENVIRONMENTAL:
            raise
        except Exception as error:  # a stream that fails must not stop the others
            self._untold.append((name, error))
            if changes:
                self.broken[name] = error
            return None

    def told(self) -> list[tuple[str, Exception]]:
        """Return what was raised, by stream, since this was last called."""
        told, self._untold = self._untold, []
        return told
