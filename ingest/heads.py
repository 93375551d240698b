"""What the processes of a gateway tell each other: how old the oldest record is that each one spools.

Beside its spool a process keeps a file with that time, as decimal digits, while it spools. It outlives the
process as the spool does, and the next of that number goes on with both. Every function blocks. All raise
OSError.
"""

from contextlib import suppress
from pathlib import Path

_SUFFIX = ".head"


class Heads:
    """The times of the processes whose spools lie in one folder."""

    def __init__(self, spool: Path) -> None:
        """Speak for the process with this spool. Its file is left as it is until the first exchange."""
        self._own = spool.with_suffix(_SUFFIX)
        self._has_told = False
        self._told_us: int | None = None

    def exchange(self, oldest_us: int | None) -> dict[str, int]:
        """Tell the others when our oldest record was received; return what they told, by the spools' names.

        Times in microseconds since the epoch; None when there is no record that they must wait for.
        """
        self._tell(oldest_us)
        found = {}
        for path in self._own.parent.glob(f"*{_SUFFIX}"):
            if path != self._own:
                # It may be gone by now, or hold what a crash of the machine left.
                with suppress(FileNotFoundError, ValueError):
                    found[path.stem] = int(path.read_text())
        return found

    def _tell(self, oldest_us: int | None) -> None:
        if self._has_told and oldest_us == self._told_us:
            return
        if oldest_us is None:
            self._own.unlink(missing_ok=True)
        else:
            new = self._own.with_suffix(".head-new")
            new.write_text(str(oldest_us))
            new.replace(self._own)
        self._has_told, self._told_us = True, oldest_us


def forget_heads(folder: Path) -> None:
    """Delete what processes that are gone have told."""
    for path in folder.glob(f"*{_SUFFIX}*"):
        path.unlink(missing_ok=True)
