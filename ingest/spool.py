"""Records that wait on disk for a broker that is away: a queue in SQLite, first in, first out.

A record's number is the time at which it was received, in microseconds since the epoch, or one more than
the number before it, where that is higher. So numbers put the records of several processes in one order,
and those of one process in theirs, whatever its clock did. (Older files count from 1: what they hold goes
first.)

It holds calls, so its folder and files are for their owner alone. Every method blocks: the spooler calls
them in a thread of their own, one at a time.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ingest.outgoing import OVERHEAD_BYTES, Headers, Outgoing, size_of
from ingest.spool_mark import Mark
from runtime.reasons import in_words
from schemas.errors import TapelineError

_ADOPT_BYTES = 16 * 1024 * 1024
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.Decoder(Headers).decode


class SpoolError(TapelineError):
    """The spool cannot be used: no room on the disk, or another gateway has it."""


class SpoolDamagedError(SpoolError):
    """What the spool holds cannot be read, now or later."""


class Spool:
    """A queue of records in one file.

    What is removed is gone for good, even where the disk takes no change any more (``spool_mark``). A file
    that is damaged is put aside, and another is begun.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raise SpoolError."""
        self.path = path
        self._mark = Mark(path)
        self.count = self.bytes = 0
        self.first_us: int | None = None
        self.damaged: Path | None = None
        """Where a damaged file was put that was found at the start."""
        try:
            self._open()
        except (SpoolError, OSError) as error:
            if not isinstance(error, SpoolDamagedError):
                raise SpoolError(f"{error} (TAPELINE_SPOOL); does another gateway use it?") from error
            self.damaged = self.put_aside()

    def _open(self) -> None:
        with self._telling("cannot be opened"):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            self._db = sqlite3.connect(self.path, timeout=1, isolation_level=None, check_same_thread=False)
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
            self._mark = Mark(self.path)
            with suppress(SpoolError):
                self._settle()
            self.count, self.bytes, self.first_us = self._db.execute(
                "SELECT count(*), coalesce(sum(length(value)), 0) + count(*) * ?, min(id) FROM record "
                "WHERE id > ?",
                (OVERHEAD_BYTES, self._gone),
            ).fetchone()

    @property
    def _gone(self) -> int:
        """The number up to which nothing counts any more."""
        return _LOWEST if self._mark.number is None else self._mark.number

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Raise SpoolError for what SQLite and the disk raise; SpoolDamagedError for what never passes."""
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            # Only what SQLite calls operational may pass.
            passes = isinstance(error, sqlite3.OperationalError | OSError)
            told = SpoolError if passes else SpoolDamagedError
            raise told(f"the spool {self.path} (TAPELINE_SPOOL) {what}: {in_words(error)}") from error

    def append(self, records: Sequence[Outgoing]) -> None:
        """Put records at the end. Raise SpoolError, and then none is there."""
        with self._telling("takes nothing"):
            [last] = self._db.execute("SELECT max(id) FROM record").fetchone()
        numbers = []
        for record in records:
            last = record.received_at_us if last is None else max(record.received_at_us, last + 1)
            numbers.append(last)
        self._insert(numbers, records)

    def prepend(self, records: Sequence[Outgoing]) -> None:
        """Put records before all others, in their order. Raise SpoolError, and then none is there."""
        self._settle()
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
        with self._telling("takes nothing"):
            try:
                self._db.execute("BEGIN")
                self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
                if adopted is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO adopted VALUES (?, ?, ?)", (*adopted, numbers[-1])
                    )
                self._db.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
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
        with self._telling("cannot be read"):
            rows = self._db.execute(
                "SELECT id, topic, key, value, headers FROM record WHERE id > ? AND id <= ? ORDER BY id",
                (self._gone, last),
            )
            for number, topic, key, value, headers in rows:
                record = Outgoing(topic, key, value, _unpack(headers), number)
                size += record.size
                if found and size > max_bytes:
                    break
                found.append((number, record))
        return found

    def remove(self, head: Sequence[tuple[int, Outgoing]]) -> SpoolError | None:
        """Remove what ``head`` gave; return what kept the disk from doing so, and then it is only marked.

        Raise SpoolDamagedError.
        """
        last, trouble = head[-1][0], None
        try:
            self._delete(last)
        except SpoolDamagedError:
            raise
        except SpoolError as error:
            trouble = error
            with suppress(OSError):  # a disk that takes nothing at all: this process knows
                self._mark.set(last)
        self.count -= len(head)
        self.bytes -= size_of([record for _, record in head])
        if self.count:
            with self._telling("cannot be read"):
                [self.first_us] = self._db.execute(
                    "SELECT min(id) FROM record WHERE id > ?", (self._gone,)
                ).fetchone()
            return trouble
        self.first_us = None
        # The file would keep the room, and what the calls said. Where the disk has no room for that, it is
        # done when the spool is empty again, or closed.
        if trouble is not None:
            with suppress(SpoolError, OSError, sqlite3.Error):
                self._begin_anew()
        else:
            with suppress(sqlite3.OperationalError):
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return trouble

    def discard(self) -> None:
        """Remove all. Raise SpoolError."""
        self._delete(_HIGHEST)
        self.count = self.bytes = 0
        self.first_us = None

    def _delete(self, last: int) -> None:
        """Delete all up to a number, which may be marked. Raise SpoolError."""
        with self._telling("lets nothing go"):
            self._db.execute("DELETE FROM record WHERE id <= ?", (last,))
            self._mark.set(None)

    def _settle(self) -> None:
        """Delete what is marked. Raise SpoolError."""
        if self._mark.number is not None:
            self._delete(self._mark.number)

    def _begin_anew(self) -> None:
        """Delete a file in which nothing counts any more, and open another: that only frees room."""
        self._db.close()
        self._unlink()
        self._open()

    def _unlink(self) -> None:
        self._mark.delete()
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm")]

    def put_aside(self) -> Path:
        """Put the damaged file aside, and begin another; return where it is. Raise SpoolError."""
        self.count = self.bytes = 0
        self.first_us = None
        with suppress(sqlite3.Error):
            self._db.close()
        aside = self.path.with_name(f"damaged-{time.time_ns() // 1_000_000}-{self.path.name}")
        with self._telling("cannot be put aside"):
            for path in self._files():
                if path.exists():
                    path.rename(aside.with_name(aside.name + path.name[len(self.path.name) :]))
        self._mark.delete()
        self._open()
        return aside

    def adopt(self, other: Path) -> None:
        """Merge what another spool holds with ours, by number, and delete its file. Raise SpoolError.

        What was cut short, by a crash of the machine too, is gone on with: nothing is lost or here twice.
        """
        self._settle()
        left = Spool(other)
        try:
            with self._telling(f"cannot take over {other}"):
                self._adopt(left)
        finally:
            left.close()

    def _adopt(self, left: "Spool") -> None:
        # What is deleted there must be here for good.
        for spool in (self, left):
            spool._db.execute("PRAGMA synchronous = FULL")
        file = left.path.name
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

    def _free_number(self, number: int) -> int:
        """Return the number, or the next one that no record has."""
        while self._db.execute("SELECT 1 FROM record WHERE id = ?", (number,)).fetchone():
            number += 1
        return number

    def close(self) -> None:
        """Close the file, and delete it when nothing is in it. Raise SpoolError."""
        with self._telling("cannot be closed"):
            self._db.close()
            if not self.count:
                self._unlink()
            elif self._mark.number is None:
                self._mark.delete()
