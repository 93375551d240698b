"""What may replace a recording: good is never replaced by worse, nor one stream's by another's."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.record.replacement import (
    Facts,
    Keep,
    Place,
    Span,
    facts_in,
    facts_of,
    place,
    what_is_worse,
)
from schemas.identity import LogIdentity, StreamIdentity

BASE = "date=2026-11-18/stream=5"
LOG = {"cluster_id": "c", "topic_id": "t", "partition": 0}


def track(name: str = "far", **said: Any) -> dict[str, Any]:
    return {
        "track": name,
        "samples": 1000,
        "gap_samples": 100,
        "chunks": {"received": 9},
        "start_track": {},
        "stop_track": {},
    } | said


def manifest(first: int = 10, last: int = 20, log: dict[str, Any] | None = None, **said: Any) -> Any:
    return {
        "stream_id": 5,
        "sender": None,
        "state": "complete",
        "tracks": [track()],
        "init_stream": {},
        "end_stream": {},
        "log": LOG | {"first_offset": first, "last_offset": last} | (log or {}),
    } | said


def facts(*offsets: int, **said: Any) -> Facts:
    return facts_of(manifest(*offsets, **said))


# Which is the same incarnation ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (manifest(10, 20), True),
        (manifest(15, 20), True),
        (manifest(20, 30), True),
        (manifest(1, 10), True),
        (manifest(12, 13), True),
        (manifest(21, 30), False),
        (manifest(1, 9), False),
        (manifest(sender="acme"), False),
        (manifest(stream_id=6), False),
        (manifest(log={"topic_id": "another"}), False),
        (manifest(log={"cluster_id": "another"}), False),
        (manifest(log={"partition": 1}), False),
    ],
)
def test_recordings_of_one_stream_and_log_that_share_records_are_of_one_incarnation(
    other: Any, same: bool
) -> None:
    one, another = facts().span, facts_of(other).span
    assert one.is_same_incarnation(another) is another.is_same_incarnation(one) is same


def test_a_manifest_says_of_which_stream_and_log_it_is() -> None:
    rest: dict[str, Any] = {"reasons": [], "opened_at": "2026-11-18T00:00:00Z", "mix": {}, "tracks": []}
    found = facts_in(msgspec.json.encode(manifest(sender="acme", **rest)))
    assert found is not None
    stream = StreamIdentity("acme", 5, 10)
    assert found.span == Span(stream, LogIdentity("c", "t"), 0, 20)
    assert (found.stream, found.made_from) == (stream, LogIdentity("c", "t"))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b"\xff", b'{"stream_id": 5, "log": {"first_offset": 3}}']
)
def test_what_is_no_manifest_or_names_no_log_says_nothing(text: bytes) -> None:
    assert facts_in(text) is None


# What is worse --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (manifest(10, 19), "the new one ends at offset 19, this one at 20"),
        (manifest(state="partial"), "the new one is partial, this one complete"),
        (manifest(state="failed"), "the new one is failed, this one complete"),
        (manifest(init_stream=None), "the new one has no init_stream, this one has"),
        (manifest(end_stream=None), "the new one has no end_stream, this one has"),
        (manifest(tracks=[]), "the new one has no track 'far', this one has"),
        (manifest(tracks=[track("near")]), "the new one has no track 'far', this one has"),
        (manifest(tracks=[track(take=2)]), "the new one has no track 'far', this one has"),
        (
            manifest(tracks=[track(chunks={"received": 8})]),
            "of track 'far' the new one has 8 chunks, this one 9",
        ),
        (
            manifest(tracks=[track(samples=1001, gap_samples=102)]),
            "of track 'far' the new one has 899 samples outside gaps, this one 900",
        ),
        (
            manifest(tracks=[track(format_assumed=True)]),
            "of track 'far' the new one assumes the format, this one knows it",
        ),
        (
            manifest(tracks=[track(start_track=None)]),
            "of track 'far' the new one has no start_track, this one has",
        ),
        (
            manifest(tracks=[track(stop_track=None)]),
            "of track 'far' the new one has no stop_track, this one has",
        ),
    ],
)
def test_a_recording_that_lacks_anything_of_the_one_in_place_does_not_replace_it(
    new: Any, reason: str
) -> None:
    assert list(what_is_worse(facts_of(new), facts())) == [reason]
    assert place(facts_of(new), BASE, {BASE: facts()}) == Keep(BASE, reason)


def test_one_that_continues_another_is_replaced_by_none_that_has_lost_that() -> None:
    for new, of in ((None, "no stream"), (4, "the stream from offset 4")):
        reason = f"the new one continues {of}, this one the stream from offset 3"
        assert list(what_is_worse(facts(continues=new), facts(continues=3))) == [reason]
    for old in (3, 4, None):
        assert list(what_is_worse(facts(continues=3), facts(continues=old))) == []
    known, unknown = facts(log={"init_offset": 2}), facts()
    assert list(what_is_worse(unknown, known)) == [
        "the new one has no init_stream, that of this one lay at offset 2"
    ]
    assert list(what_is_worse(known, unknown)) == []


def test_each_take_is_compared_with_its_own() -> None:
    old = facts(tracks=[track(), track(take=2, chunks={"received": 3})])
    assert list(what_is_worse(facts(tracks=[track(take=2, chunks={"received": 3}), track()]), old)) == []
    assert list(what_is_worse(facts(), old)) == ["the new one has no take 2 of track 'far', this one has"]


@pytest.mark.parametrize(
    "new",
    [
        manifest(),
        manifest(9, 21),
        manifest(12, 20),
        manifest(tracks=[track("near"), track(chunks={"received": 10}, samples=1200, gap_samples=50)]),
    ],
)
def test_one_that_has_all_of_it_replaces_it(new: Any) -> None:
    assert place(facts_of(new), BASE, {BASE: facts()}) == Place(BASE)
    assert place(facts_of(new), BASE, {BASE: facts(state="partial", init_stream=None)}) == Place(BASE)


# Where it lies --------------------------------------------------------------------------------


def test_the_first_one_lies_in_its_own_place() -> None:
    assert place(facts(), BASE, {}) == Place(BASE)


def test_another_incarnation_lies_beside_and_is_found_there() -> None:
    further = f"{BASE}/from=30"
    assert place(facts(30, 40), BASE, {BASE: facts()}) == Place(further)
    standing = {BASE: facts(), further: facts(30, 40)}
    assert place(facts(30, 40), BASE, standing) == Place(further)
    reason = "the new one is partial, this one complete"
    assert place(facts(33, 40, state="partial"), BASE, standing) == Keep(further, reason)
    assert place(facts(50, 60), BASE, standing) == Place(f"{BASE}/from=50")


def test_one_of_another_log_lies_beside_whatever_it_holds() -> None:
    for old in (facts(log={"topic_id": "other"}), facts(30, 40, log={"cluster_id": "other"})):
        assert place(facts(), BASE, {BASE: old}) == Place(f"{BASE}/log=t-10")


def test_one_of_a_copied_cluster_or_of_another_partition_takes_no_others_place() -> None:
    """A copy has the ids of its topics; partitions that were added may count to the same offset."""
    beside = f"{BASE}/log=t-10"
    standing = {BASE: facts(30, 40), f"{BASE}/from=10": facts(log={"partition": 1}), beside: facts()}
    for log, place_of_its_own in (
        ({"cluster_id": "a copy"}, f"{BASE}/log=a%20copy-t-0-10"),
        ({"partition": 2}, f"{BASE}/log=c-t-2-10"),
    ):
        assert place(facts(log=log), BASE, standing) == Place(place_of_its_own)


def test_what_cannot_be_read_is_left_alone() -> None:
    beside = f"{BASE}/log=t-10"
    assert place(facts(), BASE, {BASE: None}) == Place(beside)
    assert place(facts(), BASE, {BASE: None, beside: facts()}) == Place(beside)
    assert place(facts(), BASE, {BASE: None, beside: None}) == Place(beside), "it is its own, and damaged"
    assert place(facts(), BASE, {BASE: facts(30, 40), f"{BASE}/from=10": None}) == Place(beside)


def test_one_that_lies_under_another_day_is_replaced_there() -> None:
    """Its first records are gone, and with them the day on which it began; or they are known by now."""
    for day in ("2026-11-17", "2026-11-19"):
        there = f"date={day}/stream=5"
        assert place(facts(), BASE, {there: facts(12, 20)}) == Place(there)
        reason = "the new one is partial, this one complete"
        assert place(facts(state="partial"), BASE, {there: facts(12, 20)}) == Keep(there, reason)


def test_one_that_is_better_than_one_of_two_replaces_neither() -> None:
    """As of a stream in which a silence was lost: it holds two incarnations."""
    standing = {BASE: facts(10, 14, state="partial"), f"{BASE}/from=15": facts(15, 20)}
    found = place(facts(10, 20, state="partial"), BASE, standing)
    assert found == Keep(f"{BASE}/from=15", "the new one is partial, this one complete")
    assert place(facts(10, 20), BASE, standing) == Place(BASE)


LOGS = st.sampled_from([{}, {"topic_id": "other"}, {"cluster_id": "other"}, {"partition": 1}])
TRACKS = st.lists(
    st.builds(
        track,
        st.sampled_from(["far", "near"]),
        take=st.integers(1, 2),
        chunks=st.builds(dict, received=st.integers(0, 3)),
        samples=st.integers(100, 103),
        stop_track=st.none() | st.just({}),
    ),
    max_size=2,
    unique_by=lambda one: (one["track"], one["take"]),
)
MANIFESTS = st.builds(
    lambda first, length, log, **said: manifest(first, first + length, log, **said),
    st.integers(0, 30),
    st.integers(0, 15),
    LOGS,
    state=st.sampled_from(["partial", "complete"]),
    tracks=TRACKS,
    init_stream=st.none() | st.just({}),
)
DAYS = st.sampled_from([BASE, "date=2026-11-19/stream=5"])


@given(st.lists(st.tuples(MANIFESTS, DAYS), max_size=8))
def test_whatever_is_made_in_whatever_order_nothing_that_stands_ever_gets_worse(
    made: list[tuple[Any, str]],
) -> None:
    standing: dict[str, Facts | None] = {}
    for one, location in made:
        new = facts_of(one)
        found = place(new, location, standing)
        old = standing.get(found.location)
        if isinstance(found, Keep):
            assert old is not None
            assert old.span.is_same_incarnation(new.span)
            assert next(what_is_worse(new, old)) == found.reason
            continue
        if old is not None:
            assert old.span.is_same_incarnation(new.span)
            assert list(what_is_worse(new, old)) == []
        standing[found.location] = new
        assert place(new, location, standing) == found, "to write it again changes nothing"


def test_what_is_not_borne_out_by_its_files_is_not_better() -> None:
    """Of a recording that says it is better, and of which files are not what it says of them."""
    new = facts(12, 20, state="partial", tracks=[track(file="far.wav"), track("near", file="near.wav")])
    old = facts(10, 20, tracks=[track(file="far.wav", samples=9000), track("near", file="near.wav")])
    assert list(what_is_worse(new, old))
    assert old.borne_out(["far.wav", "near.wav"]) is old
    # The one that is left is no better than the new one's, so nothing is lost by it.
    part = old.borne_out(["near.wav"])
    assert part is not None
    assert list(what_is_worse(new, part)) == []
    (lacks,) = what_is_worse(facts(12, 20, tracks=[]), part)
    assert lacks == "the new one has no track 'near', this one has"
    assert old.borne_out([]) is None
    assert old.borne_out(["another.wav"]) is None
