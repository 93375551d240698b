"""Where a partition is read on, by what was committed and what the log is now."""

import pytest

from processors.core.reading_on import Commit, Lost, ReadingOn, reading_on


@pytest.mark.parametrize(
    ("commit", "offset", "lost"),
    [
        (None, 3, None),
        (Commit(5, "this"), 5, None),
        (Commit(9, "this"), 9, None),
        (Commit(10, "this"), 9, Lost.SHORTENED),
        # Of the log before: whether its offset lies in this one says nothing.
        (Commit(0, "that"), 3, Lost.REPLACED),
        (Commit(5, "that"), 3, Lost.REPLACED),
        (Commit(10, "that"), 3, Lost.REPLACED),
        # Kafka's own tools do not say.
        (Commit(5, ""), 5, None),
        (Commit(10, ""), 9, Lost.SHORTENED),
    ],
)
def test_a_commit_counts_in_the_log_that_it_is_of(commit: Commit | None, offset: int, lost: Lost) -> None:
    assert reading_on(commit, "this", 3, 9) == ReadingOn(offset, 9, lost)


def test_who_does_not_know_which_log_it_is_goes_by_the_offset() -> None:
    assert reading_on(Commit(5, "that"), "", 3, 9) == ReadingOn(5, 9)
