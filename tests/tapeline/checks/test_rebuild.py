"""Which streams are rebuilt; rebuilding itself is tested on the pipeline's log, in tests/e2e."""

import pytest

from schemas.identity import StreamIdentity, StreamSelector
from tapeline.checks.rebuild import Selection


def _streams(*texts: str) -> frozenset[StreamSelector]:
    return frozenset(map(StreamSelector.parse, texts))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), True),
        (Selection(_streams("1", "2")), True),
        (Selection(_streams("2")), False),
        (Selection(_streams("acme/1")), True),
        (Selection(_streams("acme/1@7")), True),
        (Selection(_streams("1@7")), True),
        (Selection(_streams("1@8")), False),
        (Selection(_streams("other/1")), False),
        (Selection(since_ms=100), True),
        (Selection(since_ms=101), False),
        (Selection(until_ms=101), True),
        (Selection(until_ms=100), False),
        (Selection(_streams("1"), since_ms=101), False),
    ],
)
def test_a_stream_is_selected_by_all_that_is_given(selection: Selection, expected: bool) -> None:
    assert selection.takes(StreamIdentity("acme", 1, 7), 100) is expected
