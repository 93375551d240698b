"""Recovery of a dead worker's partition: how long its checkpoints take, and how much log is read again."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks import read_again
from ingest.protocol import Accepted, parse
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from schemas.codec import Reader, Writer
from schemas.live_track import LiveTrack
from schemas.topics import MESSAGES, TRACKS, changelog, consumer_group, key_of
from tapeline.emulator.voxology import Call, Message, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import records

AGENT = "assemble"
STREAMS, CHECKPOINTS_EACH = 2_000, 50
#: Samples of a segment that is not full when a checkpoint is written: none, and half a second.
BUFFERED = (0, 4000)
ROUNDS = 3
_PARTITION_BYTES = 4
#: Nothing is compacted away: all of the checkpoints are read.
_PROPERTIES = "log.cleaner.min.compaction.lag.ms=86400000\n"
#: The stream that shows that the agent reads on.
_PROBE = 1_000_000
_PATIENCE_S = 300


async def run(folder: Path) -> str:
    """Measure restoring, then reading again; return a table of each."""
    rows = [await _row(folder / "empty", 0, 0)]
    rows += [await _row(folder / str(size), CHECKPOINTS_EACH, size) for size in BUFFERED]
    restored = (
        f"From the start of `{AGENT}` to its first event, median and range of {ROUNDS}; "
        f"{STREAMS} streams:\n\n"
        "| checkpoints in the changelog | bytes of each, mean | in all | reads on after |\n"
        "| --- | --- | --- | --- |\n" + "".join(rows)
    )
    return restored + "\n" + await read_again.run(folder / "read-again")


async def _row(folder: Path, each: int, buffered: int) -> str:
    """Fill a log and its changelog, and start the agent on them a few times."""
    folder.mkdir(parents=True)
    properties = folder / "broker.properties"
    properties.write_text(_PROPERTIES)
    stack = Stack(folder, settings={"TAPELINE_PARTITIONS": "1"})
    try:
        await stack.start_broker(properties)
        sizes = await _fill(stack, each, buffered)
        took_s = sorted([await _reads_on_after_s(stack, number) for number in range(ROUNDS)])
    finally:
        await stack.stop_all()
    mean = sum(sizes) / len(sizes) if sizes else 0
    return (
        f"| {len(sizes)} | {mean:.0f} | {sum(sizes) / 1e6:.1f} MB "
        f"| {took_s[len(took_s) // 2]:.1f} s ({took_s[0]:.1f} to {took_s[-1]:.1f}) |\n"
    )


@asynccontextmanager
async def _producing(stack: Stack) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**stack.cluster.options(), linger_ms=20, max_batch_size=512 * 1024)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _fill(stack: Stack, each: int, buffered: int) -> list[int]:
    """Write the messages of streams, and a checkpoint after each; return the checkpoints' sizes.

    All messages are committed: they have been used.
    """
    writer, reader = Writer(MESSAGES), Reader()
    config = AssemblyConfig()
    assemblers = {number: StreamAssembler(number, 0, config) for number in range(1, STREAMS + 1)}
    scripts = {number: _script(number, buffered) for number in assemblers}
    sizes: list[int] = []
    offset = 0
    async with _producing(stack) as producer:
        for _ in range(each):
            for number, assembler in assemblers.items():
                value = _encoded(writer, next(scripts[number]))
                await producer.send(MESSAGES.name, value, key_of(number), 0)
                assembler.handle(reader.decode(value), offset, int(time.time() * 1000))
                checkpoint = bytes(_PARTITION_BYTES) + assembler.snapshot()
                await producer.send(changelog(AGENT).name, checkpoint, key_of(number), 0)
                sizes.append(len(checkpoint))
                offset += 1
            print(f"\r{len(sizes)} checkpoints", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    consumer = AIOKafkaConsumer(**stack.cluster.options(), group_id=consumer_group(AGENT))
    await consumer.start()
    consumer.assign([TopicPartition(MESSAGES.name, 0)])
    await consumer.commit({TopicPartition(MESSAGES.name, 0): offset})
    await consumer.stop()
    return sizes


def _script(stream_id: int, buffered: int) -> Iterator[Message]:
    """Yield the messages of a stream: one chunk of so many samples, then chunks of one."""
    call = Call(stream_id, [SourceTrack("caller", b"\xff")], datetime.now(UTC))
    opening = [message for _, message in messages(call)]
    yield from opening[:2]
    live = opening[2]
    for number in count(2):
        audio = b"\x55" * (buffered if number == 2 and buffered else 1)
        yield live | {"track_sequence_number": number, "media": base64.b64encode(audio).decode()}


def _encoded(writer: Writer, message: Message) -> bytes:
    now_us = int(time.time() * 1e6)
    accepted = parse(json.dumps(message), received_at_us=now_us, connection="benchmark", sender=None)
    assert isinstance(accepted, Accepted)
    content = accepted.content
    return content.encode(writer.header) if isinstance(content, LiveTrack) else writer.encode(content)


async def _reads_on_after_s(stack: Stack, number: int) -> float:
    """Start the agent; return how long after that it has written an event of a stream that is new."""
    stream_id = _PROBE + number
    async with _producing(stack) as producer:
        value = _encoded(Writer(MESSAGES), next(_script(stream_id, 0)))
        await producer.send_and_wait(MESSAGES.name, value, key_of(stream_id), 0)
    events = records(stack.cluster, TRACKS.name, from_beginning=True, exit_at_end=False)
    began_s = time.monotonic()
    await stack.start(AGENT, "worker", AGENT)
    async with asyncio.timeout(_PATIENCE_S):
        async for event in events:
            if event.key == key_of(stream_id):
                break
    took_s = time.monotonic() - began_s
    await events.aclose()
    await stack.stop(AGENT)
    return took_s
