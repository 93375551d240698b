"""What one sender may cost, over all its connections."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.budget import (
    KEPT_S,
    LETTER_BYTES,
    LETTERS_BURST_S,
    MAX_KEPT,
    STREAMS_BURST_S,
    TIMES_FREE,
    Budget,
    Budgets,
)
from ingest.config import Limits
from ingest.limits import BURST_S

LIMITS = Limits(
    max_messages_per_s_of_sender=10,
    max_bytes_per_s_of_sender=1000,
    max_cpu_percent_of_sender=10,
    max_new_streams_per_s_of_sender=2,
    max_dead_letter_bytes_per_s_of_sender=5000,
)
STEPS = st.lists(
    st.tuples(st.integers(1, 4000), st.integers(0, 300_000), st.floats(0, 3)), min_size=1, max_size=60
)


@given(STEPS)
def test_who_waits_as_asked_is_never_beyond_its_rates_by_more_than_a_burst_and_a_message(
    steps: list[tuple[int, int, float]],
) -> None:
    budget, now_s = Budget(LIMITS, 0), 0.0
    taken, sent, cpu_us = 0, 0, 0
    for size, cost_us, pause_s in steps:
        now_s += pause_s
        if budget.is_spent:
            now_s += budget.wait_s(now_s)[0]
        most_s = now_s + BURST_S
        assert taken <= 10 * most_s + 1
        assert sent <= 1000 * most_s + 4000
        assert cpu_us <= 100_000 * most_s + 300_000
        taken, sent, cpu_us = taken + 1, sent + size, cpu_us + cost_us
        budget.messages.left -= 1
        budget.bytes.left -= size
        budget.cpu_us.left -= cost_us


def test_the_limit_that_is_met_is_told() -> None:
    for name, spent in (("messages_per_s", "messages"), ("bytes_per_s", "bytes"), ("cpu", "cpu_us")):
        budget = Budget(LIMITS, 0)
        assert not budget.is_spent
        getattr(budget, spent).left = 0
        assert budget.is_spent
        wait_s, limit = budget.wait_s(0)
        assert (wait_s > 0, limit) == (True, f"{name}_of_sender")


@given(st.lists(st.floats(0, 20), max_size=200))
def test_streams_and_dead_letters_are_taken_at_their_rate(pauses: list[float]) -> None:
    budget, now_s, opened, rejected = Budget(LIMITS, 0), 0.0, 0, 0
    for pause_s in pauses:
        now_s += pause_s
        opened += budget.may_open(now_s)
        rejected += (300 + LETTER_BYTES) * budget.may_reject(300, now_s)
        assert opened <= 2 * (now_s + STREAMS_BURST_S)
        assert rejected <= 5000 * (now_s + LETTERS_BURST_S) + 300 + LETTER_BYTES


def test_all_that_is_free_at_first_may_be_used() -> None:
    budget = Budget(LIMITS, 0)
    assert [budget.may_open(0) for _ in range(2 * STREAMS_BURST_S + 1)].count(True) == 2 * STREAMS_BURST_S
    assert budget.may_open(1)


@given(st.integers(1, 2_000), st.integers(1, 5))
def test_of_those_that_fill_a_spool_together_each_is_stopped_and_a_later_one_is_not(
    size: int, senders: int
) -> None:
    room, held = 1_000_000, 0
    budgets = [Budget(LIMITS, 0) for _ in range(senders)]
    going = list(budgets)
    while going:
        held += size * len(going)
        going = [one for one in going if not one.holds_too_much(size, 1, max(0, room - held))]
    assert held <= room * senders * TIMES_FREE / (senders * TIMES_FREE + 1) + size * senders
    assert not Budget(LIMITS, 0).holds_too_much(1, 1, room - held)
    assert not budgets[0].holds_too_much(1, 2, room), "another outage"


def test_a_budget_outlives_its_connections_and_no_more_than_a_minute() -> None:
    budgets = Budgets(LIMITS)
    first = budgets.enter("a", 0)
    assert budgets.enter("a", 0) is first
    budgets.leave("a", 1)
    assert budgets.enter("a", 500) is first, "it has a connection yet"
    budgets.leave("a", 500)
    budgets.leave("a", 500)
    assert budgets.enter("a", 500 + KEPT_S) is first
    budgets.leave("a", 600)
    budgets.enter("b", 600)
    budgets.leave("b", 601 + KEPT_S)
    assert budgets.enter("a", 601 + KEPT_S) is not first


def test_budgets_of_those_that_are_gone_are_no_more_than_a_number() -> None:
    budgets = Budgets(LIMITS)
    for number in range(MAX_KEPT + 100):
        budgets.enter(str(number), 0)
        budgets.leave(str(number), 0)
    assert len(budgets) == MAX_KEPT


def test_the_defaults_fit_each_other() -> None:
    """Two tracks of 20 ms in each call, and of 176 ms; a message of 20 ms is 400 bytes, of 176 ms 2200."""
    limits = Limits()
    calls = limits.max_messages_per_s // 100
    assert calls * 100 * 400 <= limits.max_bytes_per_s_of_sender
    assert limits.max_messages_per_s_of_sender >= 50 * limits.max_messages_per_s
    assert limits.max_messages_per_s_of_sender * 2200 <= limits.max_bytes_per_s_of_sender
    assert limits.max_new_streams_per_s_of_sender * STREAMS_BURST_S >= limits.max_connections_per_address
    assert limits.max_connections_per_sender < limits.max_connections
