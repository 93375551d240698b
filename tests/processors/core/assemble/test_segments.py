"""Audio in order, cut by sample count."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.segments import SegmentBuffer
from processors.core.assemble.state import TrackState
from schemas.events import Gap, TrackSegment


def buffer(state: TrackState | None = None) -> SegmentBuffer:
    """Return a buffer with segments of 16 samples."""
    return SegmentBuffer(state or TrackState("far", 0, heard_at=0), 2)


def test_whole_segments_are_cut_and_the_rest_waits() -> None:
    audio = buffer()
    audio.append(7, 40, bytes(range(40)))
    first, second = audio.cut()
    assert (first.audio, second.audio) == (bytes(range(16)), bytes(range(16, 32)))
    assert (second.first_sample, second.samples) == (16, 16)
    (rest,) = audio.flush()
    assert (rest.first_sample, rest.audio) == (32, bytes(range(32, 40)))
    assert list(audio.flush()) == []


def test_silence_is_a_gap_in_each_segment_it_lies_in() -> None:
    audio = buffer()
    audio.append(3, 8, b"a" * 8)
    audio.append_silence(20)
    audio.append(4, 4, b"b" * 4)
    first, second = audio.cut()
    assert first.audio == b"a" * 8 + b"\xff" * 8
    assert first.gaps == [Gap(8, 8)]
    assert (first.first_offset, first.last_offset) == (3, 3)
    assert second.gaps == [Gap(16, 12)]
    assert (second.first_offset, second.last_offset) == (4, 4)


def test_a_segment_of_silence_alone_has_no_offset() -> None:
    audio = buffer()
    audio.append_silence(16)
    (segment,) = audio.cut()
    assert (segment.first_offset, segment.last_offset) == (-1, -1)


@given(
    pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=15),
    restarts=st.sets(st.integers(0, 14)),
)
def test_restarts_between_any_two_pieces_change_nothing(
    pieces: list[tuple[bool, int]], restarts: set[int]
) -> None:
    def run(restarting: set[int]) -> list[TrackSegment]:
        state, out = TrackState("far", 0, heard_at=0), list[TrackSegment]()
        audio = buffer(state)
        for offset, (silent, length) in enumerate(pieces):
            if silent:
                audio.append_silence(length)
            else:
                audio.append(offset, length, bytes([offset]) * length)
            out += audio.cut()
            if offset in restarting:
                needed = set(audio.needed_offsets())
                state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=TrackState)
                audio = buffer(state)
                assert set(audio.needed_offsets()) == needed
                for lost in needed:
                    audio.refill(lost, bytes([lost]) * pieces[lost][1])
        return out + list(audio.flush())

    assert run(restarts) == run(set())
