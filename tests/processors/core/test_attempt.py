"""How often workers died at a partition, and at which record: notes that the next worker finds."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.attempt import MAX_DEATHS, MAX_DEATHS_AT_RECORD, Attempt, begun

POISON = 17


@dataclass
class Partition:
    """A partition that workers take one after the other, record by record, and what each leaves."""

    poison: int = POISON
    commit_every: int = 1000
    committed: int = 10
    noted: Attempt | None = None
    taken: list[int] = field(default_factory=list)

    def live(self, end: int, *, killed_at: int | None = None, ends: bool = False) -> int | None:
        """Take records as a worker does, until one kills it; return where it refuses to go on, if it does."""
        attempt = self.noted = begun(self.noted, self.committed)
        for offset in range(self.committed, end):
            if attempt.careful:
                if attempt.refuses(offset):
                    self.noted = attempt.end() if ends else attempt
                    return offset
                self.noted = attempt.take(offset)
            if offset in (self.poison, killed_at):
                return None
            self.taken.append(offset)
            if (offset + 1) % self.commit_every == 0:
                self.committed = offset + 1
            if attempt.careful:
                self.noted = attempt = attempt.take(-1).after(offset + 1, self.committed)
        self.noted = attempt.end() if ends else attempt
        return None


def test_a_record_that_kills_each_worker_is_found_and_no_worker_takes_it_then() -> None:
    partition = Partition()
    lives = [partition.live(30) for _ in range(MAX_DEATHS + MAX_DEATHS_AT_RECORD)]
    assert lives == [None] * 5
    assert partition.live(30) == POISON
    assert partition.live(30) == POISON, "whoever takes over"
    assert max(partition.taken) == POISON - 1


@pytest.mark.parametrize("commit_every", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("poison", range(10, 20))
def test_progress_before_the_record_only_puts_it_off(commit_every: int, poison: int) -> None:
    partition = Partition(poison, commit_every)
    found = [partition.live(30) for _ in range(40)]
    assert poison in found
    first = found.index(poison)
    assert found[first:] == [poison] * (40 - first)
    assert first <= MAX_DEATHS + MAX_DEATHS_AT_RECORD + 1


def test_one_that_was_set_aside_is_behind_and_all_is_as_before() -> None:
    partition = Partition(commit_every=5)
    while partition.live(30) is None:
        pass
    partition.poison = -1  # nobody takes it any more
    partition.committed = POISON + 1
    assert partition.live(30) is None
    assert partition.noted is not None
    assert not partition.noted.careful
    assert (partition.noted.deaths, partition.noted.suspect) == (0, -1)


def test_a_partition_that_is_given_up_in_good_order_counts_no_death() -> None:
    partition = Partition(poison=-1)
    for _ in range(20):
        assert partition.live(12, ends=True) is None
    assert partition.noted == Attempt(10, ended=True)


def test_what_is_given_up_where_a_worker_stands_is_still_refused_by_the_next() -> None:
    partition = Partition()
    while partition.live(30) is None:
        pass
    for _ in range(5):
        assert partition.live(30, ends=True) == POISON


@given(st.lists(st.integers(10, 40), min_size=1, max_size=60), st.integers(1, 9))
def test_workers_that_are_killed_anywhere_else_are_no_reason_to_refuse_a_record(
    killed_at: list[int], commit_every: int
) -> None:
    """Unless they die at the same record twice in a row, having noted it."""
    partition = Partition(-1, commit_every)
    last, deaths = -1, 0
    for at in killed_at:
        refused = partition.live(50, killed_at=at)
        if refused is None:
            deaths = deaths + 1 if at == last else 1
            last = at
        else:
            assert refused == last
            assert deaths >= MAX_DEATHS_AT_RECORD


@given(
    st.builds(
        Attempt,
        st.integers(0, 5),
        st.integers(0, 9),
        st.integers(-1, 9),
        st.integers(-1, 9),
        st.integers(0, 3),
    ),
    st.integers(0, 9),
)
def test_what_was_committed_past_a_suspect_is_forgotten(before: Attempt, committed: int) -> None:
    attempt = begun(before, committed)
    assert attempt.offset == committed
    assert attempt.taking == -1
    assert attempt.suspect == -1 or attempt.suspect >= committed
    assert attempt.careful or attempt.suspect == -1


@pytest.mark.parametrize(
    ("before", "begins"),
    [
        (None, Attempt(10)),
        (Attempt(10), Attempt(10, 1)),
        (Attempt(10, 2), Attempt(10, 3)),
        (Attempt(10, 2, ended=True), Attempt(10, 2)),
        (Attempt(9, 2), Attempt(10)),
        # One died at a noted record: anew, at another one than before, at the same again.
        (Attempt(10, 3, taking=17), Attempt(10, 3, suspect=17, deaths_at_suspect=1)),
        (Attempt(10, 3, 17, suspect=16, deaths_at_suspect=1), Attempt(10, 3, -1, 17, 1)),
        (Attempt(10, 3, 17, suspect=17, deaths_at_suspect=1), Attempt(10, 3, -1, 17, 2)),
        (Attempt(10, 3, -1, suspect=17, deaths_at_suspect=1), Attempt(10, 3, -1, 17, 1)),
        (Attempt(10, 3, 17, ended=True), Attempt(10, 3)),
    ],
)
def test_what_a_worker_left_tells_the_next_how_to_go_on(before: Attempt | None, begins: Attempt) -> None:
    assert begun(before, 10) == begins


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_records_of_a_log_may_kill_a_worker_too(first: int) -> None:
    assert begun(Attempt(0, 3, taking=first), 0) == Attempt(0, 3, -1, first, 1)


def test_an_attempt_is_careful_until_its_suspect_has_been_passed() -> None:
    careful = Attempt(10, 3, -1, suspect=17, deaths_at_suspect=1)
    assert careful.after(17, 12) == careful
    assert careful.after(18, 10) == careful, "nothing was committed"
    assert careful.after(18, 12) == Attempt(12)
    assert careful.take(17).end() == Attempt(10, 3, -1, 17, 1, ended=True)
