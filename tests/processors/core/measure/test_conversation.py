"""Measures of conversations: of some small enough to count by hand, and properties of any."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import DELIVERY

from processors.core.measure.conversation import (
    LONGEST_PAUSE_FRAMES,
    STALL_TIMEOUT_FRAMES,
    WATERMARK_DELAY_FRAMES,
    Conversation,
    ConversationState,
)
from processors.core.measure.frames import NO_ACTIVITY, Activity, ActivityRun
from processors.core.measure.kernels import FRAME_MS, MUSIC, UNKNOWN
from processors.core.measure.turns import INTERRUPTION_FRAMES
from schemas.events import TrackSegment
from schemas.schema import Record

#: A track: where it begins, in frames, and its pauses and talkspurts in turn, a pause first.
Track = tuple[int, list[int]]
SECOND = 1000 // FRAME_MS


def runs(lengths: list[int]) -> Activity:
    return heard([(number % 2, length) for number, length in enumerate(lengths) if length])


def heard(found: list[ActivityRun]) -> Activity:
    return Activity(found, bytes(sum(length for _, length in found)))


def segment(track: str, index: int, heard_at_us: int) -> TrackSegment:
    """Return a segment of which only the track and its start are read here."""
    return TrackSegment(track, index, 0, 0, b"", [], heard_at_us, DELIVERY, -1, -1)


def fed(*tracks: Track, window_s: int = 3600) -> list[Record]:
    """Return the records of a conversation whose tracks come a second at a time, in turn."""
    conversation = Conversation(ConversationState(), window_s * 1000)
    records: list[Record] = []
    ends = [start + sum(lengths) for start, lengths in tracks]
    for now in range(0, max(ends, default=0) + SECOND, SECOND):
        for index, (start, lengths) in enumerate(tracks):
            piece = cut(runs(lengths).runs, now - start, now + SECOND - start)
            if piece:
                records += conversation.feed(
                    segment(f"t{index}", index, start * FRAME_MS * 1000), heard(piece)
                )
            if now < ends[index] <= now + SECOND:
                records += conversation.close(index, NO_ACTIVITY)
    return records + conversation.end()


def cut(whole: list[ActivityRun], first: int, end: int) -> list[ActivityRun]:
    found, at = [], 0
    for speech, length in whole:
        overlap = min(at + length, end) - max(at, first)
        if overlap > 0:
            found.append((speech, overlap))
        at += length
    return found


def final(*tracks: Track) -> Record:
    return fed(*tracks)[-1]


def of(record: Record, name: str) -> list[Any]:
    return [party[name] for party in record["parties"]]


def test_the_four_way_partition() -> None:
    # A talks 1 to 3 s, B 2 to 5 s, of 6 s.
    record = final((0, [50, 100, 150]), (0, [100, 150, 50]))
    assert record["duration_ms"] == 6000
    assert of(record, "alone_ms") == [1000, 2000]
    assert (record["overlap_ms"], record["silence_ms"]) == (1000, 2000)
    assert of(record, "talk_ms") == [2000, 3000]
    assert of(record, "talk_share") == [0.4, 0.6]


def test_a_track_lies_where_it_was_heard() -> None:
    # B begins 2 s after A: both talk in their first second.
    record = final((0, [0, 50, 150]), (100, [0, 50, 50]))
    assert of(record, "offset_ms") == [0, 2000]
    assert (record["overlap_ms"], record["silence_ms"], record["duration_ms"]) == (0, 2000, 4000)


def test_a_track_that_joins_late_lies_where_it_was_heard_to_the_frame() -> None:
    record = final((0, [0, 50, 9950]), (10_000, [0, 50]))
    assert of(record, "offset_ms") == [0, 200_000]
    assert (of(record, "alone_ms"), record["duration_ms"]) == ([1000, 1000], 201_000)


def test_a_track_finds_its_place_in_a_window_that_another_holds_open() -> None:
    conversation = Conversation(ConversationState(), 1000)
    conversation.feed(segment("slow", 0, 0), runs([SECOND]))
    conversation.feed(segment("ahead", 1, 0), runs([12 * SECOND]))
    conversation.feed(segment("slow", 0, 0), runs([30]))
    conversation.feed(segment("ahead", 1, 0), runs([SECOND]))
    conversation.feed(segment("late", 2, 60 * FRAME_MS * 1000), runs([0, SECOND]))
    record = conversation.end()[-1]
    assert of(record, "offset_ms") == [0, 0, 1200]
    assert of(record, "delayed_ms") == [0, 0, 0]


def test_a_conversation_began_with_the_track_that_came_first_if_none_was_heard_a_frame_before() -> None:
    conversation = Conversation(ConversationState(), 1000)
    for index, heard_at_us in enumerate((1_000_000, 1_009_000, 991_000)):
        conversation.feed(segment(f"t{index}", index, heard_at_us), runs([0, SECOND]))
    record = conversation.end()[-1]
    assert record["began_at"] == 1_000_000
    assert of(record, "offset_ms") == [0, 0, 0]


def test_the_earliest_track_need_not_come_first() -> None:
    conversation = Conversation(ConversationState(), 3_600_000)
    conversation.feed(segment("late", 0, 2_000_000), runs([0, 50]))
    conversation.feed(segment("early", 1, 1_000_000), runs([0, 100]))
    (record,) = conversation.end()
    assert record["began_at"] == 1_000_000
    assert of(record, "offset_ms") == [1000, 0]
    assert (record["overlap_ms"], record["duration_ms"]) == (1000, 2000)
    assert of(record, "interruptions") == [1, 0], "it spoke when the other was speaking"


def test_the_interruption_is_by_who_begins_last() -> None:
    half = INTERRUPTION_FRAMES
    # B begins while A talks, and both go on: B interrupts. Then A does it to B.
    record = final((0, [0, 100, 100, 100]), (0, [100 - half, half + 100 + half]))
    assert of(record, "interruptions") == [1, 1]
    assert of(record, "interrupted") == [1, 1]


@pytest.mark.parametrize(("overlap", "counted"), [(INTERRUPTION_FRAMES - 1, 0), (INTERRUPTION_FRAMES, 1)])
def test_a_short_overlap_is_no_interruption(overlap: int, counted: int) -> None:
    record = final((0, [0, 100, 100]), (0, [100 - overlap, 200]))
    assert of(record, "interruptions") == [0, counted]
    assert of(record, "interrupted") == [counted, 0]


def test_who_begins_at_once_interrupts_nobody() -> None:
    assert of(final((0, [10, 100]), (0, [10, 100])), "interruptions") == [0, 0]


def test_of_three_the_last_to_begin_interrupts_both() -> None:
    record = final((0, [0, 300]), (0, [300]), (0, [100, 200]))
    assert of(record, "interruptions") == [0, 0, 1]
    assert of(record, "interrupted") == [1, 0, 0]
    record = final((0, [0, 300]), (0, [50, 250]), (0, [100, 200]))
    assert of(record, "interruptions") == [0, 1, 1]
    assert of(record, "interrupted") == [2, 1, 0]


def test_each_interruption_is_counted_once_wherever_windows_end() -> None:
    """A talks all the time, B twice; a window ends half a second into B's first talkspurt."""
    for window_s in (1, 3600):
        record = fed((0, [0, 300]), (0, [25, 100, 25, 100, 50]), window_s=window_s)[-1]
        assert of(record, "interruptions") == [0, 2]
        assert of(record, "interrupted") == [2, 0]


def test_who_interrupts_is_told_when_it_happens() -> None:
    heard: list[str] = []
    conversation = Conversation(ConversationState(), 1000, lambda party: heard.append(party.track))
    conversation.feed(segment("a", 0, 0), runs([0, 200]))
    conversation.feed(segment("b", 1, 0), runs([100, 100]))
    conversation.end()
    assert heard == ["b"]


def test_who_answers_at_once_has_answered() -> None:
    record = final((0, [0, 50, 50]), (0, [50, 50]))
    assert of(record, "responses") == [0, 1]
    assert of(record, "response_min_ms") == of(record, "response_max_ms") == [None, 0]


def test_turns_and_responses() -> None:
    # A 0-2 s, B 3-4 s, A 4.5-5 s and, after a pause of its own, 6-7 s.
    record = final((0, [0, 100, 125, 25, 50, 50]), (0, [150, 50, 150]))
    assert of(record, "turns") == [2, 1]
    assert of(record, "responses") == [1, 1]
    assert of(record, "response_mean_ms") == [500, 1000]
    assert of(record, "longest_monologue_ms") == [2500, 1000]


def test_the_shortest_and_the_longest_response() -> None:
    # B answers after 1 s and after 3 s.
    record = final((0, [0, 50, 100, 50, 200]), (0, [100, 50, 200, 50]))
    assert of(record, "response_min_ms")[1] == 1000
    assert of(record, "response_max_ms")[1] == 3000
    assert of(record, "response_mean_ms")[1] == 2000


def test_a_short_utterance_in_double_talk_takes_no_floor() -> None:
    record = final((0, [0, 500]), (0, [100, 10, 390]))
    assert of(record, "turns") == [1, 0]
    assert of(record, "longest_monologue_ms") == [10_000, 200]


def test_who_takes_over_in_an_overlap_has_waited_for_nobody() -> None:
    record = final((0, [0, 100, 100]), (0, [90, 110]))
    assert of(record, "turns") == [1, 1]
    assert of(record, "responses") == [0, 0]
    assert of(record, "response_min_ms") == [None, None]


def test_a_window_is_said_when_the_furthest_track_is_five_seconds_beyond_it() -> None:
    conversation = Conversation(ConversationState(), 1000)
    said = []
    for second in range(1, 9):
        said += [(second, r["duration_ms"]) for r in conversation.feed(segment("a", 0, 0), runs([SECOND]))]
    assert said == [(6, 1000), (7, 2000), (8, 3000)]
    assert [r["kind"] for r in conversation.end()] == ["RUNNING"] * 5 + ["FINAL"]


def test_only_the_furthest_track_moves_the_conversation_on() -> None:
    conversation = Conversation(ConversationState(), 1000)
    assert conversation.feed(segment("behind", 0, 0), runs([SECOND])) == []
    assert len(conversation.feed(segment("ahead", 1, 0), runs([10 * SECOND]))) == 1
    assert conversation.feed(segment("behind", 0, 0), runs([4 * SECOND])) == []
    (*_, last) = conversation.feed(segment("ahead", 1, 0), runs([SECOND]))
    assert (last["kind"], last["duration_ms"]) == ("RUNNING", 5000)


def test_a_pause_of_more_than_three_seconds_ends_a_monologue() -> None:
    assert of(final((0, [0, 200, 150, 100])), "longest_monologue_ms") == [9000]
    assert of(final((0, [0, 200, 151, 100])), "longest_monologue_ms") == [4000]


def test_a_back_channel_ends_no_monologue_and_a_second_of_talk_does() -> None:
    for said, longest in ((49, 10_000), (50, 6000)):
        record = final((0, [0, 300, 60, 140]), (0, [305, said, 500 - 305 - said]))
        assert of(record, "longest_monologue_ms") == [longest, said * FRAME_MS]


def test_dead_air_is_mutual_silence_of_five_seconds_without_music() -> None:
    record = final((0, [100, 50, 250, 50, 249, 50]), (0, [0, 0, 749]))
    assert (record["dead_airs"], record["dead_air_ms"]) == (1, 5000)
    assert (record["mutual_silences"], record["longest_silence_ms"]) == (3, 5000)
    held = of_kinds([(0, 50), (MUSIC, 600), (0, 50)], [(1, 50), (0, 600), (1, 50)])
    assert (held["dead_airs"], held["silence_ms"]) == (0, 12_000)
    assert of(held, "music_ms") == [12_000, 0]


def test_what_was_lost_is_unknown_but_where_two_others_speak() -> None:
    """A 0 to 2 s lost, B speaks in the second; then both speak, a third is lost."""
    record = of_kinds([(UNKNOWN, 100), (1, 50)], [(0, 50), (1, 100)], [(0, 100), (UNKNOWN, 50)])
    assert (record["unknown_ms"], record["overlap_ms"], record["silence_ms"]) == (2000, 1000, 0)
    assert of(record, "alone_ms") == [0, 0, 0]
    assert of(record, "unknown_ms") == [2000, 0, 1000]
    assert of(record, "talk_ms") == [1000, 2000, 0]


def of_kinds(*tracks: list[ActivityRun]) -> Record:
    conversation = Conversation(ConversationState(delay=10**6), 3_600_000)
    for index, track in enumerate(tracks):
        conversation.feed(segment(f"t{index}", index, 0), heard(track))
    return conversation.end()[-1]


def test_responses_are_told_with_those_that_began_too_early() -> None:
    """B answers after 1 s, A takes over 200 ms before B ends, B answers after 2 s."""
    record = final((0, [0, 100, 90, 110, 300]), (0, [150, 50, 200, 50, 150]))
    assert of(record, "response_median_ms") == [-200, 1000]
    assert of(record, "response_p90_ms") == [-200, 2020]
    assert of(record, "response_min_ms") == [None, 1000]


def test_counts_of_episodes() -> None:
    record = final((0, [50, 100, 50, 100, 100]), (0, [100, 200, 100]))
    assert of(record, "talkspurts") == [2, 1]
    assert of(record, "first_speech_ms") == [1000, 2000]
    assert (record["double_talks"], record["mutual_silences"]) == (2, 2)
    assert of(record, "interruption_ms") == [2000, 1000]
    assert of(record, "talk_share_of_call") == [0.5, 0.5]
    assert record["turns_per_minute"] == pytest.approx(sum(of(record, "turns")) * 60 / 8)


def test_a_track_that_begins_long_after_all_others_says_how_far_it_was_moved() -> None:
    conversation = Conversation(ConversationState(), 3_600_000)
    conversation.feed(segment("a", 0, 0), runs([0, 50]))
    conversation.close(0, NO_ACTIVITY)
    conversation.feed(segment("b", 1, 400_000_000), runs([0, 50]))
    record = conversation.end()[-1]
    assert of(record, "offset_ms") == [0, 301_000]
    assert of(record, "moved_ms") == [0, 99_000]


def test_long_segments_leave_tracks_where_they_were_heard() -> None:
    conversation = Conversation(ConversationState(), 3_600_000)
    conversation.expect(20_000)
    conversation.feed(segment("a", 0, 0), runs([0, 20 * SECOND]))
    conversation.feed(segment("b", 1, 2_000_000), runs([0, 20 * SECOND]))
    conversation.feed(segment("a", 0, 0), runs([0, 20 * SECOND]))
    record = conversation.end()[-1]
    assert (of(record, "offset_ms"), of(record, "delayed_ms")) == ([0, 2000], [0, 0])


def test_one_track_alone() -> None:
    record = final((0, [50, 100, 50]))
    assert (of(record, "alone_ms"), record["silence_ms"], of(record, "turns")) == ([2000], 2000, [1])


def test_a_conversation_without_tracks() -> None:
    record = Conversation(ConversationState(), 5000).end()[-1]
    assert (record["duration_ms"], record["parties"], record["began_at"]) == (0, [], None)


def test_a_stalled_track_is_waited_for_and_then_placed_later() -> None:
    conversation = Conversation(ConversationState(), 3_600_000)
    conversation.feed(segment("a", 0, 0), runs([0, 50]))
    conversation.feed(segment("b", 1, 0), runs([0, 50]))
    conversation.feed(segment("a", 0, 0), runs([STALL_TIMEOUT_FRAMES + 500]))
    conversation.feed(segment("b", 1, 0), runs([0, 50]))
    record = conversation.end()[-1]
    assert of(record, "talk_ms") == [1000, 2000]
    assert of(record, "delayed_ms") == [0, 500 * FRAME_MS]
    assert record["overlap_ms"] == 1000


def test_what_comes_behind_the_conversation_is_placed_where_that_is() -> None:
    """When a track joins too late, and each time it stalls; where it began stays then."""
    conversation = Conversation(ConversationState(), 1000)
    place = segment("b", 1, 100 * FRAME_MS * 1000)
    conversation.feed(segment("a", 0, 0), runs([500]))  # computed up to frame 250
    conversation.feed(place, runs([0, 50]))
    conversation.feed(segment("a", 0, 0), runs([4000]))  # the other is waited for up to frame 1500
    conversation.feed(place, runs([0, 50]))
    conversation.feed(place, runs([4000]))
    record = conversation.end()[-1]
    assert of(record, "offset_ms") == [0, 250 * FRAME_MS]
    assert of(record, "delayed_ms") == [0, (150 + 1200) * FRAME_MS]
    assert of(record, "talk_ms") == [0, 2000]
    assert record["duration_ms"] == (1500 + 50 + 4000) * FRAME_MS


def test_a_track_that_joins_a_frame_too_late_is_a_frame_late() -> None:
    conversation = Conversation(ConversationState(), 1000)
    conversation.feed(segment("a", 0, 0), runs([500]))
    conversation.feed(segment("b", 1, 249 * FRAME_MS * 1000), runs([0, 50]))
    record = conversation.end()[-1]
    assert (of(record, "delayed_ms"), of(record, "offset_ms")) == ([0, FRAME_MS], [0, 250 * FRAME_MS])


def test_who_begins_with_a_track_that_joins_has_no_turn_by_that() -> None:
    """What was computed ends at the same frame."""
    conversation = Conversation(ConversationState(), 1000)
    conversation.feed(segment("a", 0, 0), runs([50, 250]))
    conversation.feed(segment("b", 1, 50 * FRAME_MS * 1000), runs([0, 250]))
    record = conversation.end()[-1]
    assert (of(record, "turns"), record["overlap_ms"]) == ([0, 0], 5000)


@pytest.mark.parametrize("window_ms", [0, FRAME_MS])
def test_the_shortest_window_is_a_frame(window_ms: int) -> None:
    conversation = Conversation(ConversationState(), window_ms)
    conversation.feed(segment("a", 0, 0), runs([3]))
    assert [record["duration_ms"] for record in conversation.end()] == [20, 40, 60, 60]


def test_a_clock_that_is_wrong_by_a_day_does_not_make_a_day_of_silence() -> None:
    conversation = Conversation(ConversationState(), 3_600_000)
    conversation.feed(segment("a", 0, 0), runs([0, 50]))
    conversation.feed(segment("b", 1, 86_400_000_000), runs([0, 50]))
    assert conversation.end()[-1]["duration_ms"] <= 310_000


LENGTHS = st.lists(st.integers(0, 200), max_size=12)
TRACKS = st.lists(
    st.tuples(st.integers(0, WATERMARK_DELAY_FRAMES - SECOND), LENGTHS.filter(sum)), min_size=1, max_size=4
)


@given(tracks=TRACKS)
def test_the_partition_sums_to_the_duration(tracks: list[Track]) -> None:
    records = fed(*tracks, window_s=1)
    for record in records:
        alone = sum(of(record, "alone_ms")) + record["unknown_ms"]
        assert alone + record["overlap_ms"] + record["silence_ms"] == record["duration_ms"]
    for (start, lengths), party in zip(tracks, records[-1]["parties"], strict=True):
        assert party["talk_ms"] == sum(lengths[1::2]) * FRAME_MS
        assert party["delayed_ms"] == 0
        assert party["offset_ms"] == (start - min(s for s, _ in tracks)) * FRAME_MS


@given(tracks=TRACKS, data=st.data())
def test_swapping_tracks_swaps_their_figures(tracks: list[Track], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(tracks))))
    names = ("track", "track_index")

    def bare(record: Record) -> list[dict[str, Any]]:
        return [{k: v for k, v in p.items() if k not in names} for p in record["parties"]]

    mine, swapped = final(*tracks), final(*(tracks[number] for number in order))
    assert [bare(mine)[number] for number in order] == bare(swapped)
    assert mine["overlap_ms"] == swapped["overlap_ms"]


def talks(tracks: list[Track]) -> list[set[int]]:
    """Return of each track the frames in which it talks."""
    found = []
    for start, lengths in tracks:
        ends = [start, *(start + end for end in itertools.accumulate(lengths))]
        spurts = list(itertools.pairwise(ends))[1::2]
        found.append({frame for begin, end in spurts for frame in range(begin, end)})
    return found


def interruptions_of(mine: set[int], others: list[set[int]]) -> tuple[int, int]:
    """Return how often a party interrupts, and the frames of it, as docs/metrics.md defines them."""
    count = frames = 0
    for begin in sorted(frame for frame in mine if frame - 1 not in mine):
        spurt = range(begin, begin + INTERRUPTION_FRAMES)
        if mine.issuperset(spurt) and any({begin - 1, *spurt} <= other for other in others):
            count += 1
            frames += next(after for after in itertools.count() if not shared(begin + after, mine, others))
    return count, frames


def shared(frame: int, mine: set[int], others: list[set[int]]) -> bool:
    return frame in mine and any(frame in other for other in others)


@given(tracks=TRACKS)
@example(tracks=[(52, [0, 175]), (52, [1, 200, 48, 200]), (52, [1, 25, 148, 27, 149, 196])])
def test_interruptions_are_what_the_frames_say(tracks: list[Track]) -> None:
    record, talk = final(*tracks), talks(tracks)
    for index, party in enumerate(record["parties"]):
        count, frames = interruptions_of(talk[index], talk[:index] + talk[index + 1 :])
        assert (party["interruptions"], party["interruption_ms"]) == (count, frames * FRAME_MS)


@given(tracks=TRACKS, data=st.data())
def test_a_snapshot_anywhere_changes_nothing(tracks: list[Track], data: st.DataObject) -> None:
    def records_of(restore: bool) -> list[Record]:
        conversation = Conversation(ConversationState(), 1000)
        records: list[Record] = []
        for index, (start, lengths) in enumerate(tracks):
            for run in runs(lengths).runs:
                if restore and data.draw(st.booleans()):
                    snapshot = msgspec.msgpack.encode(conversation.state)
                    state = msgspec.msgpack.decode(snapshot, type=ConversationState)
                    conversation = Conversation(state, 1000)
                records += conversation.feed(
                    segment(f"t{index}", index, start * FRAME_MS * 1000), heard([run])
                )
        return records + conversation.end()

    assert records_of(restore=True) == records_of(restore=False)


def test_the_state_does_not_grow_with_the_call() -> None:
    conversation = Conversation(ConversationState(), 5000)
    sizes = []
    for second in range(4000):
        for index in (0, 1):
            conversation.feed(
                segment(f"t{index}", index, 0), heard([(0, 5 * index + 5), (1, SECOND - 5 * index - 5)])
            )
        if second % 100 == 99:
            sizes.append(len(msgspec.msgpack.encode(conversation.state)))
    assert max(sizes) <= sizes[0] + 40
    assert all(b - a < 40 for a, b in itertools.pairwise(sizes))


def test_a_clock_that_is_years_wrong_makes_no_years_of_silence() -> None:
    year_us = 365 * 24 * 3_600_000_000
    for heard_at in (40 * year_us, -40 * year_us):
        conversation = Conversation(ConversationState(), 1000)
        records = [*conversation.feed(segment("a", 0, 0), runs([10, 20]))]
        records += conversation.feed(segment("b", 1, heard_at), runs([10, 20]))
        records += conversation.end()
        assert records[-1]["duration_ms"] <= (LONGEST_PAUSE_FRAMES + 60) * FRAME_MS


def takes(*of_far: tuple[int, list[int]]) -> Record:
    """Return the measures of a conversation of two; of the second, one take comes after the other."""
    conversation = Conversation(ConversationState(), 10**6)
    now = 0
    for index, (start, lengths) in enumerate(of_far, 1):
        conversation.feed(segment("near", 0, 0), heard([(0, start + SECOND - now)]))
        now = start + SECOND
        conversation.feed(segment("far", index, start * FRAME_MS * 1000), runs(lengths))
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(conversation.state), type=ConversationState)
        conversation = Conversation(state, 10**6)
        conversation.close(index, NO_ACTIVITY)
    conversation.feed(segment("near", 0, 0), heard([(0, 3000 - now)]))
    return conversation.end()[-1]


def test_the_takes_of_a_name_are_one_party() -> None:
    record = takes((0, [0, 100]), (500, [50, 100]), (2900, [0, 50]))
    assert of(record, "track") == ["near", "far"]
    assert of(record, "track_index") == [0, 1]
    assert of(record, "talk_ms") == [0, 5000]
    assert (record["duration_ms"], record["silence_ms"]) == (60_000, 55_000)
    assert of(record, "delayed_ms") == [0, 0]


def test_takes_that_would_overlap_lie_end_to_end() -> None:
    one_take = takes((100, [0, 100, 50, 100]))
    assert takes((100, [0, 100]), (150, [50, 100])) == one_take


def test_the_delays_of_a_names_takes_add_up() -> None:
    conversation = Conversation(ConversationState(), 10**6)
    conversation.feed(segment("far", 0, 0), heard([(1, 100)]))
    conversation.close(0, NO_ACTIVITY)
    ended, delay = 200, 0
    for take in (1, 2):
        conversation.feed(segment("near", 9, 0), heard([(0, 1000)]))
        began = conversation.state.turns.watermark
        conversation.feed(segment("far", take, 200 * FRAME_MS * 1000), heard([(1, 50)]))
        conversation.close(take, NO_ACTIVITY)
        delay += began - ended
        ended = began + 50
    assert of(conversation.end()[-1], "delayed_ms") == [delay * FRAME_MS, 0]


def test_a_take_that_is_heard_of_too_late_is_delayed() -> None:
    conversation = Conversation(ConversationState(), 10**6)
    conversation.feed(segment("far", 0, 0), heard([(1, 100)]))
    conversation.close(0, NO_ACTIVITY)
    conversation.feed(segment("near", 1, 0), heard([(0, 1000)]))
    watermark = conversation.state.turns.watermark
    assert watermark > 200
    conversation.feed(segment("far", 2, 200 * FRAME_MS * 1000), heard([(1, 50)]))
    record = conversation.end()[-1]
    assert of(record, "delayed_ms")[0] == (watermark - 200) * FRAME_MS
    assert of(record, "talk_ms")[0] == 150 * FRAME_MS
