"""A process that is to end, ends, whatever hangs in its stop: the gateway, as it is shipped."""

import asyncio
import json
import os
import signal
from pathlib import Path

from support import until

from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack
from tapeline.serving.deadline import END_TIMEOUT_S


async def test_a_gateway_whose_disk_hangs_in_its_stop_ends_all_the_same(
    broker: Stack, tmp_path: Path
) -> None:
    name = "a gateway that hangs"
    settings = {"TAPELINE_SPOOL": str(tmp_path), "TAPELINE_DRAIN_S": "1"}
    settings["TAPELINE_LISTEN"] = f"127.0.0.1:{free_port()}"
    await broker.start(name, "gateway", settings=settings)
    try:
        await until(lambda: "gateway_listening" in broker.log_of(name).read_text())
        # Who opens this to read waits until somebody writes, as for a disk that does not answer.
        os.mkfifo(tmp_path / "gateway-7.head")
        await until(lambda: "spool_hangs" in broker.log_of(name).read_text())
        async with asyncio.timeout(20):
            assert await broker.stop(name, signal.SIGTERM) == 1
    finally:
        if name in broker.processes:
            await broker.stop(name, signal.SIGKILL)
    lines = [json.loads(line) for line in broker.log_of(name).read_text().splitlines() if line[:1] == "{"]
    (told,) = [line for line in lines if line["event"] == "stop_hangs"]
    assert told["waited_s"] == END_TIMEOUT_S
