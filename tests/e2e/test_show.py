"""A call to look at, and its measures as tables: the commands, on what the pipeline has made."""

import re
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest
from support import tapeline

from schemas.topics import METRICS, RECORDINGS
from tapeline.emulator.audio_files import to_ulaw
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

STREAM = 7700
DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def talk(*spurts: tuple[float, float], seconds: float = 12.0) -> bytes:
    """Return noise whose spectrum changes, from one second to another, and silence elsewhere."""
    t = np.arange(int(seconds * 8000)) / 8000
    sharp = 3000 * np.random.default_rng(1).standard_normal(len(t))
    voice = np.where(t // 0.05 % 2, sharp, np.convolve(sharp, np.ones(8) / np.sqrt(8), "same"))
    on = np.any([(first <= t) & (t < end) for first, end in spurts], axis=0)
    return to_ulaw((voice * on).astype(np.int16), 8000)


@pytest.fixture(scope="module")
async def shown(pipeline: Stack) -> Stack:
    """Return a pipeline that has recorded and measured a call in which one party interrupts the other."""
    tracks = [
        SourceTrack("<caller>", talk((1, 4), (8, 9))),
        SourceTrack("transfer", talk((3, 6), (10, 11))),
    ]
    await play(Call(STREAM, tracks, datetime.now(UTC), call_id="a & b"), pipeline.url, fast=True)
    for topic in (RECORDINGS, METRICS):
        done = False
        while not done:
            async for entry in entries(pipeline.cluster, topic, None):
                value = entry.value
                if value and value["stream_id"] == STREAM:
                    done |= topic is RECORDINGS or value["payload"]["kind"] == "FINAL"
    return pipeline


async def test_a_page_that_needs_nothing_else(shown: Stack, tmp_path: Path) -> None:
    status, out, error = await tapeline(
        "show", str(STREAM), "--out", str(tmp_path), environment=shown.environment
    )
    assert status == 0, error
    assert out.split() == [f"{tmp_path}/stream-{STREAM}.html", f"{tmp_path}/stream-{STREAM}.png"]
    page = (tmp_path / f"stream-{STREAM}.html").read_text()
    # Names come from outside, and nothing is fetched from there.
    assert "<caller>" not in page
    assert "&lt;caller&gt;" in page
    assert "call a &amp; b" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)([^"]*)', page) == []
    assert 'src="data:audio/wav;base64,UklGR' in page
    assert "no longer has" not in page, "Kafka has the arrivals"
    cells = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]*)</td>', page))
    assert cells["length"] == "12.00 s"
    assert cells["chunks received"] == "69"
    assert (tmp_path / f"stream-{STREAM}.png").read_bytes().startswith(b"\x89PNG")


async def test_the_figures_are_those_of_the_topic(shown: Stack, tmp_path: Path) -> None:
    from processors.storage.store import open_store
    from schemas.identity import StreamSelector
    from tapeline.report.call import add_arrivals, measure_call
    from tapeline.report.finding import find_recording

    store = open_store(shown.environment["TAPELINE_STORE"])
    recording, _ = await find_recording(store, StreamSelector.parse(str(STREAM)))
    found = await measure_call(store, recording.folder, recording.manifest)
    finals = [
        entry.value["payload"]
        async for entry in entries(shown.cluster, METRICS, None)
        if entry.value and entry.value["stream_id"] == STREAM and entry.value["payload"]["kind"] == "FINAL"
    ]
    assert [{**finals[n], **track.measures} for n, track in enumerate(found.tracks)] == finals[:2]
    assert found.conversation == finals[2]
    assert finals[2]["overlap_ms"] == pytest.approx(1000, abs=160)
    assert [party["interruptions"] for party in finals[2]["parties"]] == [0, 1]
    ((who, when),) = found.interruptions
    assert (who, when) == (1, pytest.approx(3, abs=0.1))
    await add_arrivals(found, shown.cluster, None)
    assert [len(track.arrivals) for track in found.tracks] == [68, 68]


async def test_the_store_alone_is_enough(shown: Stack, tmp_path: Path) -> None:
    nowhere = shown.environment | {"TAPELINE_KAFKA": "127.0.0.1:1"}
    command = ("show", str(STREAM), "--out", str(tmp_path), "--no-arrivals")
    status, _, error = await tapeline(*command, environment=nowhere)
    assert status == 0, error
    assert "no longer has" in (tmp_path / f"stream-{STREAM}.html").read_text()


async def test_a_stream_without_a_recording(shown: Stack) -> None:
    status, _, error = await tapeline("show", "987654321", environment=shown.environment)
    assert status == 1
    assert "no recording of stream 987654321" in error


async def test_tables_and_the_documents_query(shown: Stack, tmp_path: Path) -> None:
    command = ("export", "metrics", str(tmp_path), "--since", "2026-01-01")
    status, out, error = await tapeline(*command, environment=shown.environment)
    assert status == 0, error
    assert re.findall(r"(\w+)\.parquet: \d+ rows", out) == ["tracks", "conversations", "failures"]
    (query,) = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
    there = query.replace("'conversations.parquet'", f"'{tmp_path}/conversations.parquet'")
    with_stream = there.replace("c.kind = 'FINAL'", f"c.kind = 'FINAL' AND stream_id = {STREAM}")
    rows = duckdb.sql(with_stream).fetchall()
    assert {(row[0], row[1], row[3]) for row in rows} == {(STREAM, "<caller>", 0), (STREAM, "transfer", 1)}
    assert duckdb.sql(there).fetchall()
    counts = duckdb.sql(
        f"SELECT kind, count(*) FROM '{tmp_path}/tracks.parquet' WHERE stream_id = {STREAM} GROUP BY kind"
    ).fetchall()
    assert dict(counts) == {"WINDOW": 6, "RUNNING": 6, "FINAL": 2}


async def test_a_time_without_records_has_empty_tables(shown: Stack, tmp_path: Path) -> None:
    command = ("export", "metrics", str(tmp_path), "--until", "2020-01-01")
    status, out, error = await tapeline(*command, environment=shown.environment)
    assert status == 0, error
    assert re.findall(r": (\d+) rows", out) == ["0", "0", "0"]
