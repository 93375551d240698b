"""What a take keeps of messages that another take had the like of, and when it uses them."""

from collections.abc import Sequence

import pytest

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.instant import Instant
from processors.core.assemble.reorder_buffer import size
from processors.core.assemble.state import Kind, Message, TrackState, settings_of
from processors.core.assemble.track import TrackAssembler
from schemas.events import TrackClosed, TrackOpened, TrackSegment

SETTINGS = settings_of(AssemblyConfig(window_chunks=3, window_ms=100, segment_ms=1))


def start(number: int = 1) -> Message:
    return Message(number, Kind.START, number, 0, 0, 0, {"name": "far"})


def chunk(number: int, ms: int = 0, text: str = "") -> Message:
    audio = (text or chr(96 + number)).encode() * 8
    return Message(number, Kind.CHUNK, number, ms, ms * 1000, 8, audio)


def stop(number: int) -> Message:
    return Message(number, Kind.STOP, number, 0, 0, 0, {"name": "far", "duration": None})


def begun(*waits: Message, spares: Sequence[Message] = ()) -> TrackAssembler:
    """Return a take whose start came, with what waits in it and what it keeps; 2 is the next number."""
    state = TrackState("far", 0)
    track = TrackAssembler(state, SETTINGS, GapLimit(0, 1000, [state]))
    for one in (start(), *waits):
        track.add(one)
    for one in spares:
        track.spare(one)
    return track


def told(track: TrackAssembler) -> str:
    """Return a letter for each chunk that was used since, ``_`` for one that was lost, ``.`` for the end."""
    out = ""
    for event in track.taken():
        if isinstance(event, TrackSegment):
            out += event.audio[::8].replace(b"\xff", b"_").decode()
        elif isinstance(event, TrackClosed):
            out += "."
    return out


def test_each_counts_as_a_duplicate_until_it_is_used() -> None:
    track = begun(spares=[chunk(2), chunk(3), chunk(3, text="x"), chunk(5)])
    assert track.state.stats.duplicate == 4
    track.use_spares(3)
    assert (told(track), track.state.stats.duplicate) == ("b", 3)
    track.use_spares(4)
    assert (told(track), track.state.stats.duplicate) == ("x", 2), "of two, the last is the likeliest"
    track.use_spares(9)
    assert (told(track), track.state.stats.duplicate) == ("", 2), "4 is missing"


def test_not_more_are_kept_than_are_remembered_of_a_take() -> None:
    track = begun(spares=[chunk(number, text="x") for number in range(2, 80)])
    track.spare(chunk(2, text="y"))
    assert sorted(track.state.spares) == [*range(2, 68)]
    track.use_spares(80)
    assert told(track) == "y" + "x" * 65


def test_they_wait_as_what_is_ahead_of_its_turn_does() -> None:
    track = begun(chunk(4), spares=[chunk(2), chunk(7)])
    assert track.waiting_bytes == 3 * size(chunk(2))
    assert track.waits_since == 2
    track.drop_spares()
    assert (track.waiting_bytes, track.waits_since) == (size(chunk(4)), 4)


@pytest.mark.parametrize(("now_ms", "used"), [(99, ""), (100, "b"), (149, "b"), (150, "bc")])
def test_one_is_used_when_no_other_came_within_the_window(now_ms: int, used: str) -> None:
    track = begun(spares=[chunk(2), chunk(3, ms=50)])
    track.advance(Instant(now_ms, now_ms * 1000))
    assert told(track) == used


@pytest.mark.parametrize(("now_ms", "used"), [(159, ""), (160, "b")])
def test_the_window_begins_with_the_last_message_of_the_take(now_ms: int, used: str) -> None:
    track = begun(spares=[chunk(2)])
    track.state.last = Instant(60, 60_000)
    track.advance(Instant(now_ms, now_ms * 1000))
    assert told(track) == used


def test_what_is_missing_before_a_message_that_waits_is_waited_for_as_long_as_that() -> None:
    track = begun(chunk(4, ms=90), spares=[chunk(2), chunk(3)])
    track.advance(Instant(189, 189_000))
    assert told(track) == ""
    track.advance(Instant(190, 190_000))
    assert (told(track), track.state.stats.duplicate, track.state.stats.lost) == ("bcd", 0, 0)


@pytest.mark.parametrize(
    ("spares", "used"),
    [
        ("", "___e"),
        ("b", "b__e"),
        ("c", "_c_e"),
        ("d", "__de"),
        ("bd", "b_de"),
        ("bcd", "bcde"),
        ("f", "___e"),
    ],
)
def test_what_is_lost_before_a_message_that_waits_is_only_what_no_spare_fills(spares: str, used: str) -> None:
    track = begun(chunk(5), spares=[chunk(ord(letter) - 96) for letter in spares])
    while track.state.pending:
        track.wait_no_longer()
    assert told(track) == used
    assert track.state.stats.duplicate == ("f" in spares)


def test_one_of_a_number_that_came_after_all_is_not_used() -> None:
    track = begun(spares=[chunk(4, text="x")])
    track.add(chunk(4))
    track.wait_no_longer()
    assert told(track) == "__d"


def test_without_a_message_that_waits_the_next_is_used_else_none_is_waited_for() -> None:
    track = begun(spares=[chunk(2), chunk(4)])
    track.wait_no_longer()
    assert (told(track), [*track.state.spares]) == ("b", [4])
    track.wait_no_longer()
    assert (told(track), [*track.state.spares]) == ("", [])
    assert track.state.stats.duplicate == 1


def test_at_the_end_all_are_used_that_adjoin() -> None:
    track = begun(spares=[chunk(2), chunk(3), chunk(5)])
    track.close()
    assert told(track) == "bc."
    track = begun(chunk(3), spares=[chunk(2), chunk(4), stop(5)])
    track.close()
    assert told(track) == "bcd."
    assert track.state.finished


@pytest.mark.parametrize(
    ("waits", "spares", "used"),
    [
        ([stop(3)], [chunk(2)], "b."),
        ([stop(4)], [chunk(2), chunk(3)], "bc."),
        ([stop(5), chunk(3)], [chunk(2), chunk(4)], "bcd."),
        ([stop(5), chunk(4)], [chunk(2), chunk(3), chunk(7), chunk(8)], "bcd."),
        ([stop(5), chunk(3), chunk(4)], [chunk(2)], "bcd."),
        ([stop(5)], [chunk(2), chunk(4)], ""),
        ([stop(5)], [chunk(3), chunk(4)], ""),
        ([stop(5), chunk(3)], [chunk(2)], ""),
        ([stop(5)], [chunk(2), chunk(3), chunk(7)], ""),
        ([chunk(4)], [chunk(2), chunk(3)], ""),
        ([chunk(4)], [], ""),
        ([stop(10**9)], [chunk(2)], ""),
    ],
)
def test_they_are_used_at_once_if_they_are_all_that_is_missing_up_to_the_stop(
    waits: list[Message], spares: list[Message], used: str
) -> None:
    track = begun(*waits, spares=spares)
    track.use_spares_if_whole()
    assert told(track) == used


@pytest.mark.parametrize(("behind", "used"), [(0, "bc."), (3, ""), (4, ""), (5, "bc."), (6, "")])
def test_a_start_right_behind_the_stop_shows_that_the_take_is_whole(behind: int, used: str) -> None:
    track = begun(stop(4), spares=[chunk(2), chunk(3)])
    track.use_spares_if_whole(behind)
    assert told(track) == used


def test_a_stop_that_is_kept_ends_the_take_if_it_is_the_next() -> None:
    for spares, used in (([stop(2)], "."), ([stop(3)], ""), ([chunk(2)], ""), ([], "")):
        track = begun(spares=spares)
        track.use_spare_stop()
        assert told(track) == used


def test_nothing_is_left_behind_the_end() -> None:
    track = begun(spares=[chunk(2), chunk(3), chunk(4)])
    track.add(stop(2))
    assert (told(track), track.waiting_bytes, track.waits_since) == (".", 0, None)
    track.advance(Instant(10**6, 10**9))
    assert told(track) == ""


def test_the_number_before_is_the_last_that_came_or_is_waited_for_no_longer() -> None:
    track = begun(chunk(2), chunk(6), chunk(9))
    assert [(n, track.number_before(n)) for n in (3, 5, 7, 8, 10)] == [
        (3, 2),
        (5, 2),
        (7, 6),
        (8, 6),
        (10, 9),
    ]


def test_a_start_is_what_is_missing_if_it_lies_before_all_that_waits() -> None:
    state = TrackState("far", 1, take=2)
    track = TrackAssembler(state, SETTINGS, GapLimit(0, 1000, [state]))
    assert track.awaits_start(9)
    track.add(chunk(5))
    assert [n for n in range(1, 9) if track.awaits_start(n)] == [1, 2, 3, 4]
    track.start(start(4))
    assert not track.awaits_start(3)


def test_a_chunk_where_a_start_is_expected_waits_for_it() -> None:
    state = TrackState("far", 0)
    track = TrackAssembler(state, SETTINGS, GapLimit(0, 1000, [state]))
    track.add(chunk(1))
    assert track.taken() == []
    track.advance(Instant(100, 100_000))
    assert [type(event) for event in track.taken()] == [TrackOpened, TrackSegment]
    assert state.lost_ranges == []


@pytest.mark.parametrize("chunks", [64, 300])
def test_a_checkpoint_holds_no_more_than_is_looked_at(chunks: int) -> None:
    track = begun(*(chunk(number, text="x") for number in range(2, chunks + 2)))
    assert len(track.snapshot().pauses.before) == 64
