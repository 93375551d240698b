"""Which dead letters are chosen, and what one is published as."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support import LOG, live_track

from schemas.codec import Reader, Writer
from schemas.dead_letter import DeadLetter
from schemas.topics import MESSAGES
from tapeline.topics.dead_letters import Choice, Letter, Revived, revive, summarized

GATEWAY = DeadLetter("TooManyStreams", "256 are open", "gateway", connection="c", sender="voxology")


LOGS = {MESSAGES.name: LOG}


def letter(value: bytes = b"{", fault: DeadLetter = GATEWAY, at_ms: int = 1000, **more: Any) -> Letter:
    return Letter(
        **{"partition": 1, "offset": 7, "key": b"5"} | more, timestamp_ms=at_ms, value=value, fault=fault
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), True),
        (Choice(reasons=frozenset({"TooManyStreams", "other"})), True),
        (Choice(reasons=frozenset({"other"})), False),
        (Choice(places=frozenset({"1:7"})), True),
        (Choice(places=frozenset({"7:1"})), False),
        (Choice(since_ms=1000), True),
        (Choice(since_ms=1001), False),
        (Choice(until_ms=1001), True),
        (Choice(until_ms=1000), False),
        (Choice(frozenset({"TooManyStreams"}), frozenset({"0:0"})), False),
    ],
)
def test_a_letter_is_chosen_by_all_that_is_given(choice: Choice, expected: bool) -> None:
    assert (letter() in choice) is expected


def test_a_frame_becomes_a_message_that_says_where_it_lay() -> None:
    revived = revive(letter(live_track(5, 2).encode(), at_ms=1234), Writer(MESSAGES), LOGS)
    assert isinstance(revived, Revived)
    assert (revived.topic, revived.partition, revived.key) == (MESSAGES.name, None, b"5")
    assert ("tapeline.republished-from", b"1:7") in revived.headers
    record = Reader().decode(revived.value)
    assert (record["stream_id"], record["connection"], record["received_at"]) == (5, "c", 1_234_000)


def test_a_record_that_an_agent_refused_goes_back_where_it_was() -> None:
    fault = DeadLetter("UnknownSchema", "x", "assemble", topic=MESSAGES.name, partition=3, offset=9)
    revived = revive(letter(b"\xc3\x01", fault), Writer(MESSAGES), LOGS)
    assert revived == Revived(MESSAGES.name, 3, b"5", b"\xc3\x01", [("tapeline.republished-from", b"1:7")])


@pytest.mark.parametrize(("topic_id", "goes_back"), [(None, True), (LOG.topic_id, True), ("another", False)])
def test_what_was_refused_of_a_topic_that_was_made_anew_stays(topic_id: str | None, goes_back: bool) -> None:
    fault = DeadLetter("X", "x", "assemble", topic=MESSAGES.name, partition=3, offset=9, topic_id=topic_id)
    revived = revive(letter(b"\xc3\x01", fault), Writer(MESSAGES), LOGS)
    assert isinstance(revived, Revived) is goes_back
    if not goes_back:
        assert revived == "it is of a voxology.messages that is no more: the topic has been made anew since"


@pytest.mark.parametrize(
    ("value", "said"),
    [(b"", "its bytes were never taken"), (b"{", "InvalidJson: "), (b"\xff", "BinaryFrame: ")],
)
def test_what_is_still_malformed_says_why(value: bytes, said: str) -> None:
    revived = revive(letter(value), Writer(MESSAGES), LOGS)
    assert isinstance(revived, str)
    assert revived.startswith(said)


async def test_a_summary_has_the_most_frequent_first_and_the_last_of_each() -> None:
    other = DeadLetter("InvalidJson", "x", "gateway")

    async def found() -> AsyncIterator[Letter]:
        for at_ms, fault in ((5, other), (9, GATEWAY), (3, GATEWAY)):
            yield letter(fault=fault, at_ms=at_ms)

    first, second = await summarized(found())
    assert (first.reason, first.count, first.last_ms) == ("TooManyStreams", 2, 9)
    assert (second.reason, second.count) == ("InvalidJson", 1)
