"""Recordings beside recordings: in each kind of store, whatever lies there already."""

import json
from typing import Any

import msgspec
import obstore
import pytest
from obstore.store import ObjectStore
from support import LOG, OPENED_AT_MS, call_events, record_all

from processors.core.record.location import location, parts_location
from processors.core.record.replacement import Span
from processors.storage.recordings import Kept, Recordings, Saved
from processors.storage.store import names, open_store, read
from schemas.events import Event, StreamClosed, StreamOpened
from schemas.identity import LogIdentity, StreamIdentity

BASE = "date=2026-11-18/stream=5"
DAY_MS = 86_400_000
OTHER_LOG = LogIdentity(LOG.cluster_id, "other-topic")


def call(
    first: int = 0, last: int = 9, *, later_ms: int = 0, reasons: list[str] | None = None, **kwargs: Any
) -> list[Event]:
    """Return the events of a call between two offsets."""

    def changed(event: Event) -> Event:
        payload = event.payload
        if isinstance(payload, StreamOpened):
            payload = msgspec.structs.replace(payload, opened_at=payload.opened_at + later_ms)
        elif isinstance(payload, StreamClosed):
            payload = msgspec.structs.replace(
                payload,
                closed_at=payload.closed_at + later_ms,
                first_offset=first,
                last_offset=last,
                complete=not reasons,
                reasons=reasons or [],
            )
        return msgspec.structs.replace(event, origin_offset=first, payload=payload)

    return [changed(event) for event in call_events(**kwargs)[0]]


async def compose(store: ObjectStore, events: list[Event], log: LogIdentity = LOG) -> Saved | Kept:
    opened = events[0].payload
    assert isinstance(opened, StreamOpened)
    stream, at_ms = events[0].stream, opened.opened_at
    place = location(at_ms, stream, continues=opened.continues is not None)
    return await Recordings(store, log).compose(place, parts_location(at_ms, stream), events)


async def written(store: ObjectStore) -> dict[str, bytes]:
    return {path: await read(store, path) for path in await names(store, "recordings")}


async def test_what_is_no_better_is_not_written(store: ObjectStore) -> None:
    good = await compose(store, call())
    before = await written(store)
    for worse in (
        call(3, reasons=["no_init_stream"]),
        call(0, 8),
        call(samples=16_000),
        call(names=("caller",)),
    ):
        kept = await compose(store, worse)
        assert isinstance(kept, Kept)
        assert kept.standing == good
        assert kept.reason
    assert await written(store) == before


async def test_what_is_better_takes_its_place_and_nothing_of_the_other_is_left(store: ObjectStore) -> None:
    poor = await compose(store, call(3, names=("transfer",), samples=8000, reasons=["no_init_stream"]))
    good = await compose(store, call(names=("caller", "transfer")))
    assert isinstance(poor, Saved)
    assert isinstance(good, Saved)
    assert good.path == poor.path == f"recordings/{BASE}"
    files = [*(track["file"] for track in good.manifest["tracks"]), "mix.wav", "recording.json"]
    assert sorted(await written(store)) == sorted(f"{good.path}/{file}" for file in files)


async def test_a_file_that_the_better_one_has_not_goes(store: ObjectStore) -> None:
    poor = await compose(store, call(3, names=("a", "A"), samples=8000, reasons=["no_init_stream"]))
    good = await compose(store, call(names=("A", "a")))
    assert isinstance(poor, Saved)
    assert isinstance(good, Saved)
    for saved in (poor, good):
        assert len({track["file"].lower() for track in saved.manifest["tracks"]}) == 2
    files = {*(track["file"] for track in good.manifest["tracks"]), "mix.wav", "recording.json"}
    assert {path.rpartition("/")[2] for path in await written(store)} == files


async def test_what_is_damaged_is_repaired_by_the_same_bytes(store: ObjectStore) -> None:
    good = await compose(store, call())
    before = await written(store)
    await obstore.put_async(store, f"recordings/{BASE}/caller.wav", b"damaged")
    assert await compose(store, call()) == good
    assert await written(store) == before


async def test_a_number_that_comes_again_is_recorded_beside(store: ObjectStore) -> None:
    first = await compose(store, call())
    before = await written(store)
    second = await compose(store, call(30, 40))
    assert isinstance(second, Saved)
    assert second.path == f"recordings/{BASE}/from=30"
    assert {path: text for path, text in (await written(store)).items() if path in before} == before
    assert await compose(store, call(30, 40)) == second
    assert await compose(store, call()) == first
    for origin, saved in ((0, first), (30, second), (35, second)):
        span = Span(StreamIdentity(None, 5, origin), LOG, 0, origin)
        assert await Recordings(store, LOG).composed(BASE, span, OPENED_AT_MS) == saved
    nobody = Span(StreamIdentity(None, 5, 20), LOG, 0, 20)
    assert await Recordings(store, LOG).composed(BASE, nobody, OPENED_AT_MS) is None


async def test_what_another_log_left_stands_and_is_composed_of_nothing(store: ObjectStore) -> None:
    """A topic that was made anew counts from 0 again."""
    await record_all(Recordings(store, LOG), call())
    before = await written(store)
    recordings = Recordings(store, OTHER_LOG)
    other = await record_all(recordings, call(names=("caller",)))
    assert other.path == f"recordings/{BASE}/log={OTHER_LOG.topic_id}-0"
    assert other.manifest["log"]["topic_id"] == OTHER_LOG.topic_id
    assert {path: text for path, text in (await written(store)).items() if path in before} == before
    await recordings.delete_parts(f"{BASE}/from=0")
    assert len(await names(store, f"parts/log={LOG.topic_id}")) > 0, "they are the other log's"


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("stream_id",), -1),
        (("continues",), -1),
        (("log", "first_offset"), -(2**70)),
        (("log", "last_offset"), 2**70),
        (("log", "last_offset"), -1),
        (("tracks", 0, "samples"), 2**62),
        (("tracks", 0, "chunks", "received"), 10**30),
    ],
)
async def test_what_a_damaged_manifest_says_is_not_better_and_it_is_made_again_in_its_place(
    store: ObjectStore, way: tuple[str | int, ...], value: int
) -> None:
    good = await compose(store, call())
    before = await written(store)
    said = json.loads(before[f"recordings/{BASE}/recording.json"])
    at = said
    for step in way[:-1]:
        at = at[step]
    at[way[-1]] = value
    for damaged in (b"{", json.dumps(said).encode()):
        await obstore.put_async(store, f"recordings/{BASE}/recording.json", damaged)
        assert await compose(store, call()) == good
        assert await written(store) == before


async def test_what_a_manifest_says_of_files_that_are_not_so_keeps_nothing_out(
    store: ObjectStore,
) -> None:
    """Its figures fit each other: more audio than there is, in a file that is not what it says."""
    poor = await compose(store, call(3, samples=8000, reasons=["no_init_stream"]))
    assert isinstance(poor, Saved)
    before = await written(store)
    rich = await compose(open_store("memory://"), call())
    assert isinstance(rich, Saved)
    said = poor.manifest | {name: rich.manifest[name] for name in ("state", "reasons", "tracks")}
    await obstore.put_async(store, f"{poor.path}/recording.json", json.dumps(said).encode())
    again = await compose(store, call(3, samples=8000, reasons=["no_init_stream"]))
    assert again == poor
    assert await written(store) == before


async def test_of_a_recording_with_a_damaged_file_the_others_are_not_given_up(
    store: ObjectStore,
) -> None:
    good = await compose(store, call())
    assert isinstance(good, Saved)
    await obstore.put_async(store, f"{good.path}/caller.wav", b"damaged")
    before = await written(store)
    kept = await compose(store, call(3, samples=8000, reasons=["no_init_stream"]))
    assert isinstance(kept, Kept)
    assert (kept.standing, await written(store)) == (good, before)
    # One that lacks nothing of what is left takes its place.
    whole = await compose(store, call())
    assert whole == good
    assert (await read(store, f"{good.path}/caller.wav")) != b"damaged"


@pytest.mark.parametrize("whole_first", [True, False])
async def test_a_call_over_midnight_whose_head_is_gone_is_found_under_the_day_before(
    store: ObjectStore, whole_first: bool
) -> None:
    whole = call()
    whole[-1] = msgspec.structs.replace(
        whole[-1], payload=msgspec.structs.replace(whole[-1].payload, closed_at=OPENED_AT_MS + DAY_MS)
    )
    cut = call(5, later_ms=DAY_MS, reasons=["no_init_stream"])
    if whole_first:
        good = await compose(store, whole)
        kept = await compose(store, cut)
        assert isinstance(kept, Kept)
        assert kept.standing == good
    else:
        await compose(store, cut)
        good = await compose(store, whole)
    (manifest,) = [json.loads(t) for p, t in (await written(store)).items() if p.endswith("recording.json")]
    assert manifest["log"]["first_offset"] == 0
    assert isinstance(good, Saved)
