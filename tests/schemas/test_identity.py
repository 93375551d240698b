"""What tells streams apart, and how a person writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import SENDER, InvalidStreamError, StreamIdentity, StreamSelector, stream_name

NUMBERS = st.integers(0, 2**63 - 1)
STREAMS = st.builds(StreamIdentity, st.none() | st.from_regex(SENDER, fullmatch=True), NUMBERS, NUMBERS)


@given(stream=STREAMS, other=STREAMS)
def test_what_is_shown_of_a_stream_selects_it_and_no_other(
    stream: StreamIdentity, other: StreamIdentity
) -> None:
    shown = StreamSelector.parse(str(stream))
    assert str(shown) == str(stream)
    assert shown.matches(stream)
    assert StreamSelector.parse(stream.name).matches(stream)
    assert StreamSelector.parse(str(stream.stream_id)).matches(stream)
    if stream.sender is not None:
        assert shown.matches(other) == (other == stream)
    assert (stream.name == other.name) == (stream[:2] == other[:2])
    assert stream.name == stream_name(stream.sender, stream.stream_id)


@given(sender=st.text(max_size=70), number=NUMBERS)
def test_only_a_sender_that_a_token_may_have_is_read(sender: str, number: int) -> None:
    if SENDER.fullmatch(sender):
        assert StreamSelector.parse(f"{sender}/{number}").sender == sender
    elif sender:
        with pytest.raises(InvalidStreamError):
            StreamSelector.parse(f"{sender}/{number}")


@pytest.mark.parametrize(
    "text", ["", "abc", "-5", "acme/", "/5", "5@", "5@x", "a b/5", "12345678901234567890"]
)
def test_what_names_no_stream_is_told_what_does(text: str) -> None:
    with pytest.raises(InvalidStreamError, match="SENDER/117179172"):
        StreamSelector.parse(text)
