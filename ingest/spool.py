"""Records that wait on disk for a broker that is away: a queue in SQLite, first in, first out.

It holds calls, so its folder and files are for their owner alone. Every method blocks: the spooler calls
them in a thread of their own, one at a time.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ingest.outgoing import OVERHEAD_BYTES, Headers, Outgoing, size_of
from schemas.errors import TapelineError

_ADOPT_BYTES = 16 * 1024 * 1024

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.Decoder(Headers).decode


class SpoolError(TapelineError):
    """The spool cannot be used: no room on the disk, or another gateway has it."""


class SpoolDamagedError(SpoolError):
    """What the spool holds cannot be read, now or later."""


def spool_file(folder: Path, process: int) -> Path:
    """Return the file of the spool of a gateway's process; the first one is 0."""
    return folder / f"gateway-{process}.sqlite"


def spool_files(folder: Path) -> list[Path]:
    """Return the files of the spools in a folder."""
    return sorted(folder.glob("gateway-*.sqlite"))


def gather(folder: Path) -> None:
    """Put what processes that are gone have left into the first one's spool. Raise SpoolError."""
    first = spool_file(folder, 0)
    left = [path for path in spool_files(folder) if path != first]
    if left:
        spool = Spool(first)
        for path in left:
            spool.adopt(path)
        spool.close()


class Spool:
    """A queue of records in one file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raise SpoolError."""
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
            # The lock is held until the end: two gateways on one spool would publish everything twice.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # Survives a crash of the process; a crash of the machine may cost the last moments.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS record "
                "(id INTEGER PRIMARY KEY, topic TEXT, key BLOB, value BLOB, headers BLOB)"
            )
            self.count, self.bytes = self._db.execute(
                "SELECT count(*), coalesce(sum(length(value)), 0) + count(*) * ? FROM record",
                (OVERHEAD_BYTES,),
            ).fetchone()
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(
                f"the spool {path} (TAPELINE_SPOOL) cannot be opened: {error}; does another gateway use it?"
            ) from error

    def append(self, records: Sequence[Outgoing]) -> None:
        """Put records at the end. Raise SpoolError, and then none is there."""
        last = self._db.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()[0]
        self._insert(last + 1, records)

    def prepend(self, records: Sequence[Outgoing]) -> None:
        """Put records before all others, in their order. Raise SpoolError, and then none is there."""
        first = self._db.execute("SELECT coalesce(min(id), 1) FROM record").fetchone()[0]
        self._insert(first - len(records), records)

    def _insert(self, first_id: int, records: Sequence[Outgoing]) -> None:
        rows = [
            (number, record.topic, record.key, record.value, _pack(record.headers))
            for number, record in enumerate(records, first_id)
        ]
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise SpoolError(f"the spool {self.path} takes nothing: {error}") from error
        self.count += len(records)
        self.bytes += size_of(records)

    def head(self, max_bytes: int) -> list[tuple[int, Outgoing]]:
        """Return the first records, with their numbers: as many as fit, and at least one if there is any.

        Raise SpoolError.
        """
        found: list[tuple[int, Outgoing]] = []
        size = 0
        try:
            for number, topic, key, value, headers in self._db.execute("SELECT * FROM record ORDER BY id"):
                record = Outgoing(topic, key, value, _unpack(headers))
                size += record.size
                if found and size > max_bytes:
                    break
                found.append((number, record))
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise self._failed("cannot be read", error) from error
        return found

    def remove(self, head: Sequence[tuple[int, Outgoing]]) -> None:
        """Remove what ``head`` gave. Raise SpoolError, and then it is still there."""
        try:
            self._db.execute("DELETE FROM record WHERE id <= ?", (head[-1][0],))
        except sqlite3.Error as error:
            raise self._failed("lets nothing go", error) from error
        self.count -= len(head)
        self.bytes -= size_of([record for _, record in head])
        if not self.count:
            # The file would keep the room, and what the calls said. Where the disk has no room for that, it
            # is done when the spool is empty again, or closed.
            with suppress(sqlite3.OperationalError):
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _failed(self, what: str, error: Exception) -> SpoolError:
        """Return the error to raise; only what SQLite calls operational may pass."""
        passes = isinstance(error, sqlite3.OperationalError)
        return (SpoolError if passes else SpoolDamagedError)(f"the spool {self.path} {what}: {error}")

    def adopt(self, other: Path) -> None:
        """Put what another spool holds before all of ours, and delete its file. Raise SpoolError."""
        left = Spool(other)
        first = self._db.execute("SELECT coalesce(min(id), 1) FROM record").fetchone()[0] - left.count
        while head := left.head(_ADOPT_BYTES):
            self._insert(first, [record for _, record in head])
            first += len(head)
            left.remove(head)
        left.close()

    def close(self) -> None:
        """Close the file, and delete it when nothing is in it."""
        self._db.close()
        if not self.count:
            self.path.unlink(missing_ok=True)
