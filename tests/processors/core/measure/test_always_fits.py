"""Which measures nobody has to encode to know that they fit their topic."""

import pytest

from processors.core.kept import LONGEST_SHORT
from processors.core.measure.stream import always_fits
from schemas.schema import Record


def measures(kind: str, call_id: str | None = "call", of: str = "TrackMetrics") -> Record:
    return {"type": of, "call_id": call_id, "payload": (f"tapeline.{of}", {"kind": kind})}


@pytest.mark.parametrize(
    ("row", "fits"),
    [
        (measures("WINDOW"), True),
        (measures("RUNNING"), True),
        (measures("WINDOW", None), True),
        (measures("WINDOW", "c" * LONGEST_SHORT), True),
        (measures("WINDOW", "c" * (LONGEST_SHORT + 1)), False),
        # It holds what the sender declared.
        (measures("FINAL"), False),
        (measures("FINAL", "c" * (LONGEST_SHORT + 1)), False),
        (measures("WINDOW", of="ConversationMetrics"), False),
        (measures("FINAL", of="ConversationMetrics"), False),
    ],
)
def test_what_is_told_of_a_window_fits_unless_its_call_has_a_long_name(row: Record, fits: bool) -> None:
    assert always_fits(row) is fits
