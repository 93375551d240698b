"""A track's messages in any order, into its audio in order."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.state import Kind, Message, TrackState, settings_of
from processors.core.assemble.track import SequenceJumpError, TrackAssembler
from schemas.events import Gap, Payload, TrackClosed, TrackOpened, TrackSegment

#: Segments of 8 samples, gaps declared lost when more than 3 messages wait or after 100 ms.
CONFIG = AssemblyConfig(window_chunks=3, window_ms=100, segment_ms=1, max_gap_ms=1000)
START = {"name": "far", "media_format": {"encoding": "ulaw", "sample_rate": 8000}}
STOP = {"name": "far", "duration": 1}


def message(number: int, stop: int, size: int = 4, ms: int = 0) -> Message:
    """Return a message at the offset of its number."""
    if number == 1:
        return Message(1, Kind.START, 1, ms, ms * 1000, 0, START)
    if number == stop:
        return Message(number, Kind.STOP, stop, ms, ms * 1000, 0, STOP)
    return Message(number, Kind.CHUNK, number, ms, ms * 1000, size, bytes([number % 256]) * size)


def assembler() -> TrackAssembler:
    return TrackAssembler(TrackState("far", 0), settings_of(CONFIG))


def run(numbers: list[int], stop: int = 6, *, close: bool = False, step_ms: int = 0) -> list[Payload]:
    """Return the events of a track whose messages come in this order; message n is at offset n."""
    track = assembler()
    out: list[Payload] = []
    for at, number in enumerate(numbers):
        out += track.receive(message(number, stop, ms=at * step_ms))
        out += track.advance(at * step_ms)
    return out + (track.close() if close else [])


def audio(out: list[Payload]) -> bytes:
    return b"".join(e.audio for e in out if isinstance(e, TrackSegment))


def gaps(out: list[Payload]) -> list[Gap]:
    return [g for e in out if isinstance(e, TrackSegment) for g in e.gaps]


def closed(out: list[Payload]) -> TrackClosed:
    (found,) = [e for e in out if isinstance(e, TrackClosed)]
    return found


def counts(out: list[Payload]) -> tuple[int, int, int, int, int]:
    c = closed(out)
    return c.expected, c.delivery.received, c.delivery.lost, c.delivery.duplicate, c.delivery.late


WHOLE = b"".join(bytes([n]) * 4 for n in (2, 3, 4, 5))


def test_in_order() -> None:
    out = run([1, 2, 3, 4, 5, 6])
    assert isinstance(out[0], TrackOpened)
    assert [type(e).__name__ for e in out] == [
        "TrackOpened",
        "TrackSegment",
        "TrackSegment",
        "TrackClosed",
    ]
    assert audio(out) == WHOLE
    assert counts(out) == (4, 4, 0, 0, 0)
    assert closed(out).finished
    assert closed(out).duration_ms == 2.0


def test_segments_adjoin_and_tell_where_their_audio_lay() -> None:
    segments = [e for e in run([1, 2, 3, 4, 5, 6]) if isinstance(e, TrackSegment)]
    assert [(s.first_sample, s.samples, s.first_offset, s.last_offset) for s in segments] == [
        (0, 8, 2, 3),
        (8, 8, 4, 5),
    ]


def test_out_of_order_within_the_reorder_buffer() -> None:
    out = run([3, 1, 2, 5, 4, 6])
    assert (audio(out), gaps(out)) == (WHOLE, [])
    # 1 and 2 came behind 3, 4 behind 5.
    assert closed(out).delivery.reordered == 3


def test_duplicates_are_counted_and_kept_out() -> None:
    out = run([1, 1, 2, 2, 4, 4, 3, 5, 6])
    assert audio(out) == WHOLE
    assert counts(out) == (4, 4, 0, 3, 0)


def test_lost_in_the_middle_is_silence_of_the_length_of_the_chunk_before() -> None:
    out = run([1, 2, 4, 5, 6], close=True)
    assert audio(out) == WHOLE.replace(b"\x03", b"\xff")
    assert gaps(out) == [Gap(4, 4)]
    assert counts(out) == (4, 3, 1, 0, 0)


def test_lost_at_the_head_is_silence_of_the_length_of_the_chunk_after() -> None:
    out = run([1, 4, 5, 6], close=True)
    assert audio(out) == b"\xff" * 8 + WHOLE[8:]
    assert gaps(out) == [Gap(0, 8)]
    assert counts(out) == (4, 2, 2, 0, 0)


def test_lost_at_the_tail_is_seen_by_the_stops_number() -> None:
    out = run([1, 2, 3, 6], close=True)
    assert audio(out) == WHOLE[:8] + b"\xff" * 8
    assert counts(out) == (4, 2, 2, 0, 0)
    assert closed(out).finished


def test_a_lost_start_means_the_assumed_format() -> None:
    out = run([2, 3, 4, 5, 6], close=True)
    assert isinstance(out[0], TrackOpened)
    assert out[0].format_assumed
    assert out[0].start is None
    assert audio(out) == WHOLE
    assert counts(out) == (4, 4, 0, 0, 0)


def test_a_lost_stop_leaves_the_track_unfinished() -> None:
    out = run([1, 2, 3, 4, 5], close=True)
    assert audio(out) == WHOLE
    assert not closed(out).finished
    assert closed(out).stop is None


def test_an_empty_track_opens_and_closes() -> None:
    out = run([1, 2], stop=2)
    assert [type(e).__name__ for e in out] == ["TrackOpened", "TrackClosed"]
    assert counts(out) == (0, 0, 0, 0, 0)


def test_a_track_of_which_only_the_stop_came_has_no_length() -> None:
    out = run([6], close=True)
    assert audio(out) == b""
    assert counts(out) == (4, 0, 4, 0, 0)


def test_a_gap_is_declared_lost_when_too_many_wait() -> None:
    track = assembler()
    for number in (1, 2, 4, 5, 6):
        track.receive(message(number, 99))
        assert not [e for e in track.advance(0) if isinstance(e, TrackSegment)]
    track.receive(message(7, 99))
    assert gaps(track.advance(0)) == [Gap(4, 4)]


def test_a_gap_is_declared_lost_by_the_logs_time() -> None:
    track = assembler()
    for number in (1, 2, 4):
        track.receive(message(number, 99, ms=1000))
    assert track.advance(1099) == []
    assert gaps(track.advance(1100)) == [Gap(4, 4)]


def test_what_comes_after_it_was_declared_lost_is_late_and_kept_out() -> None:
    out = run([1, 2, 4, 3, 5, 6], step_ms=60)
    assert audio(out) == WHOLE
    late = run([1, 2, 4, 5, 3, 6], step_ms=110)
    assert audio(late) == WHOLE.replace(b"\x03", b"\xff")
    assert counts(late) == (4, 3, 1, 0, 1)


def test_a_duplicate_after_a_gap_is_no_late_message() -> None:
    out = run([1, 2, 4, 5, 2, 6], step_ms=60, close=True)
    assert counts(out) == (4, 3, 1, 1, 0)
    out = run([1, 2, 4, 5, 4, 6], step_ms=60, close=True)
    assert counts(out) == (4, 3, 1, 1, 0), "the first one behind the gap, too"


def test_numbers_beyond_the_stop_are_late() -> None:
    out = run([1, 2, 3, 8, 4, 5, 6])
    assert audio(out) == WHOLE
    assert counts(out) == (4, 4, 0, 0, 1)


def test_chunk_sizes_may_vary() -> None:
    track = assembler()
    out = track.receive(message(1, 5))
    for number, size in ((2, 1), (3, 17), (4, 3)):
        out += track.receive(message(number, 5, size))
    out += track.receive(message(5, 5))
    assert audio(out) == b"\x02" + b"\x03" * 17 + b"\x04" * 3
    assert [e.samples for e in out if isinstance(e, TrackSegment)] == [8, 8, 5]


def test_an_absurd_jump_is_refused_and_changes_nothing() -> None:
    track = assembler()
    out = track.receive(message(1, 6)) + track.receive(message(2, 6))
    says = f"{10**12} where 3 was next .* more than 1 s .TAPELINE_MAX_GAP_S"
    with pytest.raises(SequenceJumpError, match=says):
        track.receive(Message(10**12, Kind.CHUNK, 3, 0, 0, 4, b"\x03" * 4))
    for number in (3, 4, 5, 6):
        out += track.receive(message(number, 6))
    assert audio(out) == WHOLE


@pytest.mark.parametrize(("before", "size"), [([1, 2], 4), ([1, 2], 8000), ([1], 16), ([], 16)])
def test_a_jump_as_far_as_a_gap_may_be_long_is_waited_for_and_one_further_is_refused(
    before: list[int], size: int
) -> None:
    """8000 samples, by the length of the last chunk, else of the one that jumps; a head may be any length."""
    track = assembler()
    for number in before:
        track.receive(message(number, 10**6, size))
    furthest = len(before) + 1 + 8000 // size
    if before:
        with pytest.raises(SequenceJumpError):
            track.receive(message(furthest + 1, 10**6, size))
    assert track.receive(message(furthest, 10**6, size)) == []
    out = track.close()
    assert sum(gap.samples for gap in gaps(out)) == (furthest - max(2, len(before) + 1)) * size
    assert closed(out).gap_samples == (furthest - max(2, len(before) + 1)) * size


def test_a_start_with_another_number_than_1_says_the_format_of_what_comes_behind_it() -> None:
    track = assembler()
    start = {"media_format": {"encoding": "alaw", "sample_rate": 8000}}
    track.receive(Message(3, Kind.START, 3, 0, 0, 0, start))
    out = track.wait_no_longer()
    assert out == [TrackOpened("far", 0, "alaw", 8000, False, start)]
    out += track.receive(message(4, 99)) + track.close()
    assert audio(out) == b"\x04" * 4
    assert counts(out)[:3] == (2, 1, 1)


def test_what_comes_with_a_start_of_another_number_is_all_told() -> None:
    track = assembler()
    track.receive(message(1, 99))
    track.receive(message(3, 99, 8))
    track.receive(Message(4, Kind.START, 4, 0, 0, 0, START))
    out = track.receive(message(2, 99, 8))
    assert audio(out) == b"\x02" * 8 + b"\x03" * 8


def test_a_gap_of_one_sample_is_filled_too() -> None:
    track = assembler()
    out = track.receive(message(1, 9)) + track.receive(message(2, 9, 1)) + track.receive(message(4, 9, 1))
    out += track.close()
    assert (audio(out), gaps(out)) == (b"\x02\xff\x04", [Gap(1, 1)])


def test_the_gaps_of_a_track_are_added() -> None:
    out = run([1, 3, 5, 8], stop=99, close=True)
    assert [gap.samples for gap in gaps(out)] == [4, 4, 8]
    assert closed(out).gap_samples == 16


def test_a_gap_may_always_be_a_sample_long() -> None:
    track = TrackAssembler(TrackState("far", 0), settings_of(AssemblyConfig(max_gap_ms=0)))
    track.receive(message(1, 99))
    track.receive(message(2, 99, 1))
    with pytest.raises(SequenceJumpError, match="5 where 3 was next"):
        track.receive(message(5, 99, 1))
    assert track.receive(message(4, 99, 1)) == []
    assert gaps(track.close()) == [Gap(1, 1)]


def test_where_no_chunk_came_a_jump_is_measured_by_numbers() -> None:
    for number, refused in ((2 + 8000, False), (2 + 8001, True)):
        track = assembler()
        track.receive(message(1, number))
        with pytest.raises(SequenceJumpError) if refused else contextlib.nullcontext():
            track.receive(message(number, number))


def test_a_refused_jump_says_how_long_a_gap_may_be() -> None:
    track = TrackAssembler(TrackState("far", 0), settings_of(AssemblyConfig(max_gap_ms=3_600_000)))
    track.receive(message(1, 99))
    with pytest.raises(SequenceJumpError, match="more than 3600 s"):
        track.receive(message(10**12, 99))


def test_no_jump_is_absurd_behind_the_stop() -> None:
    track = assembler()
    out = track.receive(message(1, 2)) + track.receive(message(2, 2))
    assert track.receive(message(10**9, 2)) == []
    assert counts(out) == (0, 0, 0, 0, 0)
    assert track.state.stats.late == 1


def test_a_head_longer_than_a_gap_may_be_is_counted_and_not_filled() -> None:
    for lost, filled in ((2000, 8000), (2001, 0)):
        track = assembler()
        track.receive(message(2 + lost, 10**6))
        out = track.close()
        assert audio(out) == b"\xff" * filled + bytes([(2 + lost) % 256]) * 4
        assert (closed(out).gap_samples, closed(out).delivery.lost) == (filled, lost)


def test_a_track_was_heard_since_before_its_first_chunk_was_sent() -> None:
    """A chunk is sent when its last sample was heard: by the length of what came, and of what was filled."""
    for numbers, received_ms, samples in (([1, 2], 1000, 4), ([1, 4], 1000, 12)):
        track = assembler()
        out = [event for number in numbers for event in track.receive(message(number, 99, ms=received_ms))]
        out += track.close()
        heard_at = {event.heard_at for event in out if isinstance(event, TrackSegment)}
        assert heard_at == {received_ms * 1000 - samples * 125}
    track = assembler()
    out = track.receive(message(1, 99)) + track.receive(message(2, 99, ms=1000))
    out += track.receive(message(3, 99, ms=9000)) + track.close()
    assert {e.heard_at for e in out if isinstance(e, TrackSegment)} == {1_000_000 - 500}


def test_a_track_knows_where_its_messages_lie_in_whatever_order_they_came() -> None:
    for first in (0, 40):
        track = assembler()
        out: list[Payload] = []
        for offset, number in enumerate((1, 3, 2, 5, 4, 6), first):
            out += track.receive(msgspec.structs.replace(message(number, 6), offset=offset))
        assert (closed(out).first_offset, closed(out).last_offset) == (first, first + 5)
    track = assembler()
    out = track.receive(msgspec.structs.replace(message(2, 3), offset=7))
    out += track.receive(msgspec.structs.replace(message(1, 3), offset=8))
    out += track.receive(msgspec.structs.replace(message(3, 3), offset=9))
    assert (closed(out).first_offset, closed(out).last_offset) == (7, 9)


def test_of_a_track_without_messages_nothing_is_known() -> None:
    out = assembler().close()
    assert (closed(out).first_offset, closed(out).last_offset) == (-1, -1)
    assert (closed(out).samples, closed(out).finished, closed(out).stop) == (0, False, None)


def test_what_is_opened_and_closed_is_told_in_full() -> None:
    start = START | {"media_format": {"encoding": "PCMA", "sample_rate": 16_000}}
    track = TrackAssembler(TrackState("far", 7), settings_of(CONFIG))
    out = track.receive(Message(1, Kind.START, 1, 0, 0, 0, start))
    assert out == [TrackOpened("far", 7, "alaw", 16_000, False, start)]
    out = track.receive(message(2, 3, 32)) + track.receive(message(3, 3))
    end = closed(out)
    assert (end.track, end.track_index, end.samples, end.duration_ms) == ("far", 7, 32, 2.0)
    assert (end.finished, end.stop, end.expected, end.delivery.received) == (True, STOP, 1, 1)
    assert (end.gap_samples, end.first_offset, end.last_offset) == (0, 1, 3)


def test_a_start_without_a_format_has_the_assumed_one() -> None:
    for declared in ({}, {"media_format": None}, {"media_format": {}}):
        (opened,) = assembler().receive(Message(1, Kind.START, 1, 0, 0, 0, declared))
        assert opened == TrackOpened("far", 0, "ulaw", 8000, True, declared)


def test_of_many_losses_the_last_64_are_remembered() -> None:
    """What comes late for one of those is late; for one before them it counts as a duplicate."""
    track = assembler()
    track.receive(message(1, 999))
    for number in range(3, 3 + 2 * 65, 2):  # each second one is lost
        track.receive(message(number, 999))
        track.wait_no_longer()
    for number, late, duplicate in ((2, 0, 1), (4, 1, 1), (130, 2, 1), (3, 2, 2)):
        track.receive(message(number, 999))
        assert (track.state.stats.late, track.state.stats.duplicate) == (late, duplicate)


def test_a_late_joiner_may_be_any_time_late() -> None:
    track = assembler()
    out = track.receive(Message(10**9, Kind.CHUNK, 9, 0, 0, 4, b"\x09" * 4))
    out += track.advance(0) + track.close()
    assert audio(out) == b"\x09" * 4
    assert closed(out).delivery.lost == 10**9 - 2


def test_another_rate_makes_segments_of_its_own_length() -> None:
    track = assembler()
    start = {"media_format": {"encoding": "ulaw", "sample_rate": 16000}}
    out = track.receive(Message(1, Kind.START, 1, 0, 0, 0, start))
    out += track.receive(message(2, 9, 20))
    assert [e.samples for e in out if isinstance(e, TrackSegment)] == [16]


def test_a_start_with_another_number_opens_nothing_and_cuts_what_is_full() -> None:
    track = assembler()
    out = track.receive(message(1, 99)) + track.receive(message(2, 99))
    out += track.receive(Message(9, Kind.START, 9, 0, 0, 0, START))
    out += track.advance(100)
    # Six chunks of silence, and the audio before it.
    assert [(s.first_sample, s.samples) for s in out if isinstance(s, TrackSegment)] == [
        (0, 8),
        (8, 8),
        (16, 8),
    ]


@given(
    numbers=st.lists(st.integers(1, 12), max_size=20),
    restarts=st.sets(st.integers(0, 19)),
    step_ms=st.integers(0, 60),
)
def test_a_restart_at_any_message_changes_nothing(
    numbers: list[int], restarts: set[int], step_ms: int
) -> None:
    def played(restarting: set[int]) -> list[Payload]:
        track, out = assembler(), list[Payload]()
        for at, number in enumerate(numbers):
            out += track.receive(message(number, 12, 3, at * step_ms))
            out += track.advance(at * step_ms)
            if at in restarting:
                snapshot = msgspec.msgpack.encode(track.snapshot())
                track = TrackAssembler(msgspec.msgpack.decode(snapshot, type=TrackState), settings_of(CONFIG))
        return out + track.close()

    assert played(restarts) == played(set())
