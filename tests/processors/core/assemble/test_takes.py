"""Takes: a track's numbers that begin again, and all that only looks so."""

from collections.abc import Sequence
from typing import Any

import pytest
from call_strategies import (
    ALAW,
    MOST_ACROSS_TAKES,
    NAMES,
    begin,
    calls,
    chunk,
    chunks,
    displaced,
    doubled,
    end,
    message,
    over,
    received,
    reconnected,
    republished,
    shown,
    start,
    stop,
    take,
)
from hypothesis import given, note
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.kept import MAX_TRACKS
from processors.core.processor import Rejected
from schemas.events import Event, Pause, StreamClosed, TrackClosed, TrackOpened, TrackSegment
from schemas.schema import Record

CONFIG = AssemblyConfig(window_ms=1000, segment_ms=20)
WINDOW_MS = CONFIG.window_ms


class Heard:
    """What a stream makes of messages, received and logged 20 ms apart, and of the silence behind them."""

    def __init__(self, messages: Sequence[Record], step_ms: int = 20, restarts: frozenset[int] = frozenset()):
        stream = StreamAssembler(7, 0, CONFIG)
        self.out: list[Event | Rejected] = []
        at_ms = 0
        for offset, one in enumerate(messages):
            at_ms += one.get("wait_ms", step_ms)
            received = {"received_at": one.get("received_at", at_ms * 1000)}
            self.out += stream.handle(one | received, offset, at_ms)
            if offset in restarts:
                snapshot = stream.snapshot()
                stream = StreamAssembler.restore(snapshot, CONFIG)
                assert stream.snapshot() == snapshot
        if not stream.closed:
            self.out += stream.handle(stream.silence.to_record(0), len(messages), at_ms)
        self.messages = len(messages)

    def of(self, kind: type) -> list[Any]:
        return [e.payload for e in self.out if isinstance(e, Event) and isinstance(e.payload, kind)]

    @property
    def closed(self) -> StreamClosed:
        (found,) = self.of(StreamClosed)
        assert isinstance(found, StreamClosed)
        return found

    @property
    def reasons(self) -> list[str]:
        return self.closed.reasons

    def audio(self, name: str = "far") -> list[bytes]:
        """Return the audio of each take of a name."""
        takes = sorted((one.take, one.track_index) for one in self.of(TrackOpened) if one.track == name)
        assert [number for number, _ in takes] == list(range(1, len(takes) + 1))
        segments = self.of(TrackSegment)
        return [b"".join(s.audio for s in segments if s.track_index == index) for _, index in takes]

    @property
    def texts(self) -> list[str]:
        """Return the takes of ``far``, a letter for each chunk; ``_`` for silence."""
        return [audio[::160].replace(b"\xff", b"_").decode() for audio in self.audio()]

    def check_counts(self) -> None:
        """Assert that each message is counted once."""
        end = self.closed
        counted = end.messages_used + end.messages_duplicate + end.messages_late + end.messages_rejected
        rejected = sum(one.reason == "StreamClosed" for one in self.out if isinstance(one, Rejected))
        assert counted + rejected == self.messages


def call(*messages: Record) -> Heard:
    heard = Heard([begin(), *messages, end()])
    heard.check_counts()
    return heard


# Takes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, 6])
def test_a_second_leg_is_a_take_whether_its_numbers_begin_again_or_go_on(first: int) -> None:
    heard = call(*take("abc"), *take("defgh", first))
    assert (heard.texts, heard.reasons) == (["abc", "defgh"], [])
    assert [(c.track, c.take, c.track_index) for c in heard.of(TrackClosed)] == [("far", 1, 0), ("far", 2, 1)]
    assert {(s.track_index, s.take) for s in heard.of(TrackSegment)} == {(0, 1), (1, 2)}


def test_legs_of_one_length_that_begin_with_the_same_silence_are_takes() -> None:
    heard = call(*take("__abc"), *take("__def"), *take("__ghi"))
    assert (heard.texts, heard.reasons) == (["__abc", "__def", "__ghi"], [])


SECOND = [start(), *chunks("cd")]
#: Each behind a leg of the same length, with the same stop: whether that is the second's own beyond doubt.
STOPS = {
    "right behind its audio": (over("c2", *SECOND, stop(4)), True),
    "over another connection, with the last chunk": (
        [*over("c2", *SECOND[:2]), *over("c3", SECOND[2], stop(4))],
        True,
    ),
    "behind chunks that come again": (over("c2", *SECOND, *SECOND[1:], stop(4)), True),
    "with a chunk missing before it": (over("c2", *SECOND[:2], stop(4)), False),
    "over the connection of the first leg": ([*over("c2", *SECOND), stop(4)], False),
    "behind a chunk of the first leg": (over("c2", *SECOND, *chunks("a"), stop(4)), False),
}


@pytest.mark.parametrize(("second", "own"), STOPS.values(), ids=STOPS)
def test_a_stop_like_the_last_legs_ends_a_take_at_once_if_it_comes_right_behind_its_audio(
    second: list[Record], own: bool
) -> None:
    stream = StreamAssembler(7, 0, CONFIG)
    for at, one in enumerate([begin(), *take("ab"), *second], 1):
        out = stream.handle(one | {"received_at": at * 1000}, at, at)
    ended = [e.payload.take for e in out if isinstance(e, Event) and isinstance(e.payload, TrackClosed)]
    assert ended == ([2] if own else [])


@pytest.mark.parametrize("second", [second for second, own in STOPS.values() if not own][1:])
@pytest.mark.parametrize("first", [1, 5])
def test_a_stop_that_may_be_the_first_legs_is_the_seconds_if_a_third_begins_behind_it(
    second: list[Record], first: int
) -> None:
    heard = call(*take("ab"), *second, *over("c2", *take("efg", first)))
    assert (heard.texts, heard.reasons) == (["ab", "cd", "efg"], [])


def test_a_stop_of_the_first_leg_that_comes_again_does_not_end_a_longer_second() -> None:
    heard = call(*take("ab"), *over("c2", *SECOND), stop(4), *over("c2", *chunks("e", 4), stop(5)))
    assert (heard.texts, heard.reasons) == (["ab", "cde"], [])


def test_a_chunk_of_the_first_leg_that_comes_again_is_no_audio_of_the_second() -> None:
    again = chunks("b", 3)
    heard = call(*take("abc"), start(), *chunks("d"), *again, *chunks("ef", 3), stop(5))
    assert (heard.texts, heard.reasons) == (["abc", "def"], [])
    assert heard.closed.messages_duplicate == 1


@given(
    first=st.integers(3, 64),
    silent=st.integers(0, 64),
    spoken=st.sampled_from(["", "a", "abcdefgh"]),
    step_ms=st.sampled_from([20, 180]),
    conn=st.sampled_from(["c1", "c2"]),
)
def test_a_leg_that_begins_with_the_silence_of_the_first_is_a_take(
    first: int, silent: int, spoken: str, step_ms: int, conn: str
) -> None:
    """However long it is silent, over its connection; a sender sends again only over a new one."""
    second = "_" * silent + spoken
    messages = [*take("_" * first), *over(conn, *take(second)), *over(conn, *take("xyz"))]
    heard = Heard([begin(), *messages, end()], step_ms)
    heard.check_counts()
    if conn == "c1":
        assert (heard.texts, heard.reasons) == (["_" * first, second, "xyz"], [])
    elif second == "_" * first:
        assert (heard.texts, heard.reasons) == (["_" * first, "xyz"], [])


@pytest.mark.parametrize("text", ["", "_", "__", "_" * 30])
def test_legs_that_are_all_alike_are_takes_over_the_same_connection_only(text: str) -> None:
    assert call(*take(text), *take(text), *take(text)).texts == [text] * 3
    again = [*over("c2", *take(text)), *over("c3", *take(text))]
    heard = call(*take(text), *again)
    assert (heard.texts, heard.reasons) == ([text], [])
    assert heard.closed.messages_duplicate == len(again)


def test_each_message_twice_is_no_second_leg() -> None:
    heard = call(*(one for one in take("abcdef") for _ in range(2)))
    assert (heard.texts, heard.reasons) == (["abcdef"], [])


def test_too_many_legs_that_are_alike_are_late() -> None:
    heard = call(*take("___") * (MAX_TRACKS + 1))
    assert heard.texts == ["___"] * MAX_TRACKS
    assert heard.reasons == ["late:far"]


def test_a_leg_without_audio_is_a_take() -> None:
    heard = call(*take("abc"), *take(""), *take("d"))
    assert (heard.texts, heard.reasons) == (["abc", "", "d"], [])


def test_a_leg_that_is_silent_at_first_is_a_take() -> None:
    messages = [*take("abc"), start(), chunk(2, b"d" * 160) | {"wait_ms": 5 * WINDOW_MS}, stop(3)]
    heard = call(*messages)
    assert (heard.texts, heard.reasons) == (["abc", "d"], [])


def test_a_leg_whose_start_comes_behind_its_audio_is_a_take() -> None:
    first, second = take("abc"), take("defghi")
    for at in range(1, len(second)):
        moved = [*second[1 : at + 1], second[0], *second[at + 1 :]]
        heard = call(*first, *moved)
        assert (heard.texts, heard.reasons) == (["abc", "defghi"], [])


def test_what_is_left_of_a_leg_finds_its_take_when_the_next_has_begun() -> None:
    first, second = take("abcdef"), take("ghijkl")
    heard = call(*first[:4], *second[:3], *first[4:], *second[3:])
    assert (heard.texts, heard.reasons) == (["abcdef", "ghijkl"], [])


@given(
    number=st.integers(2, 26),
    more=st.integers(0, 3),
    late=st.integers(0, 60),
    reverse=st.booleans(),
)
def test_what_comes_as_late_as_the_next_leg_is_long_is_in_its_take_or_doubted(
    number: int, more: int, late: int, reverse: bool
) -> None:
    """Over one connection two legs of the same numbers are told apart by their order alone."""
    old, new = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" * 2
    first, second = take(old), take(new)
    held = first[number : number + 1 + more]
    rest = [*first[:number], *first[number + 1 + more :], *second]
    at = min(number + late, len(rest))
    heard = call(*rest[:at], *(reversed(held) if reverse else held), *rest[at:])
    if heard.texts != [old, new]:
        assert heard.reasons
    if at <= len(first) - len(held):
        assert (heard.texts, heard.reasons) == ([old, new], [])


def test_a_late_chunk_behind_the_like_of_its_number_and_more_is_in_its_take() -> None:
    first, second = take("abcdef"), take("ghijklmnop")
    heard = call(*first[:4], *first[5:], *second[:8], first[4], *second[8:])
    assert (heard.texts, heard.reasons) == (["abcdef", "ghijklmnop"], [])


def test_a_sender_that_counts_from_1_again_without_a_stop() -> None:
    old, new = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 4
    heard = call(start(), *chunks(old), *over("c2", start(), *chunks(new), stop(len(new) + 2)))
    assert (heard.texts, heard.reasons) == ([old, new], ["track_unfinished:far"])


@pytest.mark.parametrize(
    ("behind", "open_yet"), [(1, True), (CONFIG.window_chunks + 1, True), (CONFIG.window_chunks + 2, False)]
)
def test_a_take_without_a_stop_has_what_goes_on_with_it_until_as_many_messages_came_as_wait(
    behind: int, open_yet: bool
) -> None:
    old, new = "a" * (CONFIG.window_chunks + 20), "A" * behind
    messages = [start(), *chunks(old), *over("c2", start(), *chunks(new)), *chunks("z", len(old) + 2)]
    heard = Heard([begin(), *messages, end()], step_ms=1)
    heard.check_counts()
    gap = "_" * (len(old) - behind)
    assert heard.texts == ([old + "z", new] if open_yet else [old, new + gap + "z"])


def test_a_take_without_a_stop_ends_as_soon_as_its_window_is_over_whoever_speaks() -> None:
    """The window began with the next take, of which something came since."""
    sent = [(start(), 0), *((one, 0) for one in chunks("abc"))]
    sent += [
        (one, at_ms) for one, at_ms in zip(over("c2", start(), *chunks("AB")), (50, 100, 600), strict=True)
    ]
    stream, ended = StreamAssembler(7, 0, CONFIG), list[int]()
    for offset, (one, at_ms) in enumerate(
        [(begin(), 0), *sent, (begin(), 99 + WINDOW_MS), (begin(), 100 + WINDOW_MS)]
    ):
        out = stream.handle(one | {"received_at": at_ms * 1000 + offset}, offset, at_ms)
        ended += [at_ms for e in out if isinstance(e, Event) and isinstance(e.payload, TrackClosed)]
    assert ended == [100 + WINDOW_MS]


def test_a_stop_that_waits_ends_its_take_when_what_is_missing_has_come() -> None:
    heard = call(start(), *chunks("a"), stop(4), *chunks("b", 3), *chunks("c", 5))
    assert (heard.texts, heard.reasons) == (["ab", "c"], ["start_lost:far", "track_unfinished:far"])


def test_a_sender_that_counts_from_1_again_without_a_start_either() -> None:
    heard = call(start(), *chunks("abcdef"), *over("c2", *chunks("ABCDEFGHIJ"), stop(12)))
    assert heard.texts == ["abcdef", "ABCDEFGHIJ"]
    assert heard.reasons == ["start_lost:far", "track_unfinished:far", "numbers_reused:far"]


def test_numbers_that_go_on_behind_a_stop_without_a_start() -> None:
    heard = call(*take("abc"), *chunks("def", 7), stop(10))
    assert (heard.texts, heard.reasons) == (["abc", "def"], ["start_lost:far"])
    assert heard.of(TrackClosed)[1].delivery.lost == 0


def test_another_format_is_another_take() -> None:
    heard = call(*take("abc"), start(1, media_format=ALAW), *chunks("abd"), stop(5))
    assert [opened.encoding for opened in heard.of(TrackOpened)] == ["ulaw", "alaw"]
    assert (heard.texts, heard.reasons) == (["abc", "abd"], [])


def test_a_start_in_another_format_that_the_numbers_go_on_behind() -> None:
    text = "a" * 30
    heard = call(start(), *chunks(text), start(1, media_format=ALAW), *chunks(text * 4, 32))
    assert [opened.encoding for opened in heard.of(TrackOpened)] == ["ulaw", "alaw"]
    assert "".join(heard.texts) == text * 5
    assert heard.reasons == ["track_unfinished:far"]


def test_takes_count_as_tracks() -> None:
    legs = [one for number in range(MAX_TRACKS + 1) for one in take(chr(200 + number))]
    heard = Heard([begin(), *legs, end()])
    assert len(heard.audio()) == MAX_TRACKS
    assert heard.reasons == ["too_many_tracks:far"]
    assert {one.reason for one in heard.out if isinstance(one, Rejected)} == {"TooManyTracks"}
    heard.check_counts()


def test_an_empty_chunk_has_a_number_and_no_samples() -> None:
    heard = call(
        start(), chunk(2, b""), *chunks("ab", 3), chunk(5, b""), *chunks("c", 6), chunk(7, b""), stop(8)
    )
    assert (heard.texts, heard.reasons) == (["abc"], [])
    (closed,) = heard.of(TrackClosed)
    assert (closed.expected, closed.delivery.received, closed.delivery.shortest_chunk) == (6, 6, 160)


def test_a_chunk_that_is_lost_behind_an_empty_one_is_as_long_as_the_last_that_was_not() -> None:
    heard = call(start(), *chunks("a"), chunk(3, b""), *chunks("b", 5), stop(6))
    assert (heard.texts, heard.reasons) == (["a_b"], ["chunks_lost:far"])


@pytest.mark.parametrize(
    ("declared_ms", "samples"), [(None, 640), (60, 640), (61, 488), (80, 640), (81, 640)]
)
def test_a_lost_last_chunk_ends_where_the_stop_says(declared_ms: int | None, samples: int) -> None:
    ended = stop(6)
    ended["payload"]["duration"] = declared_ms
    heard = call(start(), *chunks("abc"), ended)
    (closed,) = heard.of(TrackClosed)
    assert closed.samples == samples
    assert closed.length_declared is (declared_ms in (61, 80))


def test_pauses_are_told_and_no_sample_moves() -> None:
    held = chunk(12, b"b" * 160) | {"wait_ms": 3000}
    heard = call(start(), *chunks("a" * 10), held, *chunks("c" * 80, 13), stop(93))
    (closed,) = heard.of(TrackClosed)
    assert (closed.pauses, closed.samples) == ([Pause(1600, 2980)], 91 * 160)
    assert heard.reasons == []


#: A leg of which a chunk came three times.
REPEATED = [start(), *chunks("__a"), *chunks("a", 4) * 2, stop(5)]
IN_ALAW = start(1, media_format=ALAW)
#: A leg whose stop comes before its audio, which is that of the leg before it.
ALIKE = [
    *take("ab"),
    *over("c2", start(), message("stop_track", "far", 4, duration=40), *chunks("ab")),
]
#: Messages, the takes they make, how many of them (the stream's own two apart) are used, duplicates and late,
#: and what is lacking.
COUNTED: dict[str, tuple[list[Record], list[str], tuple[int, int, int], list[str]]] = {
    "legs that begin alike": ([*REPEATED, *take("__b"), *take("__c")], ["__a", "__b", "__c"], (15, 2, 0), []),
    "legs that are alike": ([*REPEATED, *take("__a"), *take("__a")], ["__a"] * 3, (15, 2, 0), []),
    "a chunk from before the start that waits": (
        [*take("____"), start(3), *chunks("_"), *chunks("__", 4), stop(6)],
        ["____", "__"],
        (10, 1, 0),
        [],
    ),
    "such chunks behind others that came again": (
        [*take("____"), *chunks("__", 4), start(3), *chunks("__"), *chunks("__", 4), stop(6)],
        ["____", "__"],
        (10, 4, 0),
        [],
    ),
    "other content under the number of the start that waits": (
        [*take("abc"), start(4), *chunks("X", 4)],
        ["abc", "__X"],
        (6, 1, 0),
        ["start_lost:far", "track_unfinished:far", "chunks_lost:far", "numbers_reused:far"],
    ),
    "a leg that goes on, behind whose start the first is announced again": (
        [*take("abc"), start(6), start(1), *chunks("def", 7), stop(10)],
        ["abc", "def"],
        (10, 1, 0),
        [],
    ),
    "two starts behind a leg that had none": (
        [
            *chunks("abc"),
            stop(5),
            chunk(4, b"c" * 160) | {"wait_ms": 2 * WINDOW_MS},
            *(start(6), start(1), *chunks("XYZ"), stop(5)),
        ],
        ["abc", "XYZ"],
        (9, 2, 0),
        ["start_lost:far"],
    ),
    "a start of a lower number behind audio that goes on": (
        [*take("abc"), *chunks("def", 7), start(1)],
        ["abc", "_____def"],
        (9, 0, 0),
        ["track_unfinished:far", "chunks_lost:far"],
    ),
    "a leg with another stop, all of whose audio is alike, before the next begins": (
        [*ALIKE, start(), *chunks("Xy"), stop(4)],
        ["ab", "ab", "Xy"],
        (12, 0, 0),
        [],
    ),
    "such a leg before one that goes on": (
        [*ALIKE, start(5), *chunks("Xy", 6), stop(8)],
        ["ab", "ab", "Xy"],
        (12, 0, 0),
        [],
    ),
    "a chunk of the first leg again, before the second's of that number": (
        [
            *(*take("abc"), *over("c2", start(), *chunks("X")), *chunks("b", 3), *chunks("a")),
            *over("c2", *chunks("Z", 4), *chunks("Y", 3), stop(5)),
        ],
        ["abc", "XYZ"],
        (10, 2, 0),
        [],
    ),
    "more legs that are alike than tracks": (
        take("___") * (MAX_TRACKS + 2),
        ["___"] * MAX_TRACKS,
        (5 * MAX_TRACKS, 0, 10),
        ["late:far"],
    ),
}


@pytest.mark.parametrize(("messages", "texts", "counts", "reasons"), COUNTED.values(), ids=COUNTED)
def test_each_message_is_used_or_a_duplicate_or_late(
    messages: list[Record], texts: list[str], counts: tuple[int, int, int], reasons: list[str]
) -> None:
    heard = Heard([begin(), *messages, end()])
    closed = heard.closed
    assert (heard.texts, heard.reasons) == (texts, reasons)
    used, duplicate, late = counts
    assert (closed.messages_used - 2, closed.messages_duplicate, closed.messages_late) == counts
    assert used + duplicate + late == len(messages)


@pytest.mark.parametrize("first", [[], take("xy")], ids=["the first take", "a later take"])
def test_a_start_in_another_format_is_no_duplicate_of_the_take_that_it_ends(first: list[Record]) -> None:
    went_on = [*chunks("a" * 5), *chunks("a", 6) * 2]
    heard = call(*first, start(), *went_on, IN_ALAW, *chunks("b" * 60, 7))
    assert [one.encoding for one in heard.of(TrackOpened)][-2:] == ["ulaw", "alaw"]
    assert [one.delivery.duplicate for one in heard.of(TrackClosed)] == [*([0] if first else []), 2, 0]
    assert heard.closed.messages_duplicate == 2


#: Behind a leg of numbers 1 to 5: what comes, and whether the start among it is the next take's at once.
STARTS_BEHIND = {
    "of its next number": ([*chunks("def", 7), start(6)], True),
    "of 1, behind audio that goes on": ([*chunks("def", 7), start(1)], False),
    "of 1, behind audio that goes on with the number of its start": ([*chunks("def", 6), start(1)], False),
    "of 1, behind audio from before the stop": ([*chunks("def", 3), start(1)], True),
    "of 1, behind audio from before the stop too": ([*chunks("de", 7), *chunks("f", 3), start(1)], True),
}


@pytest.mark.parametrize(("messages", "at_once"), STARTS_BEHIND.values(), ids=STARTS_BEHIND)
def test_a_start_behind_its_audio_opens_the_take_unless_it_may_announce_the_one_before(
    messages: list[Record], at_once: bool
) -> None:
    stream, opened = StreamAssembler(7, 0, CONFIG), list[TrackOpened]()
    for at, one in enumerate([begin(), *take("abc"), *messages], 1):
        out = stream.handle(one | {"received_at": at * 1000}, at, at)
        opened += [e.payload for e in out if isinstance(e, Event) and isinstance(e.payload, TrackOpened)]
    assert len(opened) == 1 + at_once
    later = begin() | {"received_at": (at + WINDOW_MS) * 1000}
    out = stream.handle(later, at + 1, at + WINDOW_MS)
    opened += [e.payload for e in out if isinstance(e, Event) and isinstance(e.payload, TrackOpened)]
    assert [one.start is not None for one in opened] == [True, True]


@pytest.mark.parametrize("text", ["___", "____"])
def test_a_stop_like_the_last_legs_ends_a_take_that_began_with_what_is_alike(text: str) -> None:
    """The window is over before it comes: nothing but what was alike told that the take began."""
    stream = StreamAssembler(7, 0, CONFIG)
    *second, last = take(text)
    messages = [begin(), *take(text), *second]
    for at, one in enumerate(messages, 1):
        stream.handle(one | {"received_at": at * 1000}, at, at)
    later_ms = at + 2 * WINDOW_MS
    ended: list[int] = []
    for step, one in enumerate([begin(), last]):
        out = stream.handle(one | {"received_at": (later_ms + step) * 1000}, at + 1 + step, later_ms + step)
        ended += [e.payload.take for e in out if isinstance(e, Event) and isinstance(e.payload, TrackClosed)]
    assert ended == [2]


# What only looks like one --------------------------------------------------------------------


def test_a_track_that_is_announced_again_is_the_same() -> None:
    heard = call(start(), *chunks("abc"), *over("c2", start(), *chunks("def", 5), stop(8)))
    assert (heard.texts, heard.reasons) == (["abcdef"], [])
    assert heard.closed.messages_duplicate == 1


def test_a_sender_that_reconnects_may_repeat_what_it_sent() -> None:
    again = over("c2", start(), *chunks("bcdef", 3), stop(8))
    heard = call(start(), *chunks("abcd"), *again)
    assert (heard.texts, heard.reasons) == (["abcdef"], [])
    assert heard.closed.messages_duplicate == 4


@given(times=st.integers(1, 3), back=st.integers(0, 64))
def test_a_sender_may_repeat_the_last_64_chunks_however_often_each_was_sent(times: int, back: int) -> None:
    text = "".join(map(chr, range(58, 126)))
    sent = [one for one in chunks(text) for _ in range(times)]
    again = over("c2", start(), *chunks(text)[len(text) - back :], *chunks("!?", 2 + len(text)))
    heard = call(start(), *sent, *again, stop(4 + len(text)))
    assert (heard.texts, heard.reasons) == ([text + "!?"], [])
    assert heard.closed.messages_duplicate == (times - 1) * len(text) + back + 1


def test_a_spool_that_is_read_again_behind_a_reconnect_is_known_from_its_first_connection_to_its_last() -> (
    None
):
    text = "".join(map(chr, range(35, 126))) * 2
    sent = [*over("c1", *take(text)[:41]), *over("c2", *take(text)[41:])]
    sent = [one | {"received_at": at} for at, one in enumerate(sent, 10**6)]
    for first in (0, 20, 40, 41):
        for again in (sent[first:], [sent[40]]):
            heard = call(*sent, *again)
            assert (heard.texts, heard.reasons) == ([text], [])
            assert heard.closed.messages_duplicate == len(again)


def test_a_take_that_is_sent_twice_is_one() -> None:
    heard = call(*take("abc"), *over("c2", *take("abc")))
    assert (heard.texts, heard.reasons) == (["abc"], [])
    assert heard.closed.messages_duplicate == 5


def test_what_a_gateway_publishes_twice_is_known_however_old() -> None:
    """A spool that is read again brings more than digests are kept of, here from the take before too."""
    text = "".join(map(chr, range(100, 123))) * 8
    sent = [start(), *chunks(text), stop(len(text) + 2), *take("xyz")]
    sent = [one | {"received_at": at} for at, one in enumerate(sent, 10**6)]
    for until in range(len(sent) - 4, len(sent) + 1):
        heard = call(*sent[:until], *sent[:until], *sent[until:])
        assert (heard.texts, heard.reasons) == ([text, "xyz"], [])
        assert heard.closed.messages_duplicate == until


def test_a_spool_that_is_emptied_late_adds_to_the_take_that_it_is_of() -> None:
    """What was declared lost is late; it is no audio of the take that began meanwhile."""
    first = [one | {"received_at": at} for at, one in enumerate(take("abcdefgh"), 1000)]
    second = over("c2", *[one | {"received_at": at} for at, one in enumerate(take("ABC"), 5000)])
    for at in (1, 2):
        second[at]["wait_ms"] = 2 * WINDOW_MS
    for at, one in enumerate(second):
        one["received_at"] += min(at, 2) * 2 * WINDOW_MS * 1000
    heard = call(*first[:4], first[9], *second[:4], *first[4:9], second[4])
    assert heard.texts == ["abc_____", "ABC"]
    assert heard.reasons == ["chunks_lost:far", "late:far"]


def test_a_chunk_with_other_content_is_kept_in_a_take_of_its_own() -> None:
    heard = call(start(), *chunks("abcdef"), chunk(4, b"X" * 160), *chunks("gh" * 60, 8), stop(128))
    assert heard.texts == ["abcdef" + "gh" * 60, "__X"]
    assert "numbers_reused:far" in heard.reasons


def test_audio_behind_the_stop_is_kept() -> None:
    """A chunk that waits, then a stop before it, and the end: the chunk is of another take."""
    heard = Heard([chunk(7, b"a" * 160), stop(5), end()])
    assert heard.texts == ["", "a"]
    assert heard.reasons == ["no_init_stream", "start_lost:far", "track_unfinished:far", "chunks_lost:far"]


# Whatever a sender and its gateways do --------------------------------------------------------


@given(call=calls(silence=False), data=st.data())
def test_a_call_of_which_all_came_in_time_is_complete_without_a_false_take(
    call: tuple[list[Record], dict[str, list[bytes]]], data: st.DataObject
) -> None:
    messages, takes = call
    sent = len(messages)
    one_each = all(len(audio) == 1 for audio in takes.values())
    most = data.draw(st.sampled_from([0, 1, 40 if one_each else MOST_ACROSS_TAKES]))
    messages = reconnected(data.draw, messages)
    messages = displaced(data.draw, doubled(data.draw, messages, most), most)
    check_complete(republished(data.draw, received(messages)), takes, sent, data)


@given(call=calls(silence=True), data=st.data())
def test_takes_with_the_same_silence_under_the_same_numbers_are_told_apart(
    call: tuple[list[Record], dict[str, list[bytes]]], data: st.DataObject
) -> None:
    messages, takes = call
    sent = len(messages)
    messages = displaced(data.draw, messages, 1)
    check_complete(republished(data.draw, received(messages)), takes, sent, data)


def check_complete(
    messages: list[Record], takes: dict[str, list[bytes]], sent: int, data: st.DataObject
) -> None:
    note("\n".join(map(shown, messages)))
    restarts = data.draw(st.frozensets(st.integers(0, len(messages))))
    heard = Heard([*messages, end(*takes)], restarts=restarts)
    assert heard.reasons == []
    for name, audio in takes.items():
        assert heard.audio(name) == audio
    heard.check_counts()
    assert heard.closed.messages_used == sent + 1, "each message is used once, and the end"


@st.composite
def anything(draw: st.DrawFn) -> list[Record]:
    """Draw whatever a sender may send of two tracks, each chunk with audio of its own."""
    messages: list[Record] = []
    for at in range(draw(st.integers(1, 40))):
        name = draw(st.sampled_from(NAMES))
        number = draw(st.integers(1, 12) | st.sampled_from([70, 1000]))
        kind = draw(st.sampled_from([start, chunk, chunk, chunk, chunk, stop]))
        if kind is chunk:
            messages.append(chunk(number, bytes([at, number % 251, at, 1]), name))
        else:
            messages.append(kind(number, name) if draw(st.booleans()) else kind(1, name))
        messages[-1]["connection"] = draw(st.sampled_from(["c1", "c1", "c2"]))
        messages[-1]["wait_ms"] = draw(st.sampled_from([0, 20, 20, 300, 2 * WINDOW_MS]))
    return [begin(*NAMES), *messages]


@given(messages=anything(), data=st.data())
def test_all_audio_is_in_a_take_or_the_stream_says_that_it_is_not(
    messages: list[Record], data: st.DataObject
) -> None:
    if data.draw(st.booleans()):
        messages = displaced(data.draw, republished(data.draw, received(messages)), 3)
    messages = [*messages, end(*NAMES)]
    note("\n".join(map(shown, messages)))
    restarts = data.draw(st.frozensets(st.integers(0, len(messages))))
    heard = Heard(messages, restarts=restarts)
    heard.check_counts()
    assert heard.out == Heard(messages).out
    for name in NAMES:
        kept = b"".join(heard.audio(name))
        sent_audio = {
            m["payload"]["media"]
            for m in messages
            if m["payload"].get("name") == name and "media" in m["payload"]
        }
        missing = [audio for audio in sent_audio if audio not in kept]
        if missing:
            assert any(reason.endswith(f":{name}") for reason in heard.reasons), missing
