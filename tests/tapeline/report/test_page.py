"""The figures of the page, as text."""

from typing import Any

import pytest

from tapeline.report.page import _cell


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"),
        (0.1234, "%", "12.3 %"),
        (999, "ms", "999 ms"),
        (999.96, "ms", "1000.0 ms"),
        (1000, "ms", "1.00 s"),
        (12_345.6, "ms", "12.35 s"),
        (-18.04, "dBov", "-18.0 dBov"),
        (3, "", "3"),
    ],
)
def test_a_figure_has_its_unit(value: Any, unit: str, text: str) -> None:
    assert _cell(value, unit) == text
