"""A track's messages in any order, into its audio in order. What begins another take: ``test_takes``."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.instant import Instant
from processors.core.assemble.state import Kind, Message, NameState, TrackState, settings_of
from processors.core.assemble.takes import Takes, TooManyTracksError
from processors.core.assemble.track import TrackAssembler
from schemas.events import Gap, Payload, TrackClosed, TrackOpened, TrackSegment

#: Segments of 8 samples, gaps declared lost when more than 3 messages wait or after 100 ms.
CONFIG = AssemblyConfig(window_chunks=3, window_ms=100, segment_ms=1, max_gap_ms=1000)
SETTINGS = settings_of(CONFIG)
START = {"name": "far", "media_format": {"encoding": "ulaw", "sample_rate": 8000}}
STOP = {"name": "far", "duration": 1}


def message(number: int, stop: int, size: int = 4, ms: int = 0) -> Message:
    """Return a message at the offset of its number."""
    if number == 1:
        return Message(1, Kind.START, 1, ms, ms * 1000, 0, START)
    if number == stop:
        return Message(number, Kind.STOP, stop, ms, ms * 1000, 0, STOP)
    return Message(number, Kind.CHUNK, number, ms, ms * 1000, size, bytes([number % 256]) * size)


def limit(*takes: TrackState, began_us: int = 0, max_gap_ms: int = SETTINGS.max_gap_ms) -> GapLimit:
    return GapLimit(began_us, max_gap_ms, takes)


class Track:
    """The takes of a name; most have one."""

    def __init__(self, index: int = 0, snapshot: tuple[NameState, list[TrackState]] | None = None) -> None:
        self._index = index
        named, states = snapshot or (NameState("far"), [])
        self.states = states
        self.tracks = [TrackAssembler(state, SETTINGS, limit(*states)) for state in states]
        self.takes = Takes(named, SETTINGS, self._begin, self.tracks)

    def _begin(self, name: str, take: int) -> TrackAssembler:
        self.states.append(TrackState(name, self._index + take - 1, take))
        self.tracks.append(TrackAssembler(self.states[-1], SETTINGS, limit(*self.states)))
        return self.tracks[-1]

    @property
    def state(self) -> TrackState:
        return self.states[0]

    def receive(self, one: Message) -> list[Payload]:
        return self.takes.receive(one, "c")

    def advance(self, now_ms: int) -> list[Payload]:
        return self.takes.advance(Instant(now_ms, now_ms * 1000))

    def close(self) -> list[Payload]:
        return self.takes.close()

    def restarted(self) -> "Track":
        snapshot = msgspec.msgpack.encode((self.takes.snapshot(), [t.snapshot() for t in self.tracks]))
        return Track(0, msgspec.msgpack.decode(snapshot, type=tuple[NameState, list[TrackState]]))


def assembler() -> Track:
    return Track()


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


def test_chunk_sizes_may_vary() -> None:
    track = assembler()
    out = track.receive(message(1, 5))
    for number, size in ((2, 1), (3, 17), (4, 3)):
        out += track.receive(message(number, 5, size))
    out += track.receive(message(5, 5))
    assert audio(out) == b"\x02" + b"\x03" * 17 + b"\x04" * 3
    assert [e.samples for e in out if isinstance(e, TrackSegment)] == [8, 8, 5]


@pytest.mark.parametrize(("before", "size"), [([1, 2], 4), ([1, 2], 8000), ([1], 16), ([], 16)])
def test_a_gap_is_filled_as_far_as_it_may_be_long(before: list[int], size: int) -> None:
    """8000 samples, by the length of the chunk before, else of the one behind; what is behind goes on."""
    for further in (0, 1):
        track, out = assembler(), list[Payload]()
        for number in before:
            out += track.receive(message(number, 10**6, size))
        behind = max(2, len(before) + 1) + 8000 // size + further
        assert track.receive(message(behind, 10**6, size)) == []
        out += track.close()
        assert sum(gap.samples for gap in gaps(out)) == closed(out).gap_samples == 8000
        assert audio(out).endswith(b"\xff" + bytes([behind % 256]) * size)
        assert closed(out).delivery.lost == 8000 // size + further
        assert track.state.capped_samples == closed(out).capped_samples == further * size


def test_a_start_with_another_number_than_1_says_the_format_of_what_comes_behind_it() -> None:
    track = assembler()
    start = {"media_format": {"encoding": "alaw", "sample_rate": 8000}}
    track.receive(Message(3, Kind.START, 3, 0, 0, 0, start))
    out = track.takes.wait_no_longer()
    assert out == [TrackOpened("far", 0, "alaw", 8000, False, start)]
    out += track.receive(message(4, 99)) + track.close()
    assert audio(out) == b"\x04" * 4
    assert counts(out)[:3] == (2, 1, 1)


def test_a_start_in_the_middle_that_declares_another_format_is_of_another_take() -> None:
    start = {"media_format": {"encoding": "alaw", "sample_rate": 8000}}
    track = assembler()
    out = [*track.receive(message(1, 99)), *track.receive(message(2, 99))]
    out += track.receive(Message(3, Kind.START, 3, 0, 0, 0, start)) + track.receive(message(4, 99))
    out += track.close()
    assert [one.encoding for one in out if isinstance(one, TrackOpened)] == ["ulaw", "alaw"]
    assert [(s.take, s.audio[:1]) for s in out if isinstance(s, TrackSegment)] == [(1, b"\x02"), (2, b"\x04")]


def test_what_comes_with_a_start_of_another_number_is_all_told() -> None:
    track = assembler()
    track.receive(message(1, 99))
    track.receive(message(3, 99, 8))
    track.receive(Message(4, Kind.START, 4, 0, 0, 0, START))
    out = track.receive(message(2, 99, 8))
    assert audio(out) == b"\x02" * 8 + b"\x03" * 8


@pytest.mark.parametrize("restarts", [False, True])
def test_all_that_was_lost_before_the_first_audio_is_as_long_as_that(restarts: bool) -> None:
    """An empty chunk, or several, may lie between."""
    track, out = assembler(), list[Payload]()
    for number, length in ((1, 0), (4, 0), (6, 0), (8, 2), (9, 3), (11, 3)):
        out += track.receive(message(number, 99, length))
        if track.takes.waiting_bytes:
            out += track.takes.wait_no_longer()
        track = track.restarted() if restarts else track
    out += track.close()
    assert audio(out) == b"\xff" * 8 + b"\x08" * 2 + b"\x09" * 3 + b"\xff" * 3 + b"\x0b" * 3
    assert gaps(out) == [Gap(0, 8), Gap(13, 3)]
    assert counts(out)[:3] == (10, 5, 5)


@pytest.mark.parametrize(
    ("rate_hz", "declared_ms", "samples", "declared"),
    [
        (11_025, 1, 11, True),  # which are 11.025
        (11_025, 2, 11, False),
        (8000, 1, 8, True),
        (8000, 0, 11, False),
    ],
)
def test_a_declared_duration_ends_at_a_whole_sample(
    rate_hz: int, declared_ms: int, samples: int, declared: bool
) -> None:
    """Of a track of 7 samples, whose last chunk is lost, as long as the 4 before it."""
    said = {"media_format": {"encoding": "ulaw", "sample_rate": rate_hz}}
    track = assembler()
    out = track.receive(Message(1, Kind.START, 1, 0, 0, 0, said))
    out += track.receive(message(2, 5, 3)) + track.receive(message(3, 5, 4))
    out += track.receive(Message(5, Kind.STOP, 5, 0, 0, 0, STOP | {"duration": declared_ms})) + track.close()
    assert (closed(out).samples, closed(out).length_declared) == (samples, declared)


def test_a_gap_of_one_sample_is_filled_too() -> None:
    track = assembler()
    out = track.receive(message(1, 9)) + track.receive(message(2, 9, 1)) + track.receive(message(4, 9, 1))
    out += track.close()
    assert (audio(out), gaps(out)) == (b"\x02\xff\x04", [Gap(1, 1)])


def test_the_gaps_of_a_track_are_added() -> None:
    out = run([1, 3, 5, 8], stop=99, close=True)
    assert [gap.samples for gap in gaps(out)] == [4, 4, 8]
    assert closed(out).gap_samples == 16


def test_a_track_lasts_no_longer_than_can_have_passed() -> None:
    """Its samples, the time since the stream began, and a minute."""
    settings = settings_of(AssemblyConfig())
    for received_ms in (100_000, 160_000):
        state = TrackState("far", 0)
        track = TrackAssembler(
            state, settings, limit(state, began_us=100_000_000, max_gap_ms=settings.max_gap_ms)
        )
        for one in (message(1, 10**6), message(2, 10**6, 800), message(10**6 - 1, 10**6, ms=received_ms)):
            track.add(one)
        track.close()
        end = closed(track.taken())
        assert end.gap_samples == 800 + 8 * (received_ms - 100_000 + 60_000)
        assert end.samples == end.gap_samples + 804
        assert track.state.capped_samples == (10**6 - 4) * 800 - end.gap_samples


def test_of_what_may_be_filled_earlier_gaps_have_had_their_part() -> None:
    state = TrackState("far", 0)
    track = TrackAssembler(state, settings_of(AssemblyConfig()), limit(state, max_gap_ms=3_600_000))
    for number in (1, 2, 9_000, 18_000):
        track.add(message(number, 10**6, 80))
    track.close()
    assert closed(track.taken()).gap_samples == 2 * 80 + 60 * 8000


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
    track = TrackAssembler(TrackState("far", 0), SETTINGS, limit())
    track.close()
    out = track.taken()
    assert (closed(out).first_offset, closed(out).last_offset) == (-1, -1)
    assert (closed(out).samples, closed(out).finished, closed(out).stop) == (0, False, None)


def test_what_is_opened_and_closed_is_told_in_full() -> None:
    start = START | {"media_format": {"encoding": "PCMA", "sample_rate": 16_000}}
    track = Track(7)
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
    """What comes late for one of those is late; what comes for one before them is of another take."""
    track = assembler()
    track.receive(message(1, 999))
    for number in range(3, 3 + 2 * 65, 2):  # each second one is lost
        track.receive(message(number, 999))
        track.takes.wait_no_longer()
    for number, late, takes in ((4, 1, 1), (130, 2, 1), (2, 2, 2)):
        track.receive(message(number, 999))
        assert (track.state.stats.late, len(track.states)) == (late, takes)


def other(number: int, ms: int) -> Message:
    """Return a chunk with other content than that of its number."""
    return Message(number, Kind.CHUNK, 90, ms, ms * 1000, 4, b"abcd")


def received(*numbers: int, stop: int = 99) -> Track:
    """Return a track of which these came, a millisecond apart."""
    track = assembler()
    for ms, number in enumerate(numbers):
        track.receive(message(number, stop, ms=ms))
    return track


@pytest.mark.parametrize(("number", "late"), [(3, 0), (4, 1), (5, 1), (6, 1), (7, 0)])
def test_what_comes_for_a_number_declared_lost_is_late_and_for_another_begins_a_take(
    number: int, late: int
) -> None:
    track = received(1, 2, 3, 7)
    track.takes.wait_no_longer()
    track.receive(other(number, 4))
    assert (track.state.stats.late, len(track.states)) == (late, 2 - late)


@pytest.mark.parametrize("number", [2, 5])
def test_in_the_first_take_a_start_of_another_number_than_1_comes_behind_a_loss(number: int) -> None:
    track = received(7)
    track.receive(Message(number, Kind.START, 90, 1, 1000, 0, START))
    track.takes.wait_no_longer()
    track.receive(other(1, 2))
    assert (track.state.stats.late, len(track.states)) == (1, 1)


def test_a_start_that_comes_behind_audio_of_its_take_is_remembered_as_its_own() -> None:
    for numbers in ((1, 2), (2, 1)):
        state = received(*numbers).state
        assert (state.started, state.start_seq, state.next_seq) == (True, 1, 3)


def test_what_waited_behind_a_stop_and_finds_no_take_any_more_is_late() -> None:
    track = assembler()

    def begin(name: str, take: int) -> TrackAssembler:
        if take > 1:
            raise TooManyTracksError("no more")
        return track._begin(name, take)

    track.takes = Takes(NameState("far"), SETTINGS, begin)
    for ms, number in enumerate((7, 9, 5)):
        track.receive(message(number, 5, ms=ms))
    track.close()
    assert track.state.stats.late == 2


def test_what_comes_behind_a_stop_that_had_waited_is_of_another_take() -> None:
    track = received(1, 2, 4, 3, 5, stop=4)
    assert [(state.closed, state.take) for state in track.states] == [(True, 1), (False, 2)]


def test_when_memory_is_short_a_start_that_nothing_came_behind_is_a_duplicate() -> None:
    track = received(1, 2, 3, 1)
    assert track.takes.waiting_bytes > 0
    assert track.takes.waits_since == 1
    track.takes.wait_no_longer()
    assert track.takes.waiting_bytes == 0
    assert (track.state.stats.duplicate, len(track.states)) == (1, 1)


def test_when_memory_is_short_a_take_has_the_start_that_came_behind_its_audio() -> None:
    track = received(1, 2, 3, 4, stop=4)
    track.receive(other(7, 4))
    track.receive(Message(1, Kind.START, 91, 5, 5000, 0, START))
    track.takes.wait_no_longer()
    assert [state.started for state in track.states] == [True, True]
    assert [state.stats.duplicate for state in track.states] == [0, 0]
    assert track.states[1].stats.lost == 5


def test_another_rate_makes_segments_of_its_own_length() -> None:
    track = assembler()
    start = {"media_format": {"encoding": "ulaw", "sample_rate": 16000}}
    out = track.receive(Message(1, Kind.START, 1, 0, 0, 0, start))
    out += track.receive(message(2, 9, 20))
    assert [e.samples for e in out if isinstance(e, TrackSegment)] == [16]


@pytest.mark.parametrize(("highest_hz", "rate_hz"), [(96_000, 96_000), (95_999, 8000)])
def test_a_track_has_the_rate_that_it_declares_up_to_the_highest_that_its_stream_takes(
    highest_hz: int, rate_hz: int
) -> None:
    state = TrackState("far", 0)
    track = TrackAssembler(state, settings_of(AssemblyConfig(max_rate_hz=highest_hz)), limit(state))
    start = {"media_format": {"encoding": "ulaw", "sample_rate": 96_000}}
    track.add(Message(1, Kind.START, 1, 0, 0, 0, start))
    assert track.taken() == [TrackOpened("far", 0, "ulaw", rate_hz, rate_hz != 96_000, start)]


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
                track = track.restarted()
        return out + track.close()

    assert played(restarts) == played(set())
