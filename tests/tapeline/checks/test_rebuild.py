"""Which streams are rebuilt; rebuilding itself is tested on the pipeline's log, in tests/e2e."""

import pytest

from tapeline.checks.rebuild import Selection


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), True),
        (Selection(stream_ids=frozenset({1, 2})), True),
        (Selection(stream_ids=frozenset({2})), False),
        (Selection(call_ids=frozenset({"a"})), True),
        (Selection(call_ids=frozenset({"c"})), False),
        (Selection(since_ms=100), True),
        (Selection(since_ms=101), False),
        (Selection(until_ms=101), True),
        (Selection(until_ms=100), False),
        (Selection(stream_ids=frozenset({1}), call_ids=frozenset({"c"})), False),
    ],
)
def test_a_stream_is_selected_by_all_that_is_given(selection: Selection, expected: bool) -> None:
    assert selection.matches(1, {"a", "b"}, 100) is expected
