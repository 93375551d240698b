"""Audio in order, cut by sample count."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.segments import (
    FEW_TRACKS,
    MAX_SEGMENT_GAPS,
    MAX_SEGMENT_SAMPLES,
    MAX_SEGMENT_SAMPLES_OF_MANY,
    SegmentBuffer,
)
from processors.core.assemble.state import TrackState, settings_of
from schemas.events import Gap, TrackSegment

SETTINGS = settings_of(AssemblyConfig(segment_ms=2))


def buffer(state: TrackState | None = None) -> SegmentBuffer:
    """Return a buffer with segments of 16 samples."""
    return SegmentBuffer(state or TrackState("far", 0, heard_at=0), SETTINGS)


def restored(audio: SegmentBuffer, state: TrackState) -> tuple[SegmentBuffer, TrackState]:
    """Return the buffer after a restart, and its state."""
    snapshot = msgspec.msgpack.encode(msgspec.structs.replace(state, partial=audio.packed()))
    state = msgspec.msgpack.decode(snapshot, type=TrackState)
    return buffer(state), state


def test_whole_segments_are_cut_and_the_rest_waits() -> None:
    audio = buffer()
    audio.append(7, bytes(range(40)))
    first, second = audio.cut()
    assert (first.audio, second.audio) == (bytes(range(16)), bytes(range(16, 32)))
    assert (second.first_sample, second.samples) == (16, 16)
    (rest,) = audio.flush()
    assert (rest.first_sample, rest.audio) == (32, bytes(range(32, 40)))
    assert list(audio.flush()) == []


def test_silence_is_a_gap_in_each_segment_it_lies_in() -> None:
    audio = buffer()
    audio.append(3, b"a" * 8)
    audio.append_silence(15)
    audio.append_silence(5)
    audio.append(4, b"b" * 4)
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


@pytest.mark.parametrize(
    ("rate_hz", "segment_ms", "index", "samples"),
    [
        (8000, 1000, 0, 8000),
        (16_000, 1000, 0, 16_000),
        (384_000, 1000, 0, MAX_SEGMENT_SAMPLES),
        (8000, 10_000, FEW_TRACKS - 1, MAX_SEGMENT_SAMPLES),
        (8000, 500, FEW_TRACKS, 4000),
        (8000, 1000, FEW_TRACKS, MAX_SEGMENT_SAMPLES_OF_MANY),
        (1000, 0, 0, 1),
    ],
)
def test_a_segment_is_no_longer_than_a_checkpoint_can_hold(
    rate_hz: int, segment_ms: int, index: int, samples: int
) -> None:
    state = TrackState("far", index, rate_hz=rate_hz, heard_at=0)
    audio = SegmentBuffer(state, settings_of(AssemblyConfig(segment_ms=segment_ms)))
    audio.append(0, bytes(samples - 1))
    assert list(audio.cut()) == []
    audio.append(1, bytes(1))
    assert [segment.samples for segment in audio.cut()] == [samples]


def test_a_segment_of_many_gaps_is_cut_early() -> None:
    state = TrackState("far", 0, heard_at=0)
    audio = SegmentBuffer(state, settings_of(AssemblyConfig()))
    cuts = []
    for offset in range(1000):
        audio.append_silence(1)
        audio.append(offset, b"a")
        cuts += audio.cut()
    assert [len(segment.gaps) for segment in cuts] == [MAX_SEGMENT_GAPS + 1] * 3
    assert [segment.first_sample for segment in cuts] == [0, 514, 1028]


@pytest.mark.parametrize("before", [[None], [1, None], [1, 1, None], [None, 1, None, 1]])
def test_gaps_of_segments_that_are_out_do_not_count(before: list[int | None]) -> None:
    """Of a segment of 4000 samples, which ends with a gap or with audio, nothing is left."""
    state = TrackState("far", 0, heard_at=0)
    audio = SegmentBuffer(state, settings_of(AssemblyConfig(segment_ms=500)))
    for place, offset in enumerate(before, 1):
        samples = 4000 * place // len(before) - audio.end
        if offset is None:
            audio.append_silence(samples)
        else:
            audio.append(offset, bytes(samples))
    assert len(audio.cut()) == 1
    for gaps in range(1, MAX_SEGMENT_GAPS + 2):
        audio.append_silence(1)
        audio.append(gaps, b"a")
        assert bool(audio.cut()) is (gaps > MAX_SEGMENT_GAPS)


@given(
    pieces=st.lists(st.tuples(st.none() | st.integers(0, 9), st.integers(1, 50), st.booleans()), max_size=15)
)
def test_segments_tell_of_each_sample_what_it_is_and_where_it_lay(
    pieces: list[tuple[int | None, int, bool]],
) -> None:
    """Against a list of samples: the offset of each, None for a gap. Cut behind some pieces."""
    state, segments = TrackState("far", 3, heard_at=77, encoding="alaw"), list[TrackSegment]()
    audio = buffer(state)
    samples: list[int | None] = []
    for offset, length, cut in pieces:
        if offset is None:
            audio.append_silence(length)
        else:
            audio.append(offset, bytes([offset]) * length)
        samples += [offset] * length
        assert audio.end == len(samples)
        if cut:
            segments += audio.cut()
    segments += audio.flush()
    assert state.position == audio.end == len(samples)
    borders = [*range(0, len(samples), 16), len(samples)]
    assert [s.first_sample for s in segments] == borders[:-1]
    for segment, (first, end) in zip(segments, itertools.pairwise(borders), strict=True):
        said = samples[first:end]
        assert (segment.track, segment.track_index, segment.heard_at) == ("far", 3, 77)
        assert segment.samples == len(segment.audio) == end - first
        assert list(segment.audio) == [0xD5 if offset is None else offset for offset in said]
        offsets = [offset for offset in said if offset is not None]
        assert segment.first_offset == min(offsets, default=-1)
        assert segment.last_offset == max(offsets, default=-1)
        gaps = {at for gap in segment.gaps for at in range(gap.first_sample, gap.first_sample + gap.samples)}
        assert gaps == {at for at in range(first, end) if samples[at] is None}
        assert all(a.first_sample + a.samples < b.first_sample for a, b in itertools.pairwise(segment.gaps))


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
                audio.append(offset, bytes([offset]) * length)
            out += audio.cut()
            if offset in restarting:
                audio, state = restored(audio, state)
        return out + list(audio.flush())

    assert run(restarts) == run(set())


def test_audio_between_gaps_lies_in_its_place_after_a_restart() -> None:
    state = TrackState("far", 0, heard_at=0)
    audio = buffer(state)
    for offset, piece in enumerate((b"aa", None, b"bbb", None, b"c", None, b"dd")):
        if piece is None:
            audio.append_silence(1)
        else:
            audio.append(offset, piece)
    again, _ = restored(audio, state)
    assert [segment.audio for segment in again.flush()] == [b"aa\xffbbb\xffc\xffdd"]


@given(pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 8)), max_size=8))
def test_what_is_packed_is_what_was_appended(pieces: list[tuple[bool, int]]) -> None:
    state = TrackState("far", 0, heard_at=0)
    audio = SegmentBuffer(state, settings_of(AssemblyConfig()))
    for offset, (silent, length) in enumerate(pieces):
        if silent:
            audio.append_silence(length)
        else:
            audio.append(offset, bytes([offset]) * length)
    packed = audio.packed()
    heard = [(offset, length) for offset, (silent, length) in enumerate(pieces) if not silent]
    assert packed.audio == b"".join(bytes([offset]) * length for offset, length in heard)
    assert sum(packed.runs[0::2]) == len(packed.audio)
    assert sum(packed.runs[1::2]) == sum(length for silent, length in pieces if silent)
    offsets = [offset for offset, _ in heard]
    assert (packed.first_offset, packed.last_offset) == (min(offsets, default=-1), max(offsets, default=-1))
