"""The format of checkpoints: workers of different versions share a changelog."""

from typing import Any

import msgspec
from crc32c import crc32c

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import StreamState, TrackState
from processors.core.assemble.stream import StreamAssembler
from processors.core.audio.formats import ASSUMED, AudioFormat
from schemas.schema import Record

CONFIG = AssemblyConfig(window_chunks=2, segment_ms=1)


def message(kind: str, number: int = 0, **payload: Any) -> Record:
    if number:
        payload |= {"name": "far", "track_sequence_number": number}
    return {
        "stream_id": 7,
        "type": kind,
        "call_id": "c",
        "sender": "s",
        "connection": "connection",
        "received_at": 1_000_000 + number * 1000,
        "payload": payload,
    }


def chunk(number: int) -> Record:
    return message("live_track", number, media=bytes([number]) * 5)


#: 3 was declared lost, 13 and 11 wait, of 8 there are 3 samples left, and 8 came twice.
MESSAGES = [
    message("init_stream", tracks=[{"name": "far"}]),
    message("start_track", 1, media_format={"encoding": "alaw", "sample_rate": 8000}),
    *(chunk(number) for number in (2, 4, 6, 5, 7, 8, 8, 13, 11)),
    message("end_stream", tracks=[]),
]

CONNECTION = crc32c(b"connection")
#: As the first version wrote it: values by their place, no names but those of the settings.
CHECKPOINT: list[Any] = [
    {
        "rules": 2,
        "segment_ms": 1,
        "window_chunks": 2,
        "window_ms": 2000,
        "max_gap_ms": 3_600_000,
        "max_rate_hz": 48_000,
    },
    *(7, 3, "c", "s", 6, 0, 110, 110, 1100, 12, 0, 0, 0, ["far"], None, {"tracks": []}),
    *(False, False, None),
    [
        [
            *("far", 0, 1, 9, "alaw", 8000, False, True, False, False, True, False, 1, 0, False),
            *(1_001_000, CONNECTION, [1000, 1_011_000], 0, (11, crc32c(b"\x0b" * 5)), 32, 5, 1_001_375),
            [6, 1, 1, 0, 2, 30, 5, 5, 1_011_000, 5000, 8, {382: 3, 0: 2, 318: 1, 487: 1}],
            *(5, 0, False, 0, 10, 70),
            [[3, 4]],
            {
                13: [13, 1, 90, 900, 1_013_000, 5, b"\x0d" * 5],
                11: [11, 1, 100, 1000, 1_011_000, 5, b"\x0b" * 5],
            },
            [[0, 750, 1125, 1500, 1875, 2250], [], -1, 2250, []],
            {},
            [b"\x08" * 3, [3], 70, 70],
            False,
        ]
    ],
    [
        [
            "far",
            [
                [number, crc32c(bytes([number]) * 5), 1_000_000 + number * 1000, CONNECTION]
                for number in (2, 4, 6, 5, 7, 8, 13, 11)
            ],
            {CONNECTION: 1_013_000},
            CONNECTION,
            *(None, 0, {}, None, 6, 11),
            [[1, -1, 1_001_000, CONNECTION]],
            [11, crc32c(b"\x0b" * 5), 1_011_000, CONNECTION],
            *(0, []),
        ]
    ],
    *([], [], 1_000_000, 1_000_000, "", False, 153, False),
]
#: What later versions have behind it, and behind its tracks.
SINCE: list[Any] = [[]]
SINCE_OF_TRACKS: list[Any] = [False]


def assembled() -> StreamAssembler:
    stream = StreamAssembler(7, 3, CONFIG)
    for offset, record in enumerate(MESSAGES):
        stream.handle(record, offset * 10, offset * 100)
    return stream


def test_a_checkpoint_keeps_its_bytes() -> None:
    assert assembled().snapshot() == msgspec.msgpack.encode(CHECKPOINT + SINCE)


def test_a_checkpoint_of_the_first_version_goes_on_the_same() -> None:
    stream, restored = assembled(), StreamAssembler.restore(msgspec.msgpack.encode(CHECKPOINT), CONFIG)
    assert restored.snapshot() == stream.snapshot()
    silence = stream.silence.to_record(0)
    assert restored.silence == stream.silence
    assert restored.handle(silence, 999, 0) == stream.handle(silence, 999, 0)
    assert restored.snapshot() == stream.snapshot()


def test_a_closed_stream_keeps_no_tracks() -> None:
    stream = assembled()
    stream.handle(stream.silence.to_record(0), 999, 0)
    state = msgspec.msgpack.decode(stream.snapshot(), type=StreamState)
    assert (state.closed, state.tracks, state.announced, state.end) == (True, [], [], None)


def test_a_track_of_which_no_start_came_is_coded_as_is_assumed() -> None:
    assert TrackState("far", 0).audio_format == ASSUMED
    declared = TrackState("far", 0, encoding="alaw", rate_hz=16_000, assumed=False)
    assert declared.audio_format == AudioFormat("alaw", 16_000, assumed=False)
