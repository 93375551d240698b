"""Workers as processes of their own: what they leave behind, and how they fetch."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from aiokafka.consumer import fetcher as aiokafka_fetcher
from reading import nothing_left_running, running
from support import is_ready, until

import schemas
from processors.app import create_agent
from processors.config import WorkerConfig
from processors.driver.fetcher import BareRecords, CheckedBatches
from schemas.topics import AGENTS
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack


@pytest.mark.timeout(120)
async def test_the_agents_write_nothing_to_the_working_directory(broker: Stack, tmp_path: Path) -> None:
    ports = {agent: free_port() for agent in AGENTS}
    root = str(Path(schemas.__file__).parents[1])
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tapeline", "worker", agent),
            cwd=tmp_path,
            env=os.environ
            | broker.environment
            | {"PYTHONPATH": root, "TAPELINE_OPERATIONS": f"127.0.0.1:{ports[agent]}"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for agent in AGENTS
    ]
    try:
        for port in ports.values():
            await until(lambda port=port: is_ready(f"http://127.0.0.1:{port}"), 60)  # type: ignore[misc]
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        statuses = await asyncio.gather(*(worker.wait() for worker in workers))
    assert statuses == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
async def test_an_agents_consumer_checks_what_it_fetches(
    broker: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust's setting is left as it comes: aiokafka checks unless ``CheckedBatches`` does."""
    # The fetcher is installed for the whole process: put aiokafka's own back afterwards.
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(aiokafka_fetcher, name, getattr(aiokafka_fetcher, name))
    monkeypatch.chdir(tmp_path)
    app, _ = create_agent("assemble", WorkerConfig(broker.cluster, "memory:///"))
    assert app.conf.broker_check_crcs
    async with nothing_left_running(), running(app):
        assert aiokafka_fetcher.MemoryRecords is CheckedBatches
        assert aiokafka_fetcher.PartitionRecords is BareRecords
