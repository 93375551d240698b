"""What the manifest is made of must be whole."""

import pytest

from processors.core.record.manifest import IncompletePartsError, Outline
from schemas.events import Event, StreamClosed


def test_a_missing_event_is_named() -> None:
    outline = Outline()
    closed = StreamClosed(True, [], 0, None, None, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(IncompletePartsError, match="event 0 of stream 5"):
        outline.add(Event(5, 3, None, 0, 0, closed))


def test_events_without_the_last_are_not_whole() -> None:
    with pytest.raises(IncompletePartsError, match="before StreamClosed"):
        Outline().check_whole()
