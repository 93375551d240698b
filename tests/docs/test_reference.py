"""The reference pages say what the code does: every field of the manifest, every reason."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from support import LOG, call_events, record_all

from processors.core.assemble import ending
from processors.core.record import track
from processors.storage import mix
from processors.storage.recordings import Recordings
from processors.storage.store import open_store
from schemas.events import FAILED, Event, Pause, StreamOpened, StreamSettings, TrackClosed

DOCS = Path(__file__).parents[2] / "docs"
#: What senders said stands there as it came.
_AS_SENT = {"init_stream", "end_stream", "start_track", "stop_track"}


def fields(value: Any, way: str = "") -> Iterator[str]:
    """Yield the way to each field."""
    match value:
        case dict():
            for name, inner in value.items():
                here = f"{way}.{name}" if way else name
                yield here
                if name not in _AS_SENT:
                    yield from fields(inner, here)
        case list():
            for inner in value:
                yield from fields(inner, f"{way}[]")


def with_everything(event: Event) -> Event:
    payload = event.payload
    if isinstance(payload, StreamOpened):
        payload = msgspec.structs.replace(
            payload, settings=StreamSettings(*[1] * len(StreamSettings.__struct_fields__))
        )
    elif isinstance(payload, TrackClosed):
        payload = msgspec.structs.replace(payload, pauses=[Pause(8, 2000)])
    return msgspec.structs.replace(event, payload=payload)


async def test_the_manifests_page_names_each_field_and_no_other() -> None:
    events, _ = call_events(gaps={"caller": [(10, 20)]}, declared_ms=3000)
    recordings = Recordings(open_store("memory://"), LOG)
    saved = await record_all(recordings, [with_everything(event) for event in events])
    manifest = json.loads(msgspec.json.encode(saved.manifest))
    known = set(fields(manifest)) | {"mix.skipped", "tracks[].wav_skipped"}
    assert '"skipped"' in inspect.getsource(mix)
    assert "wav_skipped" in inspect.getsource(track)
    rows = re.findall(r"^\| (`[^|]*`) \|", (DOCS / "manifest.md").read_text(), re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(told) == len(set(told))
    assert set(told) == known


def test_each_reason_for_a_partial_recording_is_explained() -> None:
    code = inspect.getsource(ending.what_is_lacking)
    known = set(re.findall(r'f?"([a-z_]+)(?::\{[^"]*\})?"', code)) | {FAILED.rstrip(":")}
    text = (DOCS / "operations.md").read_text().partition("## Why a recording is partial")[2]
    rows = re.findall(r"^\| (`[^|]*`) \|", text.partition("\n## ")[0], re.MULTILINE)
    told = {name.partition(":")[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert told == known
