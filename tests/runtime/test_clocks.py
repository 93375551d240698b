"""What can be told of another clock: never an offset that it may not have."""

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from runtime import telemetry
from runtime.clocks import WINDOW_S, ClockOffset, ClockWatch

delays = st.floats(0, 5)


@given(st.floats(-100, 100), st.lists(st.tuples(delays, delays), min_size=1, max_size=20))
def test_it_tells_no_more_than_is_certain_and_comes_close_when_answers_are_fast(
    offset_s: float, answers: list[tuple[float, float]]
) -> None:
    """Whatever time each way takes."""
    clock = ClockOffset()
    for number, (there_s, back_s) in enumerate(answers):
        sent_s = float(number)
        told_s = sent_s + there_s + offset_s
        clock.observe(sent_s, told_s - (sent_s + there_s + back_s), told_s - sent_s)
    told = clock.at_least_s
    assert abs(told) <= abs(offset_s) + 1e-6
    assert told == 0 or (told > 0) == (offset_s > 0)
    there_s, back_s = min(answers, key=sum)
    assert abs(told - offset_s) <= there_s + back_s + 1e-6 or told == 0


def test_a_clock_that_is_set_is_seen_anew() -> None:
    clock = ClockOffset()
    clock.observe(0, 4.9, 5.1)
    clock.observe(1, -0.1, 0.1)
    assert clock.at_least_s == 0
    clock.observe(2, -7.1, -6.9)
    assert clock.at_least_s == -6.9


def test_what_was_seen_long_ago_counts_no_more() -> None:
    clock = ClockOffset()
    clock.observe(0, 0.5, 0.6)
    clock.observe(WINDOW_S + 1, -10, 10)
    assert clock.at_least_s == 0


def test_more_than_a_second_is_a_metric_and_a_warning_once_a_minute() -> None:
    watch = ClockWatch("a part", "another")
    gauge = telemetry.CLOCK_OFFSET.labels("a part", "another")
    with capture_logs() as logs:
        watch.stamped(100.9, 100.0, 100.1)
        assert logs == []
        watch.stamped(103.0, 100.0, 100.1)
        watch.stamped(103.0, 100.0, 100.1)
    assert 2.8 < gauge._value.get() < 3.0
    assert [(line["event"], line["against"], line["ahead_s"]) for line in logs] == [
        ("clocks_differ", "another", 2.9)
    ]
