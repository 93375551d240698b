"""A stream's messages as a sender without scruples makes them, from a seed."""

import base64
import json
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

#: Where the clocks begin: milliseconds since the epoch.
BEGAN_MS = 1_795_000_000_000
_YEAR_MS = 365 * 24 * 3_600_000

Fields = dict[str, str]
"""A message: each field's value as JSON text, so that it may be what no encoder would write."""


class Frame(NamedTuple):
    """A frame, and when it came."""

    text: str
    received_us: int
    """By the gateway's clock, which may be wrong."""
    timestamp_ms: int
    """Kafka's, which never runs backwards."""
    connection: str = "c"


def frames(source: Random) -> Iterator[Frame]:
    """Yield the frames of a stream."""
    received_ms = timestamp_ms = BEGAN_MS
    connection = 0
    for fields in _disturbed(source, _call(source)):
        connection += source.random() < 0.01
        received_ms += source.choice([0, 20, 20, 20, 500])
        timestamp_ms += source.choice([0, 20, 20, 20, 500])
        if source.random() < 0.005:
            received_ms += source.choice([-10 * _YEAR_MS, 10 * _YEAR_MS, -1000, 3_600_000])
        if source.random() < 0.005:
            timestamp_ms += source.choice([3_000, 400_000, 25 * 3_600_000])
        yield Frame(_text(source, fields), received_ms * 1000, timestamp_ms, str(connection))


# Calls ------------------------------------------------------------------------------------------------

NAMES = ["caller", "transfer", "near", "../../etc/passwd", "mix", "Caller", "", "\0", "İ" * 256, "$\\frac{$"]
ENCODINGS = ["ulaw", "PCMU", "alaw", "opus", "İ" * 256, "", "mix"]
RATES = [8000, 8000, 16_000, 48_000, 384_000, 1_000, 999, 0, -1, 2**63 - 1]
TIMES = [
    "2026-11-18T10:00:00.000Z",
    "2026-11-18T10:00:02.5+14:00",
    "2026-11-18T10:00:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "2026-W47-3",
    "yesterday",
    "",
]


def _call(source: Random) -> Iterator[Fields]:
    """Yield the messages of a call, nearly as the platform's document has them."""
    names = source.sample(NAMES, source.choice([0, 1, 1, 2, 2, 2, 3]))
    if source.random() < 0.001:
        names += [f"name {number}" for number in range(80)]
    listed = [{"name": name} for name in names]
    yield _message("init_stream", tracks=listed, stream_data=_data(source), app_id="8f0c", direction="in")
    chunks = source.randrange(13)
    size = source.choice([0, 1, 8, 160, 1408, 5000])
    if source.random() < 0.002:
        size, chunks = 700_000, source.randrange(4)
    last = {}
    for take in range(source.choice([1, 1, 1, 2])):
        first = source.choice([1, 1, 1, last.get(take, 1)])
        for name in names:
            media_format = {"encoding": source.choice(ENCODINGS), "sample_rate": source.choice(RATES)}
            yield _message("start_track", first, name=name, media_format=media_format, api_no="+1")
        for number in range(first + 1, first + 1 + chunks):
            for name in names:
                length = size if source.random() < 0.9 else source.randrange(3000)
                yield _message("live_track", number, name=name, media=_media(source, length))
        for name in names if source.random() < 0.8 else []:  # else it begins again without a stop
            duration = source.choice([chunks * size // 8, 2519, 0, -5, 2**62])
            start = source.choice(TIMES)
            yield _message("stop_track", first + 1 + chunks, name=name, duration=duration, start_time=start)
        last[take + 1] = first + 2 + chunks
    ended = [track | {"start_time": source.choice(TIMES), "duration": 5} for track in listed]
    yield _message("end_stream", tracks=ended, stream_data=_data(source), error=None, error_code=0)


def _message(kind: str, number: int | None = None, **fields: object) -> Fields:
    said = {"stream_id": 117, "type": kind, "stream_sequence_number": 4, "call_id": "326065@3423993409"}
    if number is not None:
        said["track_sequence_number"] = number
    return {name: json.dumps(value) for name, value in (said | fields).items()}


def _media(source: Random, length: int) -> str:
    return base64.b64encode(source.randbytes(length)).decode()


def _data(source: Random) -> object:
    if source.random() < 0.01:
        return ["x" * 130_000, "é" * 20_000]  # nearly as much as is taken
    return source.choice([None, {}, {"agent": "jane", "tags": ["a", "é"], "n": 1.5}, "x" * 300, [[[]]]])


# Faults -----------------------------------------------------------------------------------------------


def _disturbed(source: Random, call: Iterator[Fields]) -> Iterator[Fields]:
    """Yield a call's messages, some of them lost, again, late, or none that a call has."""
    held: list[Fields] = []
    loss = source.choice([0, 0, 0.1])
    for fields in call:
        if source.random() < loss:
            continue
        if source.random() < 0.05:
            held.append(fields)
            continue
        yield fields
        if source.random() < 0.05:
            yield fields
        if held and source.random() < 0.3:
            yield held.pop()
        if source.random() < 0.02:
            yield fields | {"type": json.dumps(source.choice(["silence", "mute_track", "end_stream", ""]))}
    yield from held


def _text(source: Random, fields: Fields) -> str:
    """Return a message's text, perhaps with something odd in it."""
    chance = source.random()
    if chance < 0.12:
        fields = dict(fields)
        name = source.choice(list(fields))
        if chance < 0.02:
            del fields[name]
        elif chance < 0.04:
            fields[source.choice(["gain", "extra", "odd", "İ" * 90, "payload"])] = odd(source)
        else:
            fields[name] = odd(source, name)
    text = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"
    if 0.12 < chance < 0.13:
        return text[: source.randrange(len(text))]
    if 0.13 < chance < 0.14:
        place = source.randrange(len(text))
        return text[:place] + chr(source.randrange(0xD800)) + text[place + 1 :]
    if 0.14 < chance < 0.15:
        place = source.randrange(len(text))
        return text[:place] + text[place : place + source.randrange(40)] * 2 + text[place:]
    return text


_NUMBERS = [
    *("0", "1", "-1", "-0", "1.5", "1e400", "-1e400", "1e308", "4928.0", "true", "null"),
    *(str(2**63 - 1), str(2**63), str(-(2**63)), str(2**62), str(2**64), "1" * 128, "1" * 129, "1" * 5000),
]
_STRINGS = [
    *(
        '""',
        '"\\u0000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"İİ"',
        '"\\\\"',
        '"</script>"',
        '"@@@@"',
        '"/w=="',
    ),
    *(json.dumps("x" * 256), json.dumps("x" * 257), json.dumps("İ" * 256), json.dumps("x" * 100_000)),
]
_NESTED = [
    *("[]", "{}", "[" * 90 + "]" * 90, "[" * 101 + "]" * 101, '{"a":' * 970 + "1" + "}" * 970, "[" * 500),
    *(
        '{"a":1,"a":1e400}',
        '[{"name":null},{"name":"a"},{"name":"a"},{}]',
        '[{"name":"a","extra":{"b":1e400}}]',
    ),
    *('{"encoding":5,"sample_rate":"8000"}', '{"encoding":null}', '[{"duration":1e400}]', '{"limit":1e400}'),
]


def odd(source: Random, field: str = "") -> str:
    """Return a value, as JSON text, that the field of this name should not have."""
    if source.random() < 0.02:
        size = source.choice([1_000, 20_000])
        return source.choice(
            [
                json.dumps([{"name": f"track {n}"} for n in range(size)]),
                json.dumps({f"key {n}": n for n in range(size)}),
                json.dumps("İ" * size * 10, ensure_ascii=False),
                json.dumps(["</b>" * 1000] * (size // 300)),
            ]
        )
    if field in ("track_sequence_number", "stream_sequence_number") and source.random() < 0.6:
        return str(source.choice([1, 2, 3, source.randrange(40), source.randrange(5000), 2**62, 2**63 - 1]))
    if field in ("start_time", "end_time") and source.random() < 0.6:
        return json.dumps(source.choice(TIMES))
    return source.choice(source.choice([_NUMBERS, _STRINGS, _NESTED]))
