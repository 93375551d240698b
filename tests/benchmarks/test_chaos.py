"""The schedule of a chaos run, and that its judges find what they are there for."""

from benchmarks.chaos.invariants import (
    Cursor,
    Letter,
    Numbered,
    abridged,
    announcements,
    checkpoints_gone_back,
    closed_too_early,
    differences,
    letters_of_agents,
    letters_of_gateway,
)
from benchmarks.chaos.schedule import BROKER, FREEZE_S, PAUSE_S, VICTIMS, Kind, available, schedule


def _cursor(value: bytes) -> Cursor:
    return Cursor(value[0], closed=len(value) > 1)


def test_a_schedule_is_a_function_of_its_seed() -> None:
    assert schedule(5, 30, 40) == schedule(5, 30, 40)
    assert schedule(5, 30, 40) != schedule(6, 30, 40)


def test_a_schedule_has_so_many_of_each_kind_and_every_victim() -> None:
    drawn = schedule(1, 100, 100)
    for kind in Kind:
        of_kind = [disturbance for disturbance in drawn if disturbance.kind is kind]
        assert len(of_kind) == 100
        assert {disturbance.victim for disturbance in of_kind} == set(VICTIMS)


def test_a_frozen_broker_stands_still_for_a_shorter_time() -> None:
    for disturbance in schedule(2, 0, 200):
        shortest_s, longest_s = PAUSE_S if disturbance.victim == BROKER else FREEZE_S
        assert shortest_s <= disturbance.still_s <= longest_s


def test_another_process_stands_in_for_one_that_is_not_running() -> None:
    assert available("measure-1", {"measure-1", "measure-2"}) == "measure-1"
    assert available("measure-1", {"assemble-1", "record-2"}) == "record-2"
    assert available("gateway", {"kafka", "assemble-2"}) == "assemble-2"


def test_the_broker_stands_in_for_nobody() -> None:
    assert available("measure-1", {BROKER}) is None
    assert available(BROKER, {BROKER}) == BROKER
    assert available(BROKER, {"assemble-1"}) == "assemble-1"


def test_checkpoints_that_go_on_are_no_fault() -> None:
    log = [(b"1", b"\x01"), (b"2", b"\x05"), (b"1", b"\x01"), (b"1", b"\x03"), (b"1", b"\x03c")]
    assert checkpoints_gone_back(log, _cursor) == []


def test_a_checkpoint_that_went_back_is_found_however_often_it_is_repeated() -> None:
    log = [(b"1", b"\x03"), (b"1", b"\x02"), (b"1", b"\x02"), (b"1", b"\x03")]
    assert len(checkpoints_gone_back(log, _cursor)) == 2


def test_a_closed_stream_that_is_open_again_went_back() -> None:
    assert len(checkpoints_gone_back([(b"1", b"\x03c"), (b"1", b"\x03")], _cursor)) == 1


def test_a_deleted_checkpoint_begins_anew() -> None:
    assert checkpoints_gone_back([(b"1", b"\x03"), (b"1", None), (b"1", b"\x01")], _cursor) == []


def test_an_event_that_comes_again_must_say_the_same() -> None:
    events = Numbered()
    for content in (b"a", b"a", b"b"):
        events.add(7, 1, content)
    assert events.faults == ["stream 7: event 1 has two contents"]
    assert (events.records, events.again) == (3, 2)


def test_differences_are_what_is_missing_what_is_too_much_and_what_is_another() -> None:
    assert differences("event", {1: b"a", 2: b"b"}, {1: b"a", 2: b"b"}) == []
    assert differences("event", {1: b"a", 2: b"x", 4: b"d"}, {1: b"a", 2: b"b", 3: b"c"}) == [
        "event 3 is missing",
        "event 4 should not be there",
        "event 2 is another than an undisturbed run's",
    ]


def test_letters_that_a_replay_does_not_have_and_those_it_has_alone() -> None:
    late, other = (Letter("assemble", "voxology.messages", 0, offset, "StreamClosed") for offset in (3, 4))
    assert letters_of_agents({late}, {late}) == []
    assert [fault.split(":")[0] for fault in letters_of_agents({late}, {other})] == [
        "dead letter that an undisturbed run does not have",
        "dead letter missing",
    ]


def test_what_comes_for_a_closed_stream_must_repeat_what_came_before() -> None:
    late = Letter("assemble", "voxology.messages", 3, 118, "StreamClosed")
    refused = Letter("assemble", "voxology.messages", 3, 119, "TooManyTracks")
    assert closed_too_early({late, refused}, {(3, 17), (3, 119)}) == []
    assert len(closed_too_early({late, refused}, {(3, 118), (3, 119)})) == 1


def test_a_gateway_refuses_the_malformed_frames_that_were_sent_and_nothing_else() -> None:
    sent = {b"{": "InvalidJson"}
    assert letters_of_gateway([(b"{", "InvalidJson"), (b"{", "InvalidJson")], sent) == []
    assert len(letters_of_gateway([(b"{", "NotAnObject")], sent)) == 1
    assert len(letters_of_gateway([(b"x", "InvalidJson")], sent)) == 1


def test_a_recording_that_failed_after_it_was_saved() -> None:
    assert announcements([(1, "RecordingSaved", b"a"), (1, "RecordingSaved", b"a")]) == []
    assert len(announcements([(1, "RecordingSaved", b"a"), (1, "RecordingSaved", b"b")])) == 1
    (fault,) = announcements([(1, "RecordingSaved", b"a"), (1, "RecordingFailed", b"f")])
    assert fault.endswith("RecordingFailed, RecordingSaved")


def test_many_faults_of_one_kind_are_abridged() -> None:
    assert abridged(["a"] * 10) == ["a"] * 10
    assert abridged(["a"] * 12) == ["a"] * 10 + ["… and 2 more of this kind"]
