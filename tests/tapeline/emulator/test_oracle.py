"""The oracle, by hand and against the assembler: two ways to the same audio."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.protocol import Accepted, parse
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from schemas.codec import Reader, Writer
from schemas.events import Event, StreamClosed, TrackClosed, TrackSegment
from schemas.topics import MESSAGES
from tapeline.emulator.faults import Faults, misbehave
from tapeline.emulator.oracle import Oracle, OracleTrack, oracle, read_all, write
from tapeline.emulator.voxology import Call, SourceTrack, messages

CALL = Call(
    7, [SourceTrack(n, bytes(80_000)) for n in ("caller", "transfer")], datetime(2026, 1, 1, tzinfo=UTC)
)
EVERYTHING = Faults(*[0.1] * 9)


def chunk(number: int, media: bytes) -> dict[str, Any]:
    return {
        "type": "live_track",
        "name": "far",
        "track_sequence_number": number,
        "media": base64.b64encode(media).decode(),
    }


def stop(number: int, **declared: int) -> dict[str, Any]:
    return {"type": "stop_track", "name": "far", "track_sequence_number": number} | declared


def judged(*sent: dict[str, Any]) -> OracleTrack:
    (track,) = oracle(1, sent).tracks
    return track


def test_lost_in_the_middle() -> None:
    track = judged(chunk(2, b"ab"), chunk(4, b"c"), stop(5))
    assert (track.audio, track.gaps, track.received, track.lost) == (b"ab\xff\xffc", [(2, 2)], 2, 1)


def test_lost_at_the_head_and_the_tail() -> None:
    track = judged(chunk(4, b"abc"), stop(6))
    assert track.audio == b"\xff" * 6 + b"abc" + b"\xff" * 3
    assert track.gaps == [(0, 6), (9, 3)]


def test_a_lost_last_chunk_ends_where_the_stop_says_if_it_was_no_longer_than_the_one_before() -> None:
    for declared_ms, samples in ((2, 32), (3, 24), (4, 32), (5, 32)):
        assert len(judged(chunk(2, b"a" * 16), stop(4, duration=declared_ms)).audio) == samples


def test_order_and_doubles_do_not_matter() -> None:
    assert judged(chunk(3, b"b"), chunk(2, b"a"), chunk(3, b"b"), stop(4)).audio == b"ab"


def test_oracles_come_back_as_they_were_written(tmp_path: Path) -> None:
    judge = oracle(5, [chunk(2, b"ab"), chunk(4, b"c"), {**chunk(2, b"x"), "name": "../near"}])
    write(tmp_path, judge)
    assert read_all(tmp_path) == [judge]


@given(seed=st.integers(0, 10_000))
@example(seed=2197)  # losses spread a group of messages, and a burst held its last one: 2.03 s
def test_the_assembler_does_what_the_oracle_says(seed: int) -> None:
    """Every kind of fault at once, on a real call's messages through the real parser."""
    steps = misbehave(messages(CALL), EVERYTHING, seed, CALL.stream_id)
    stream = StreamAssembler(CALL.stream_id, 0, AssemblyConfig())
    writer, reader = Writer(MESSAGES), Reader()
    out: list[Any] = []
    for offset, step in enumerate(steps):
        accepted = parse(step.frame, received_at_us=0, connection="c")
        if isinstance(accepted, Accepted):
            record = reader.decode(writer.encode(accepted.record))
            out += stream.handle(record, offset, int(step.at_ms))
    out += stream.handle(stream.silence.to_record(0), len(steps), 0)
    payloads = [e.payload for e in out if isinstance(e, Event)]
    (closed,) = [p for p in payloads if isinstance(p, StreamClosed)]
    assembled = []
    for track in (p for p in payloads if isinstance(p, TrackClosed)):
        segments = [p for p in payloads if isinstance(p, TrackSegment) and p.track == track.track]
        gaps: list[tuple[int, int]] = []
        for gap in (g for s in segments for g in s.gaps):
            if gaps and sum(gaps[-1]) == gap.first_sample:
                gaps[-1] = (gaps[-1][0], gaps[-1][1] + gap.samples)
            else:
                gaps.append((gap.first_sample, gap.samples))
        audio = b"".join(s.audio for s in segments)
        assembled.append(OracleTrack(track.track, audio, gaps, track.delivery.received, track.delivery.lost))
    expected = oracle(CALL.stream_id, [s.message for s in steps if s.message])
    mine = Oracle(CALL.stream_id, closed.complete, sorted(assembled, key=lambda t: t.name))
    assert mine == Oracle(
        expected.stream_id, expected.complete, sorted(expected.tracks, key=lambda t: t.name)
    )
