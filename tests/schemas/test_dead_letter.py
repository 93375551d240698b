"""Headers of dead letters, whoever wrote them."""

from typing import Any

import pytest

from schemas.dead_letter import DeadLetter, parse_headers


def test_headers_tell_what_the_letter_said() -> None:
    letter = DeadLetter("InvalidJson", "it ends", "gateway", topic="t", partition=0, offset=7, sender="s")
    assert parse_headers(letter.headers()) == letter


@pytest.mark.parametrize("value", [b"", b"x", "²".encode(), b"1" * 5000, b"\xff", None])
def test_a_place_that_is_no_number_is_none(value: Any) -> None:
    found = parse_headers([("__connect.errors.offset", value), ("__connect.errors.partition", b"3")])
    assert (found.offset, found.partition) == (None, 3)
