"""Where recordings and parts of a stream lie in the store. Pure.

    recordings/date=2026-11-23/stream=117179172             the first of its number on that day (UTC)
    recordings/date=2026-11-23/sender=acme/stream=117179172 of a sender with a token
    recordings/date=2026-11-23/stream=117179172/from=8131   a further incarnation of it
    recordings/date=2026-11-23/stream=117179172/log=…-8131  one of another log

The date is that of the stream's first record, as far as the log still has it.
"""

from datetime import UTC, date, datetime
from urllib.parse import quote

from schemas.identity import LogIdentity, StreamIdentity

#: How many days a stream is looked for that went on for long.
_LONGEST_DAYS = 8
_DAY_MS = 86_400_000
_EPOCH, _LAST = date(1970, 1, 1).toordinal(), date.max.toordinal()


def location(opened_at_ms: int, stream: StreamIdentity, *, continues: bool = False) -> str:
    """Return where a recording lies below ``recordings/``, for a first record of this Kafka timestamp.

    One that ``continues`` another lies in its folder.
    """
    day = datetime.fromtimestamp(opened_at_ms / 1000, UTC).date()
    folder = "/".join([f"date={day.isoformat()}", *_named(stream.sender, stream.stream_id)])
    return further(folder, stream) if continues else folder


def _named(sender: str | None, stream_id: int) -> list[str]:
    # Quoted, for who forges records: what the gateway admits as a sender has nothing to quote.
    of_sender = [] if sender is None else [f"sender={quote(sender, safe='')}"]
    return [*of_sender, f"stream={stream_id}"]


def is_place_of(path: str, sender: str | None, stream_id: int) -> bool:
    """Return whether a recording of a name may lie at a path; any may at one that tells no name."""
    named = [folder for folder in path.split("/") if folder.startswith(("sender=", "stream="))]
    return not named or named == _named(sender, stream_id)


def parts_location(opened_at_ms: int, stream: StreamIdentity) -> str:
    """Return where a stream's parts lie below those of its log: those of each stream of its name apart."""
    return further(location(opened_at_ms, stream), stream)


def further(location: str, stream: StreamIdentity) -> str:
    """Return where a further incarnation lies, whose first record has that offset."""
    return f"{_folder(location)}/from={stream.origin_offset}"


def of_another_log(location: str, stream: StreamIdentity, log: LogIdentity) -> str:
    """Return where a recording lies beside one that was made from another log."""
    return f"{_folder(location)}/log={log.topic_id}-{stream.origin_offset}"


def of_its_own(location: str, stream: StreamIdentity, log: LogIdentity, partition: int) -> str:
    """Return a place that no other stream has: not in a copy of the cluster, nor in another partition."""
    cluster = quote(log.cluster_id, safe="")
    return f"{_folder(location)}/log={cluster}-{log.topic_id}-{partition}-{stream.origin_offset}"


def _folder(location: str) -> str:
    """Return the folder of all recordings of a name on a day."""
    return location.partition("/from=")[0]


def locations(location: str, last_ms: int) -> list[str]:
    """Return the folders in which recordings of a stream may lie, given one of its own and its last record.

    Its first record may have been deleted from the log, and may have been of the day before: those made
    before and after that lie under different dates.
    """
    first, _, rest = _folder(location).removeprefix("date=").partition("/")
    opened = date.fromisoformat(first).toordinal()
    closed = _EPOCH + last_ms // _DAY_MS
    # Whoever forges records may say any time.
    days = range(max(opened - 1, 1), min(max(opened, closed), opened + _LONGEST_DAYS, _LAST) + 1)
    return [f"date={date.fromordinal(day).isoformat()}/{rest}" for day in days]
