"""Reconciliation: what is accounted for, what has expired, and what is neither."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import StreamIdentity
from tapeline.checks.reconciliation import Ledger, Reconciliation, Retained, Told

SAVED, FAILED = "RecordingSaved", "RecordingFailed"


def stream(stream_id: int, origin_offset: int = 0, sender: str | None = None) -> StreamIdentity:
    return StreamIdentity(sender, stream_id, origin_offset)


def end(first: int, last: int, used: int, duplicate: int = 0, late: int = 0, **said: Any) -> dict[str, Any]:
    return {
        "first_offset": first,
        "last_offset": last,
        "messages_used": used,
        "messages_duplicate": duplicate,
        "messages_late": late,
        "complete": True,
    } | said


@dataclass
class Log:
    """One partition of each topic. A message has the name of its stream, and its offset for a timestamp."""

    messages: list[str | None]
    streams: dict[StreamIdentity, dict[str, Any] | None] = field(default_factory=dict)
    letters: set[int] = field(default_factory=set)
    recorded: list[tuple[StreamIdentity, str]] = field(default_factory=list)
    begins: int = 0
    events_begin_ms: int | None = None
    assembled: int = 10**9

    def reconciled(self) -> Reconciliation:
        retained = Retained({0: self.begins}, assembled={0: self.assembled})
        if self.events_begin_ms is not None:
            retained.events_begin_ms[0] = self.events_begin_ms
        streams = {name: Told(0, said) for name, said in self.streams.items()}
        ledger = Ledger(streams, {(0, offset) for offset in self.letters}, retained)
        for offset, name in enumerate(self.messages):
            if offset >= self.begins:
                ledger.add(name, 0, offset, offset)
        return ledger.reconciled(self.recorded)


def check_sums(found: Reconciliation) -> None:
    """Assert what the counts add up to, whatever has expired."""
    assert found.messages + found.expired == (
        found.used
        + found.duplicate
        + found.late
        + found.dead_lettered
        + found.in_open_streams
        + found.in_expired_streams
    )
    assert found.streams == found.complete + found.partial + found.still_open + found.expired_streams
    assert found.complete + found.partial == found.saved + found.failed + found.not_recorded_yet


def test_an_empty_log_reconciles() -> None:
    assert Log([]).reconciled() == Reconciliation()


def test_a_closed_stream_is_complete_or_partial_and_saved_failed_or_neither() -> None:
    one, two, three = stream(1, 0), stream(2, 1), stream(3, 2)
    streams = {
        one: end(0, 3, 1, 1),
        two: end(1, 5, 1, 0, 2, complete=False),
        three: end(2, 2, 1),
    }
    found = Log(["1", "2", "3", "1", "2", "2"], streams, recorded=[(one, SAVED), (two, FAILED)]).reconciled()
    assert found.faults == []
    assert (found.messages, found.used, found.duplicate, found.late) == (6, 3, 1, 2)
    assert (found.streams, found.complete, found.partial, found.still_open) == (3, 2, 1, 0)
    assert (found.saved, found.failed, found.not_recorded_yet) == (1, 1, 1)
    check_sums(found)


def test_the_last_word_on_a_recording_counts() -> None:
    one = stream(1)
    log = Log(["1", "1"], {one: end(0, 1, 2)}, recorded=[(one, SAVED), (one, FAILED)])
    assert (log.reconciled().saved, log.reconciled().failed) == (0, 1)
    log.recorded.append((one, SAVED))
    assert (log.reconciled().saved, log.reconciled().failed) == (1, 0)


def test_what_was_made_again_without_its_head_counts_for_its_stream_and_for_no_other() -> None:
    one, two = stream(1), stream(1, 5)
    streams = {one: end(0, 4, 5), two: end(5, 9, 5)}
    log = Log(["1"] * 10, streams, recorded=[(one, FAILED), (two, FAILED), (stream(1, 3), SAVED)])
    assert (log.reconciled().saved, log.reconciled().failed) == (1, 1)
    log.recorded.append((stream(1, 5, "acme"), SAVED))
    assert (log.reconciled().saved, log.reconciled().failed) == (1, 1)


def test_messages_of_an_open_stream_are_accounted_for() -> None:
    for streams in ({}, {stream(1): None}):
        found = Log(["1"] * 7, dict(streams), letters={2, 3}).reconciled()
        assert (found.faults, found.still_open, found.in_open_streams, found.dead_lettered) == ([], 1, 5, 2)
        check_sums(found)


def test_an_end_that_was_set_aside_is_a_fault_until_the_recording_is_made_all_the_same() -> None:
    def found(*recorded: str) -> Reconciliation:
        told = Told(0, end(0, 1, 2), set_aside="voxology.tracks 0 7")
        ledger = Ledger({stream(1): told}, set(), Retained(assembled={0: 9}))
        for offset in range(2):
            ledger.add("1", 0, offset, offset)
        return ledger.reconciled([(stream(1), kind) for kind in recorded])

    assert found().faults == [
        "stream 1@0: not recorded, since its event at voxology.tracks 0 7 was set aside; "
        "`tapeline rebuild` makes the recording"
    ]
    assert (found(SAVED).faults, found(SAVED).saved) == ([], 1)
    assert (found(FAILED).faults, found(FAILED).failed) == ([], 1)


def test_what_was_made_again_without_its_head_has_the_recording_that_stands_of_all_of_it() -> None:
    streams = {
        stream(1): end(0, 5, 6),
        stream(1, 3): end(3, 5, 3, complete=False),
        stream(1, 9): end(9, 9, 1),
    }
    messages: list[str | None] = [*("1" * 6), None, None, None, "1"]
    log = Log(messages, dict(streams), letters={6, 7, 8}, recorded=[(stream(1), SAVED)])
    found = log.reconciled()
    assert (found.saved, found.not_recorded_yet) == (2, 1)


def test_streams_of_one_name_have_counts_of_their_own_and_so_have_those_of_others() -> None:
    streams = {stream(1): end(0, 3, 2), stream(1, 4): end(4, 4, 1), stream(1, 1, "acme"): end(1, 2, 2)}
    messages: list[str | None] = ["1", "acme/1", "acme/1", "1", "1"]
    assert Log(messages, dict(streams)).reconciled().faults == []
    wrong = Log(messages, streams | {stream(1, 4): end(4, 4, 2)}).reconciled()
    assert wrong.faults == ["stream 1@4: 1 messages in the log, but 2 used, 0 duplicate and 0 late"]
    found = Log(messages, streams | {stream(1, 4): None}).reconciled()
    assert (found.faults, found.still_open, found.in_open_streams, found.streams) == ([], 1, 1, 3)


def test_a_message_too_few_or_too_many_is_a_fault_of_its_stream() -> None:
    for used in (4, 6):
        (fault,) = Log(["1"] * 5, {stream(1): end(0, 4, used)}).reconciled().faults
        assert fault.startswith(f"stream 1@0: 5 messages in the log, but {used} used")


def test_a_message_behind_the_end_must_be_a_dead_letter_once_it_has_been_read() -> None:
    log = Log(["1"] * 3, {stream(1): end(0, 1, 2)}, assembled=7)
    assert log.reconciled().faults == ["stream 1: 1 messages in the log that no stream accounts for"]
    log.letters = {2}
    assert log.reconciled().faults == []
    log.letters, log.assembled = set(), 1
    found = log.reconciled()
    assert (found.faults, found.still_open, found.in_open_streams) == ([], 1, 1)
    check_sums(found)


def test_what_does_not_decode_must_be_in_the_dead_letters() -> None:
    assert Log([None, None], letters={0, 1}).reconciled().faults == []
    assert Log([None, None], letters={0}).reconciled().faults == [
        "1 messages do not decode, and are not in the dead letters"
    ]


def test_a_stream_that_is_closed_and_not_in_the_log_is_a_fault_unless_it_has_expired() -> None:
    log = Log([None] * 9, {stream(9, 3): end(3, 5, 3)}, letters=set(range(9)))
    assert log.reconciled().faults == [
        "stream 9@3: 0 messages in the log, but 3 used, 0 duplicate and 0 late"
    ]
    log.begins = 6
    found = log.reconciled()
    assert (found.faults, found.expired, found.complete) == ([], 3, 1)
    check_sums(found)


def test_a_stream_that_the_log_still_has_from_its_beginning_on_has_not_expired() -> None:
    log = Log(["1"] * 9, {stream(1, 3): end(3, 8, 7)}, begins=3)
    assert log.reconciled().faults != []


def test_messages_whose_events_were_deleted_are_of_expired_streams_and_not_open() -> None:
    log = Log(["1", "2", "2", "3"], {stream(3, 3): None}, events_begin_ms=2)
    found = log.reconciled()
    assert (found.faults, found.expired_streams, found.in_expired_streams) == ([], 2, 3)
    assert (found.still_open, found.in_open_streams) == (1, 1)
    check_sums(found)
    log.events_begin_ms = 0
    assert (log.reconciled().expired_streams, log.reconciled().still_open) == (1, 2)


KINDS = st.sampled_from(["used", "duplicate", "late", "dead"])
STREAMS = st.lists(
    st.tuples(st.sampled_from(["1", "2", "acme/2"]), st.lists(KINDS, min_size=1, max_size=6), st.booleans()),
    max_size=6,
)


@given(STREAMS, st.randoms(use_true_random=False), st.integers(0, 40))
def test_whatever_is_counted_rightly_reconciles_wherever_the_log_is_cut(
    drawn: list[tuple[str, list[str], bool]], chance: Any, begins: int
) -> None:
    """Streams of one name one after the other, those of others between them."""
    queues: dict[str, list[tuple[int, str]]] = {}
    for number, (name, kinds, _) in enumerate(drawn):
        queues.setdefault(name, []).extend((number, kind) for kind in ("used", *kinds))
    log = Log([])
    places: dict[int, list[tuple[int, str]]] = {}
    while queues:
        name = chance.choice(sorted(queues))
        number, kind = queues[name].pop(0)
        places.setdefault(number, []).append((len(log.messages), kind))
        if kind == "dead":
            log.letters.add(len(log.messages))
        log.messages.append(name)
        if not queues[name]:
            del queues[name]
    last_of_name = {name: number for number, (name, *_) in enumerate(drawn)}
    for number, (name, _, closed) in enumerate(drawn):
        sender, _, stream_id = name.rpartition("/")
        told = [kind for _, kind in places[number]]
        first, last = places[number][0][0], places[number][-1][0]
        counts = [told.count(kind) for kind in ("used", "duplicate", "late")]
        ended = closed or last_of_name[name] != number
        log.streams[stream(int(stream_id), first, sender or None)] = (
            end(first, last, *counts, complete=number % 2 == 0) if ended else None
        )
    whole = log.reconciled()
    assert (whole.faults, whole.expired) == ([], 0)
    check_sums(whole)
    log.begins = begins
    cut = log.reconciled()
    assert cut.faults == []
    assert (cut.used, cut.duplicate, cut.late) == (whole.used, whole.duplicate, whole.late)
    assert (cut.streams, cut.complete, cut.partial) == (whole.streams, whole.complete, whole.partial)
    check_sums(cut)
