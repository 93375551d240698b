"""Messages of calls as senders and gateways may bring them: made by hand, and drawn.

Of drawn calls everything comes within the reorder window, but in whatever order, and however often.
"""

from typing import Any

from hypothesis import strategies as st

from schemas.schema import Record

ULAW = {"encoding": "ulaw", "sample_rate": 8000}
ALAW = {"encoding": "alaw", "sample_rate": 8000}


def message(kind: str, name: str = "", number: int = 0, **payload: Any) -> Record:
    """Return a message that is not yet received."""
    if name:
        payload |= {"name": name, "track_sequence_number": number}
    envelope = {"stream_id": 7, "type": kind, "call_id": None, "sender": None, "silence": None}
    return envelope | {"payload": payload, "connection": "c1"}


def start(number: int = 1, name: str = "far", media_format: Record = ULAW) -> Record:
    return message("start_track", name, number, media_format=media_format)


def chunk(number: int, audio: bytes, name: str = "far") -> Record:
    return message("live_track", name, number, media=audio)


def stop(number: int, name: str = "far") -> Record:
    return message("stop_track", name, number, duration=None, start_time=None, end_time=None)


def begin(*names: str) -> Record:
    return message("init_stream", tracks=[{"name": name} for name in names or ("far",)])


def end(*names: str) -> Record:
    return message("end_stream", tracks=[{"name": name} for name in names or ("far",)])


def chunks(text: str, first: int = 2, name: str = "far") -> list[Record]:
    """Return a chunk of 160 samples for each letter."""
    return [chunk(number, letter.encode() * 160, name) for number, letter in enumerate(text, first)]


def take(text: str, first: int = 1, name: str = "far") -> list[Record]:
    """Return a whole take, a chunk for each letter."""
    return [start(first, name), *chunks(text, first + 1, name), stop(first + 1 + len(text), name)]


def over(connection: str, *messages: Record) -> list[Record]:
    return [one | {"connection": connection} for one in messages]


# Drawn ----------------------------------------------------------------------------------------

NAMES = ("caller", "far")
#: By so many places messages of takes that follow each other are put in another order. Takes are longer than
#: this: where they lie across each other from end to end, their numbers do not tell which is whose.
MOST_ACROSS_TAKES = 3


def unique(name: str, part: int, number: int) -> bytes:
    """Return the audio of a chunk that no other has."""
    return bytes([NAMES.index(name) * 16 + part, number]) * 4


@st.composite
def calls(draw: st.DrawFn, *, silence: bool) -> tuple[list[Record], dict[str, list[bytes]]]:
    """Draw the messages of a call as they are sent, and its takes; ``silence``: chunks of them are alike."""
    takes: dict[str, list[bytes]] = {}
    queues = []
    for name in NAMES[: draw(st.integers(1, 2))]:
        queue: list[Record] = []
        takes[name] = []
        number = 1
        for part in range(draw(st.integers(1, 3))):
            count = draw(st.integers(2 * MOST_ACROSS_TAKES, 12))
            first = number if draw(st.booleans()) else 1
            silent = draw(st.sets(st.integers(first + 1, first + count - 1))) if silence and count > 1 else ()
            audio = [
                b"\xff" * 8 if n in silent else unique(name, part, n)
                for n in range(first + 1, first + 1 + count)
            ]
            takes[name].append(b"".join(audio))
            queue += [start(first, name), *(chunk(n, a, name) for n, a in enumerate(audio, first + 1))]
            queue.append(stop(first + 1 + count, name))
            number = first + count + 2
        queues.append(queue)
    order = draw(st.permutations([at for at, queue in enumerate(queues) for _ in queue]))
    return [begin(*takes), *(queues[at].pop(0) for at in order)], takes


def reconnected(draw: st.DrawFn, messages: list[Record]) -> list[Record]:
    """Go on over other connections here and there: with tracks announced again, and the last messages."""
    out: list[Record] = []
    connection = 1
    starts: dict[str, Record] = {}
    for one in messages:
        if draw(st.integers(0, 12)) == 12:
            connection += 1
            again = [*starts.values()] if draw(st.booleans()) else []
            back = draw(st.integers(0, 5))
            out += over(f"c{connection}", *again, *(old for old in out[-back:] if back and old["payload"]))
        name = one["payload"].get("name")
        if one["type"] == "start_track":
            starts[name] = one
        elif one["type"] == "stop_track":
            starts.pop(name, None)
        out += over(f"c{connection}", one)
    return out


def shown(one: Record) -> str:
    said = one["payload"]
    audio = said.get("media", b"").hex()[:4]
    number = said.get("track_sequence_number", "")
    return (
        f"{one['connection']} {one['type']} {said.get('name')} {number} {audio} at {one.get('received_at')}"
    )


def received(messages: list[Record]) -> list[Record]:
    return [one | {"received_at": at * 20_000} for at, one in enumerate(messages, 1)]


def republished(draw: st.DrawFn, messages: list[Record]) -> list[Record]:
    """Publish a range of messages twice, the second time behind the first."""
    if draw(st.booleans()):
        return messages
    at = draw(st.integers(0, len(messages)))
    again = [one | {"wait_ms": 0} for one in messages[draw(st.integers(0, at)) : at]]
    return [*messages[:at], *again, *messages[at:]]


def doubled(draw: st.DrawFn, messages: list[Record], most: int) -> list[Record]:
    """Send some messages twice, the second time a few places later."""
    out = list(messages)
    for at in draw(st.lists(st.integers(0, len(messages) - 1), max_size=3)):
        place = out.index(messages[at]) + draw(st.integers(0, most))
        out.insert(min(place, len(out)), messages[at])
    return out


def displaced(draw: st.DrawFn, messages: list[Record], most: int) -> list[Record]:
    """Put messages in another order, each by so many places at most."""
    late = draw(st.lists(st.integers(0, most), min_size=len(messages), max_size=len(messages)))
    places = sorted(range(len(messages)), key=lambda at: at + late[at])
    return [messages[at] for at in places]
