"""Since when streams have been silent, against a model that looks at all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.silence import ASK_AGAIN_S, SHORTEST_WAIT_MS, STALL_S, SilenceDetector
from processors.driver.consumer import PUNCTUATION_S
from processors.driver.threadless import FETCH_WAIT_MS


def test_a_stream_is_due_when_it_was_silent_for_as_long_as_it_may_be() -> None:
    silence = SilenceDetector()
    silence.fetched(100)
    silence.heard(1, 10, 100)
    silence.heard(2, 3, 100)
    assert silence.due(102.9) == []
    assert silence.due(103) == [2]
    assert silence.due(110) == [1]


def test_a_pause_of_kafka_is_a_stall_before_it_is_a_silence_and_an_idle_partition_is_neither() -> None:
    # An end is noticed half a punctuation after a fetch has shown it.
    idle_s = PUNCTUATION_S * 1.5 + FETCH_WAIT_MS / 1000
    assert idle_s < STALL_S < SHORTEST_WAIT_MS / 1000


@pytest.mark.parametrize(("apart_s", "due"), [(STALL_S, [1]), (STALL_S + 0.1, [])])
def test_a_silence_begins_anew_with_a_fetch_behind_a_stall(apart_s: float, due: list[int]) -> None:
    silence = SilenceDetector()
    silence.fetched(100)
    silence.heard(1, 3, 100)
    silence.fetched(100 + apart_s)
    assert silence.due(103) == due


def test_a_shorter_wait_counts_from_then_on() -> None:
    silence = SilenceDetector()
    silence.fetched(0)
    silence.heard(1, 300, 0)
    silence.heard(1, 3, 1)
    assert silence.due(3.9) == []
    assert silence.due(4) == [1]


def test_a_stream_that_is_asked_for_and_heard_has_its_whole_wait_again() -> None:
    silence = SilenceDetector()
    silence.fetched(0)
    silence.heard(1, 3, 0)
    assert silence.due(3) == [1]
    silence.heard(1, 3, 4)
    assert silence.due(6.9) == []
    assert silence.due(7) == [1]


def test_a_stream_that_is_heard_all_the_time_is_looked_at_rarely() -> None:
    silence = SilenceDetector()
    silence.fetched(0)
    for tenth in range(100):
        silence.heard(1, 3, tenth / 10)
        silence.heard(1, 3, tenth / 10)
    assert len(silence._looks) == 1
    assert silence.due(12.8) == []
    assert silence.due(12.9) == [1]


def test_a_forgotten_stream_is_never_due() -> None:
    silence = SilenceDetector()
    silence.fetched(0)
    silence.heard(1, 3, 0)
    silence.forget(1)
    silence.forget(1)
    assert silence.due(10**6) == []


EVENTS = st.tuples(
    st.sampled_from(["heard", "fetched", "due", "forget", "restart"]),
    st.integers(1, 3),
    st.sampled_from([1.0, 3.0, 20.0, 60.0]),
    st.sampled_from([0.0, 0.5, 1.0, STALL_S, STALL_S + 0.5, ASK_AGAIN_S]),
)


@given(events=st.lists(EVENTS, max_size=60))
def test_it_finds_whom_a_look_at_all_streams_would_find(events: list[tuple[str, int, float, float]]) -> None:
    silence, now_s, fetched_s, begun_s = SilenceDetector(), 1000.0, None, 0.0
    heard: dict[int, tuple[float, float]] = {}
    asked: dict[int, float] = {}
    for what, stream_id, wait_s, step_s in events:
        now_s += step_s
        if what == "heard":
            silence.heard(stream_id, wait_s, now_s)
            heard[stream_id] = now_s, wait_s
            asked.pop(stream_id, None)
        elif what == "forget":
            silence.forget(stream_id)
            heard.pop(stream_id, None)
            asked.pop(stream_id, None)
        elif what == "restart":
            silence.restart(now_s)
            begun_s = now_s
        elif what == "fetched":
            silence.fetched(now_s)
            if fetched_s is None or now_s - fetched_s > STALL_S:
                begun_s = now_s
            fetched_s = now_s
        else:
            expected = {
                s
                for s, (at_s, may_s) in heard.items()
                if max(at_s, begun_s) + may_s <= now_s
                and now_s >= asked.get(s, 0) + ASK_AGAIN_S * (s in asked)
            }
            assert set(silence.due(now_s)) == expected
            asked |= dict.fromkeys(expected, now_s)
