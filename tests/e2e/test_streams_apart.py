"""What tells streams of one number apart: two senders with tokens, and a call that was silent for long."""

import asyncio
import itertools
import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import gateway, tapeline, until
from websockets.asyncio.client import connect

from ingest.auth import new_token
from processors.core.audio.formats import ULAW
from processors.core.audio.wav import wav_header
from schemas.schema import Record
from schemas.topics import DEAD_LETTERS, RECORDINGS, key_of
from tapeline.checks.compare import differences
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(120)

OURS, OUR_ENTRY = new_token("acme")
THEIRS, THEIR_ENTRY = new_token("other")
NUMBERS = itertools.count(9_600)


def a_call(number: int) -> Call:
    audio = random.Random(5).randbytes
    return Call(number, [SourceTrack(n, audio(16_000)) for n in ("caller", "transfer")], datetime.now(UTC))


def texts(call: Call) -> list[str]:
    return [json.dumps(message) for _, message in messages(call)]


async def recorded(stack: Stack, number: int, count: int = 1) -> list[Record]:
    """Return what was announced of the streams of a number, in their order, once there are so many."""
    found: list[Record] = []

    async def announced() -> bool:
        found[:] = [
            e.value
            async for e in entries(stack.cluster, RECORDINGS, None)
            if e.key == key_of(number) and e.value
        ]
        return len(found) >= count

    await until(announced)
    return sorted(found, key=lambda one: one["origin_offset"])


def manifest_of(stack: Stack, announced: Record) -> dict[str, Any]:
    return json.loads((stack.store / announced["payload"]["path"] / "recording.json").read_text())


def audio_of(stack: Stack, announced: Record, name: str) -> bytes:
    (track,) = [t for t in manifest_of(stack, announced)["tracks"] if t["track"] == name]
    header = len(wav_header(ULAW, 8000, 1, track["samples"]))
    file = stack.store / announced["payload"]["path"] / track["file"]
    return file.read_bytes()[header : header + track["samples"]]


async def dead(stack: Stack, number: int) -> int:
    return len([e async for e in entries(stack.cluster, DEAD_LETTERS, None) if e.key == key_of(number)])


async def test_another_sender_cannot_end_spoil_or_occupy_a_call(pipeline: Stack, tmp_path: Path) -> None:
    number = next(NUMBERS)
    call, spoiler = a_call(number), a_call(number)
    spoiler = replace(spoiler, tracks=[SourceTrack("caller", bytes(4000))])
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(OUR_ENTRY + THEIR_ENTRY)
    ours, theirs = texts(call), texts(spoiler)
    async with (
        gateway(pipeline, tmp_path, tokens=tokens) as (_, url),
        connect(f"{url}/?token={OURS}") as mine,
        connect(f"{url}/?token={THEIRS}") as other,
    ):
        # Before it begins, between any two of its messages, and after: they occupy it, and end it.
        for text in theirs[:-1]:
            await other.send(text)
        await asyncio.sleep(0.5)
        for text, spoilt in itertools.zip_longest(
            ours, itertools.islice(itertools.cycle(theirs), len(ours) - 1)
        ):
            await mine.send(text)
            if spoilt:
                await other.send(spoilt)
        await other.send(theirs[-1])
    by_sender = {one["sender"]: one for one in await recorded(pipeline, number, 2)}
    saved = by_sender["acme"]
    assert (saved["type"], saved["payload"]["complete"], saved["payload"]["reasons"]) == (
        "RecordingSaved",
        True,
        [],
    )
    assert saved["payload"]["path"].endswith(f"/sender=acme/stream={number}")
    assert differences(call, pipeline.store / saved["payload"]["path"]) == []
    assert by_sender["other"]["payload"]["path"].endswith(f"/sender=other/stream={number}")
    manifest = manifest_of(pipeline, saved)
    assert (manifest["sender"], manifest["messages"]["used"]) == ("acme", len(ours))

    status, _, error = await tapeline(
        "show", str(number), "--out", str(tmp_path), environment=pipeline.environment
    )
    assert status == 1
    assert f"acme/{number}@" in error
    assert f"other/{number}@" in error
    command = ("show", f"acme/{number}", "--out", str(tmp_path), "--no-arrivals")
    assert (await tapeline(*command, environment=pipeline.environment))[0] == 0


async def test_a_call_that_was_silent_for_long_goes_on_in_a_recording_of_its_own(
    pipeline: Stack, tmp_path: Path
) -> None:
    number = next(NUMBERS)
    call = a_call(number)
    said = texts(call)
    async with connect(pipeline.url) as connection:
        for text in said[:13]:
            await connection.send(text)
        (first,) = await recorded(pipeline, number)
    async with connect(pipeline.url) as connection:
        for text in said[13:]:
            await connection.send(text)
    first, second = await recorded(pipeline, number, 2)
    assert await dead(pipeline, number) == 0
    assert first["payload"]["reasons"] == [
        "no_end_stream",
        "track_unfinished:caller",
        "track_unfinished:transfer",
    ]
    assert second["payload"]["reasons"] == ["continues"]
    path = first["payload"]["path"]
    assert second["payload"]["path"] == f"{path}/from={second['origin_offset']}"
    assert manifest_of(pipeline, second)["continues"] == first["origin_offset"]
    for track in call.tracks:
        halves = [audio_of(pipeline, one, track.name) for one in (first, second)]
        assert b"".join(halves) == track.audio

    status, out, error = await tapeline("audit", environment=pipeline.environment)
    assert f"stream {number}" not in out, out + error
    _, out, _ = await tapeline("verify", "--log", environment=pipeline.environment)
    assert f"stream {number}" not in out
    store = tmp_path.as_uri()
    rebuilt = ("rebuild", "--stream", str(number), "--store", store)
    status, out, error = await tapeline(*rebuilt, environment=pipeline.environment)
    assert (status, len(out.splitlines())) == (0, 2), out + error
    for one in (first, second):
        for file in (pipeline.store / one["payload"]["path"]).iterdir():
            if file.is_file():
                assert (tmp_path / file.relative_to(pipeline.store)).read_bytes() == file.read_bytes()
