"""A process whose log nobody reads any more works on, and stops when it is told to."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime

import pytest
from support import until

from schemas.topics import RECORDINGS
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries


class Piped:
    """A part whose output goes into a pipe, of which the reader goes away."""

    def __init__(self, stack: Stack, *arguments: str) -> None:
        self.stack, self.arguments = stack, arguments

    async def start(self, until_said: str, times: int = 1) -> None:
        """Start it, wait until it has said something, and close the pipe."""
        reading, writing = os.pipe()
        admin = {"TAPELINE_OPERATIONS": f"127.0.0.1:{free_port()}", "TAPELINE_LOG_LEVEL": "debug"}
        spool = {"TAPELINE_SPOOL": str(self.stack.folder / "spool")}
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tapeline", *self.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=os.environ | self.stack.environment | admin | spool,
            start_new_session=True,
        )
        os.close(writing)
        said = ""
        while said.count(until_said) < times:
            more = await asyncio.to_thread(os.read, reading, 65536)
            assert more, said
            said += more.decode(errors="replace")
        os.close(reading)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 60)


@pytest.mark.timeout(200)
async def test_a_closed_log_keeps_nothing_from_working_and_stopping(alone: Stack) -> None:
    parts = [Piped(alone, "gateway"), Piped(alone, "worker")]
    try:
        await asyncio.gather(parts[0].start("operations_listening"), parts[1].start("agent_starting", 3))
        await alone._listening()
        # One call is recorded, and what cannot be used is logged in vain.
        await play(Call(1, [SourceTrack("far", b"\x55" * 8000)], datetime.now(UTC)), alone.url, fast=True)
        await play(Call(1, [SourceTrack("far", b"\x55" * 8000)], datetime.now(UTC)), alone.url, fast=True)

        async def recorded() -> bool:
            assert all(part.process.returncode is None for part in parts)
            return bool([entry async for entry in entries(alone.cluster, RECORDINGS, None)])

        await until(recorded, timeout_s=90)
        # With Kafka away, everybody would like to say so.
        await alone.stop("kafka", signal.SIGKILL)
        await asyncio.sleep(2)
        assert all(part.process.returncode is None for part in parts)
        assert await asyncio.gather(*(part.stop() for part in parts)) == [0, 0]
    finally:
        for part in parts:
            if part.process.returncode is None:
                os.killpg(part.process.pid, signal.SIGKILL)
