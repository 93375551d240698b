"""Streams each of which once stopped a worker for ever, beside one that is well."""

import base64
from typing import Any

from schemas.codec import Writer
from schemas.topics import MESSAGES

#: A number that JSON allows, and no double holds.
BEYOND = "1e400"
CHUNKS = [bytes([number]) * 160 for number in range(3)]
#: What an ``init_stream`` and an ``end_stream`` say of the track.
NAMED: dict[str, Any] = {"tracks": [{"name": "far"}]}
_WRITER = Writer(MESSAGES)


def logged(stream_id: int, kind: str, number: int | None = None, name: str = "far", **payload: Any) -> bytes:
    """Return a message as it stands in the log; nobody has bounded what it says."""
    if number is not None:
        payload |= {"name": name, "track_sequence_number": number}
    record = "".join(word.title() for word in kind.split("_"))
    return _WRITER.encode(
        {"stream_id": stream_id, "type": kind, "call_id": "call", "sender": None, "silence": None}
        | {"stream_sequence_number": None, "received_at": 10**15 + (number or 0) * 20_000}
        | {"connection": "c", "payload": (f"tapeline.{record}", payload)}
    )


def well(stream_id: int) -> list[bytes]:
    """Return a call of three chunks that lacks nothing."""
    return _call(stream_id)


def _call(
    stream_id: int,
    init: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
    stop: dict[str, Any] | None = None,
    end: dict[str, Any] | None = None,
) -> list[bytes]:
    return [
        logged(stream_id, "init_stream", **(NAMED | (init or {}))),
        logged(stream_id, "start_track", 1, **(start or {})),
        *(logged(stream_id, "live_track", number, media=chunk) for number, chunk in enumerate(CHUNKS, 2)),
        logged(stream_id, "stop_track", 5, **(stop or {})),
        logged(stream_id, "end_stream", **(NAMED | (end or {}))),
    ]


def bad(stream_id: int) -> dict[str, list[bytes]]:
    """Return what was found, by what it is, as streams of one number."""
    megabyte = {"stream_data": '"' + "x" * (1 << 20) + '"'}
    encoding: dict[str, Any] = {"encoding": "İ" * 524_000, "sample_rate": 8000}
    nested = '{"a":' * 970 + "1" + "}" * 970
    numbers = range(62_000)
    return {
        "a number beyond any double in init_stream": _call(
            stream_id, {"stream_data": f'{{"limit":{BEYOND}}}'}
        ),
        "a number beyond any double in start_track": _call(
            stream_id, start={"extra": f'{{"gain":{BEYOND}}}'}
        ),
        "a number beyond any double in stop_track": _call(
            stream_id, stop={"extra": f'{{"duration":{BEYOND}}}'}
        ),
        "970 nested objects": _call(stream_id, {"stream_data": nested}),
        "an init_stream and an end_stream of 1 MiB": _call(stream_id, megabyte, end=megabyte),
        "a chunk behind the stop": [
            logged(stream_id, "live_track", 7, media=CHUNKS[0]),
            logged(stream_id, "stop_track", 5),
            logged(stream_id, "end_stream", **NAMED),
        ],
        "an encoding that is longer in lower case": _call(stream_id, start={"media_format": encoding}),
        "62,000 names of tracks": _call(stream_id, {"tracks": [{"name": f"track{n}"} for n in numbers]}),
        "62,000 names of tracks at the end": _call(
            stream_id, end={"tracks": [{"name": f"track{n}"} for n in numbers]}
        ),
        "three encodings of 1 MB": [
            logged(stream_id, "init_stream"),
            *(
                logged(stream_id, "start_track", 1, name, media_format={"encoding": "e" * 10**6})
                for name in ("far", "near", "third")
            ),
            logged(stream_id, "end_stream"),
        ],
    }


def bad_texts(stream_id: int) -> dict[str, list[str]]:
    """Return the same as senders type them, each a call that goes on behind what the gateway refuses."""
    chunk = base64.b64encode(CHUNKS[0]).decode()
    known = f'"stream_id":{stream_id},"call_id":"call"'
    far = f'{{{known},"name":"far"'

    def call(init: str = "", start: str = "", stop: str = "", end: str = "") -> list[str]:
        tracks = '"tracks":[{"name":"far"}]'
        return [
            f'{{{known},"type":"init_stream",{init or tracks}}}',
            f'{far},"type":"start_track","track_sequence_number":1{start}}}',
            f'{far},"type":"live_track","track_sequence_number":2,"media":"{chunk}"}}',
            f'{far},"type":"stop_track","track_sequence_number":3{stop}}}',
            f'{{{known},"type":"end_stream",{end or tracks}}}',
        ]

    # A frame of more than 1 MiB ends its connection.
    megabyte = f'"stream_data":"{"x" * 10**6}"'
    names = ",".join(f'{{"name":"{number}"}}' for number in range(62_000))
    encodings = [
        f'{{{known},"name":"{name}","type":"start_track","track_sequence_number":1' for name in "abc"
    ]
    return {
        "a number beyond any double in init_stream": call(f'"stream_data":{{"limit":{BEYOND}}}'),
        "a number beyond any double in start_track": call(start=f',"gain":{BEYOND}'),
        "a number beyond any double in stop_track": call(stop=f',"duration":{BEYOND}'),
        "970 nested objects": call('"stream_data":' + '{"a":' * 970 + "1" + "}" * 970),
        "an init_stream and an end_stream of 1 MiB": call(megabyte, end=megabyte),
        "an encoding that is longer in lower case": call(
            start=f',"media_format":{{"encoding":"{"İ" * 524_000}","sample_rate":8000}}'
        ),
        "62,000 names of tracks": call(f'"tracks":[{names}]'),
        "three encodings of 1 MB": [
            *(f'{one},"media_format":{{"encoding":"{"e" * 10**6}"}}}}' for one in encodings),
            *call(),
        ],
    }
