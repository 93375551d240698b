"""Up to which number the records of a spool are published, though the disk lets them not be removed.

A disk that is full takes no removal either: SQLite writes what it changes. These eight bytes beside the spool
are there from the beginning and only overwritten, so noting takes no room. Every function blocks.
"""

import os
from contextlib import suppress
from pathlib import Path

_SUFFIX = ".mark"
_BYTES = 8
_NONE = -(2**63)


class Mark:
    """The number up to which nothing of a spool counts any more; None for none."""

    def __init__(self, spool: Path) -> None:
        """Read it, or make room for it. Without room it is kept in memory alone."""
        self._path = spool.with_suffix(_SUFFIX)
        self.number: int | None = None
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                found = os.pread(descriptor, _BYTES, 0)
                if len(found) == _BYTES:
                    number = int.from_bytes(found, "big", signed=True)
                    self.number = None if number == _NONE else number
                else:
                    os.pwrite(descriptor, _encoded(_NONE), 0)
            finally:
                os.close(descriptor)

    def set(self, number: int | None) -> None:
        """Note a number, durably. Raise OSError; it holds for this process all the same."""
        if number == self.number:
            return
        self.number = number
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            os.pwrite(descriptor, _encoded(_NONE if number is None else number), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def delete(self) -> None:
        """Delete its file: the spool is no more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _encoded(number: int) -> bytes:
    return number.to_bytes(_BYTES, "big", signed=True)
