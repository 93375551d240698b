"""rebuild, verify and audit, on what the pipeline has made of well and badly behaved calls."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import tapeline

from schemas.topics import RECORDINGS
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

pytestmark = pytest.mark.timeout(180)


async def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Run a command against the stack: status, everything it said."""
    status, out, error = await tapeline(*arguments, environment=stack.environment)
    return status, out + error


async def settled(stack: Stack, streams: set[int]) -> None:
    """Wait until these streams have their recordings."""
    async with asyncio.timeout(90):
        while True:
            done = {e.value["stream_id"] async for e in entries(stack.cluster, RECORDINGS, None) if e.value}
            if streams <= done:
                return
            await asyncio.sleep(0.5)


@pytest.fixture(scope="module")
async def badly_behaved(pipeline: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty calls with every fault, played by the command; the folder of their oracles."""
    folder = tmp_path_factory.mktemp("bad")
    noise = np.random.default_rng(3).integers(-9000, 9000, (48_000, 2), dtype=np.int16)
    soundfile.write(folder / "call.wav", noise, 8000)
    probabilities = ("loss", "dup", "reorder", "cut", "no-end", "wrong-duration", "unknown", "garbage")
    status, said = await run(
        pipeline,
        "play",
        str(folder / "call.wav"),
        *("--fast", "--calls", "20", "--stream-id", "5000", "--seed", "7"),
        *(word for name in probabilities for word in (f"--{name}", "0.06")),
        *("--oracle", str(folder / "oracle")),
    )
    assert status == 0, said
    await settled(pipeline, set(range(5000, 5020)))
    return folder / "oracle"


async def test_recordings_of_bad_calls_are_what_a_perfect_receiver_holds(
    pipeline: Stack, badly_behaved: Path
) -> None:
    _, said = await run(pipeline, "verify", "--log", "--oracle", str(badly_behaved))
    # Calls of other tests may be open or dead-lettered; of these nothing may differ.
    faults = [line for line in said.splitlines() if line.startswith("stream 50")]
    assert faults == [], said
    assert "recordings checked" in said


async def test_the_oracle_sees_a_difference(pipeline: Stack, badly_behaved: Path, tmp_path: Path) -> None:
    for file in badly_behaved.glob("5003*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for file in tmp_path.glob("*.ulaw"):
        file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    status, said = await run(pipeline, "verify", "--oracle", str(tmp_path))
    assert status == 1
    assert "stream 5003: oracle: caller" in said


async def test_a_rebuilt_recording_is_the_same_bytes(
    pipeline: Stack, badly_behaved: Path, tmp_path: Path
) -> None:
    status, said = await run(
        pipeline, "rebuild", "--stream", "5001", "--stream", "5002", "--store", tmp_path.as_uri()
    )
    assert status == 0, said
    files = [f.relative_to(tmp_path) for f in tmp_path.rglob("*") if f.is_file()]
    assert len(files) == 8
    for file in files:
        assert (tmp_path / file).read_bytes() == (pipeline.store / file).read_bytes()


async def test_streams_can_be_chosen_by_call_and_by_time(pipeline: Stack, tmp_path: Path) -> None:
    call = Call(6001, [SourceTrack("far", bytes(9000))], datetime.now(UTC), call_id="the one")
    await play(call, pipeline.url, fast=True)
    await settled(pipeline, {6001})
    status, said = await run(pipeline, "rebuild", "--call", "the one", "--store", tmp_path.as_uri())
    assert (status, said.splitlines()[-1].partition("@")[0]) == (0, "stream 6001")
    status, said = await run(pipeline, "rebuild", "--until", "2020-01-01", "--store", tmp_path.as_uri())
    assert status == 1
    assert "no stream in the log is meant by that" in said


async def test_verify_sees_a_changed_byte_and_a_missing_file(pipeline: Stack, tmp_path: Path) -> None:
    for number in (6101, 6102):
        call = Call(number, [SourceTrack("far", bytes(9000))], datetime.now(UTC))
        await play(call, pipeline.url, fast=True)
    await settled(pipeline, {6101, 6102})
    store = tmp_path.as_uri()
    arguments = ("rebuild", "--stream", "6101", "--stream", "6102", "--store", store)
    status, said = await run(pipeline, *arguments)
    assert status == 0, said
    status, said = await run(pipeline, "verify", "--store", store)
    assert (status, said.splitlines()) == (0, ["2 recordings checked, 0 faults"])
    (changed,) = tmp_path.glob("recordings/*/stream=6101/far.wav")
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    (missing,) = tmp_path.glob("recordings/*/stream=6102/mix.wav")
    missing.unlink()
    status, said = await run(pipeline, "verify", "--store", store)
    assert status == 1
    assert re.search(r"stream 6101@\d+: far\.wav has SHA-256", said)
    assert re.search(r"stream 6102@\d+: mix\.wav is missing", said)


async def test_verify_with_the_log_sees_a_forged_manifest(pipeline: Stack, tmp_path: Path) -> None:
    call = Call(6201, [SourceTrack("far", bytes(9000))], datetime.now(UTC))
    await play(call, pipeline.url, fast=True)
    await settled(pipeline, {6201})
    await run(pipeline, "rebuild", "--stream", "6201", "--store", tmp_path.as_uri())
    (file,) = tmp_path.glob("recordings/*/*/recording.json")
    manifest = json.loads(file.read_text())
    manifest["tracks"][0]["chunks"]["duplicate"] = 5
    file.write_text(json.dumps(manifest))
    status, said = await run(pipeline, "verify", "--log", "--store", tmp_path.as_uri())
    assert status == 1
    assert re.search(r"stream 6201@\d+: log: tracks\[0\]\.chunks\.duplicate is 5, from the log 0", said)


async def test_every_message_is_accounted_for(pipeline: Stack, badly_behaved: Path) -> None:
    status, said = await run(pipeline, "audit")
    assert status == 0, said
    counts = {line[:20].strip(): int(line[20:]) for line in said.splitlines() if line[20:].strip().isdigit()}
    assert counts["messages"] == sum(
        counts[name] for name in ("used", "duplicate", "late", "dead lettered", "in open streams")
    )
    assert counts["streams"] == counts["complete"] + counts["partial"] + counts["still open"]
    assert counts["duplicate"] > 0
    assert counts["refused by gateway"] > 0
    assert "reconciled: every message is accounted for" in said
