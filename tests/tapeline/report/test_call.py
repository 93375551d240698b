"""What can be looked at of calls that are not two tracks of speech."""

from typing import Any

import pytest
from support import LOG, call_events, record_all

from processors.storage.recordings import Recordings
from processors.storage.store import open_store
from tapeline.report.call import MeasuredCall, UnshowableError, measure_call, showing
from tapeline.report.chart import png
from tapeline.report.page import html, lines


async def shown(names: tuple[str, ...], samples: int = 24_000, encoding: str = "ulaw") -> MeasuredCall:
    """Return a call as ``record`` stores it, measured."""
    store = open_store("memory://")
    gaps = {names[0]: [(100, 50)]} if names and samples else {}
    saved = await record_all(Recordings(store, LOG), call_events(names, samples, encoding, gaps=gaps)[0])
    return await measure_call(store, saved.path, saved.manifest)


@pytest.mark.parametrize("names", [("far",), ("caller", "transfer"), ("a", "b", "c"), ()])
async def test_any_number_of_tracks(names: tuple[str, ...]) -> None:
    found = await shown(names)
    assert [track.name for track in found.tracks] == list(names)
    assert png(found, lines(found)).startswith(b"\x89PNG")
    page = html(found)
    # Up to two tracks are heard together, more of them one by one.
    assert page.count("<audio") == {0: 0, 1: 1, 2: 1, 3: 3}[len(names)]
    if names:
        assert found.tracks[0].gaps == [(100 / 8000, 50 / 8000)]


async def test_a_track_that_cannot_be_heard() -> None:
    found = await shown(("far",), encoding="opus")
    assert found.conversation["parties"] == []
    assert found.sounds == []
    assert png(found, lines(found)).startswith(b"\x89PNG")
    assert "<audio" not in html(found)


async def test_a_track_without_audio() -> None:
    found = await shown(("far",), samples=0)
    assert found.duration_s == 0
    assert png(found, lines(found)).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "said",
    [{"samples": 2**39}, {"chunks": {"received": 1}}, {"heard_at": None}],
)
async def test_what_does_not_fit_is_told_by_its_place(said: dict[str, Any]) -> None:
    store = open_store("memory://")
    saved = await record_all(Recordings(store, LOG), call_events(("far",), 24_000)[0])
    saved.manifest["tracks"][0] |= said
    with pytest.raises(UnshowableError, match=f"^{saved.path} cannot be shown: .*verify"):
        await measure_call(store, saved.path, saved.manifest)


def test_errors_that_say_themselves_what_is_wrong_are_left_alone() -> None:
    with pytest.raises(FileNotFoundError), showing("a"):
        raise FileNotFoundError
