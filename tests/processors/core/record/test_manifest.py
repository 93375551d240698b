"""What the manifest is made of must be whole."""

import msgspec
import pytest
from support import call_events

from processors.core.record.manifest import IncompletePartsError, Outline
from processors.core.record.track import InconsistentEventsError
from schemas.events import Event, StreamClosed, StreamOpened, StreamSettings


def test_a_missing_event_is_named() -> None:
    outline = Outline()
    closed = StreamClosed(True, [], 0, None, None, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(IncompletePartsError, match="event 0 of stream 5"):
        outline.add(Event(5, 3, None, 0, 0, closed))


def test_events_without_the_last_are_not_whole() -> None:
    with pytest.raises(IncompletePartsError, match="before StreamClosed"):
        Outline().check_whole()


@pytest.mark.parametrize(("without", "says"), [(1, "without a beginning"), (-2, "before its tracks")])
def test_events_that_contradict_each_other_are_refused(without: int, says: str) -> None:
    told, _ = call_events(("caller",))
    del told[without]
    with pytest.raises(InconsistentEventsError, match=says):
        add_all(told)


def add_all(told: list[Event]) -> None:
    outline = Outline()
    for index, event in enumerate(told):
        outline.add(msgspec.structs.replace(event, event_index=index))


@pytest.mark.parametrize("settings", [None, StreamSettings(1, 1000, 64, 2000, 3_600_000)])
def test_the_settings_of_the_stream_are_said(settings: StreamSettings | None) -> None:
    told, _ = call_events(())
    opened = told[0].payload
    assert isinstance(opened, StreamOpened)
    outline = Outline()
    outline.add(msgspec.structs.replace(told[0], payload=msgspec.structs.replace(opened, settings=settings)))
    outline.add(told[1])
    outline.check_whole()
    said = outline.manifest({}, {})["settings"]
    assert said == (settings and msgspec.structs.asdict(settings))
