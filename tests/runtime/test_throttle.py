"""Throttled logging."""

from runtime.throttle import LogThrottle


def test_a_thing_is_said_once_a_minute_of_each_subject() -> None:
    once = LogThrottle(subjects=2)
    assert [once.allows("a", t) for t in (0, 1, 59, 60, 61)] == [True, False, False, True, False]
    assert once.allows("b", 61)
    assert once.allows("c", 61), "a is forgotten now"
    assert once.allows("a", 62)
