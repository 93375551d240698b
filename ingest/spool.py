"""Records that wait on disk for a broker that is away: a queue in SQLite, first in, first out.

A record's number is the time at which it was received, in microseconds since the epoch, or one more than
the number before it, where that is higher. So numbers put the records of several processes in one order,
and those of one process in theirs, whatever its clock did. (Older files count from 1: what they hold goes
first.)

It holds calls, so its folder and files are for their owner alone. Every method blocks: the spooler calls
them in a thread of their own, one at a time.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ingest.heads import forget_heads
from ingest.outgoing import OVERHEAD_BYTES, Headers, Outgoing, size_of
from schemas.errors import TapelineError

_ADOPT_BYTES = 16 * 1024 * 1024
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

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
    """Merge what processes that are gone have left into the first one's spool. Raise SpoolError."""
    forget_heads(folder)
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
            # Of each file that is being adopted: up to which number, and the number that one has here.
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS adopted (file TEXT PRIMARY KEY, last INTEGER, here INTEGER)"
            )
            self.count, self.bytes, self.first_us = self._db.execute(
                "SELECT count(*), coalesce(sum(length(value)), 0) + count(*) * ?, min(id) FROM record",
                (OVERHEAD_BYTES,),
            ).fetchone()
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(
                f"the spool {path} (TAPELINE_SPOOL) cannot be opened: {error}; does another gateway use it?"
            ) from error

    def append(self, records: Sequence[Outgoing]) -> None:
        """Put records at the end. Raise SpoolError, and then none is there."""
        [last] = self._db.execute("SELECT max(id) FROM record").fetchone()
        numbers = []
        for record in records:
            last = record.received_at_us if last is None else max(record.received_at_us, last + 1)
            numbers.append(last)
        self._insert(numbers, records)

    def prepend(self, records: Sequence[Outgoing]) -> None:
        """Put records before all others, in their order. Raise SpoolError, and then none is there."""
        first = self.first_us
        numbers: list[int] = []
        for record in reversed(records):
            first = record.received_at_us if first is None else min(record.received_at_us, first - 1)
            numbers.append(first)
        self._insert(numbers[::-1], records)

    def _insert(
        self, numbers: Sequence[int], records: Sequence[Outgoing], adopted: tuple[str, int] | None = None
    ) -> None:
        """Insert records, and note the file and the number up to which they were adopted; all or nothing."""
        if not records:
            return
        rows = [
            (number, record.topic, record.key, record.value, _pack(record.headers))
            for number, record in zip(numbers, records, strict=True)
        ]
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
            if adopted is not None:
                self._db.execute("INSERT OR REPLACE INTO adopted VALUES (?, ?, ?)", (*adopted, numbers[-1]))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise SpoolError(f"the spool {self.path} takes nothing: {error}") from error
        self.count += len(records)
        self.bytes += size_of(records)
        self.first_us = numbers[0] if self.first_us is None else min(self.first_us, numbers[0])

    def head(self, max_bytes: int, until_us: int | None = None) -> list[tuple[int, Outgoing]]:
        """Return the first records, with their numbers: as many as fit, and at least one if there is any.

        None above the number ``until_us``. Raise SpoolError.
        """
        found: list[tuple[int, Outgoing]] = []
        size = 0
        last = _HIGHEST if until_us is None else until_us
        try:
            rows = self._db.execute(
                "SELECT id, topic, key, value, headers FROM record WHERE id <= ? ORDER BY id", (last,)
            )
            for number, topic, key, value, headers in rows:
                record = Outgoing(topic, key, value, _unpack(headers), number)
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
            [self.first_us] = self._db.execute("SELECT min(id) FROM record").fetchone()
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
        """Merge what another spool holds with ours, by number, and delete its file. Raise SpoolError.

        What was cut short, by a crash of the machine too, is gone on with: nothing is lost or here twice.
        """
        left = Spool(other)
        try:
            # What is deleted there must be here for good.
            for spool in (self, left):
                spool._db.execute("PRAGMA synchronous = FULL")
            file = other.name
            known = self._db.execute("SELECT last, here FROM adopted WHERE file = ?", (file,)).fetchone()
            last, here = known or (_LOWEST, _LOWEST)
            while taken := left.head(_ADOPT_BYTES, last):
                left.remove(taken)
            while head := left.head(_ADOPT_BYTES):
                numbers = []
                for number, _ in head:
                    here = self._free_number(max(number, here + 1))
                    numbers.append(here)
                self._insert(numbers, [record for _, record in head], (file, head[-1][0]))
                left.remove(head)
            self._db.execute("DELETE FROM adopted WHERE file = ?", (file,))
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise SpoolError(f"the spool {self.path} cannot take over {other}: {error}") from error
        finally:
            left.close()

    def _free_number(self, number: int) -> int:
        """Return the number, or the next one that no record has."""
        while self._db.execute("SELECT 1 FROM record WHERE id = ?", (number,)).fetchone():
            number += 1
        return number

    def close(self) -> None:
        """Close the file, and delete it when nothing is in it."""
        self._db.close()
        if not self.count:
            self.path.unlink(missing_ok=True)
