"""Running the baselines as processes of their own, and measuring them as the stages are measured."""

import asyncio
import json
import sys

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.baselines.python import MESSAGES_TOPIC, TRACKS_TOPIC
from benchmarks.load import Load, play
from benchmarks.stages import Cost, Watch
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack

_MODULE = "benchmarks.baselines.python"
#: The plain gateway is slow: it gets this fraction of the load.
_PLAIN_FRACTION = 10
_PARTITIONS = 8


async def make_topics(stack: Stack) -> None:
    """Create the topics of the baselines."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    config = {"max.message.bytes": "2097152"}
    topics = (MESSAGES_TOPIC, TRACKS_TOPIC)
    await admin.create_topics([NewTopic(topic, _PARTITIONS, 1, topic_configs=config) for topic in topics])
    await admin.close()


async def run_limit(stack: Stack, name: str, messages: int, load: Load) -> Cost:
    """Measure one of the limits of ``baselines.python``, which measures itself."""
    arguments = (stack.kafka, str(messages), str(load.chunk_ms * 8))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _MODULE, name, *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return Cost(**json.loads(out))


async def run_plain_gateway(stack: Stack, load: Load) -> Cost:
    """Measure the plain gateway on a part of the load."""
    chunks = load.chunks // _PLAIN_FRACTION
    part = Load(load.first_stream_id + 500, load.calls, chunks, load.chunk_ms, real_time=False)
    return await run_gateway(stack, part, sys.executable, "-m", _MODULE, "plain-gateway")


async def run_gateway(stack: Stack, load: Load, *command: str) -> Cost:
    """Measure a gateway that is started with the broker, a port and a topic, and publishes only chunks."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(*command, stack.kafka, str(port), MESSAGES_TOPIC)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.1)
    watch = Watch(psutil.Process(process.pid))
    before = await _count(stack, MESSAGES_TOPIC)
    watch.begin()
    playing = asyncio.create_task(play(load, port))
    while not playing.done() or await _count(stack, MESSAGES_TOPIC) < before + load.calls * load.chunks * 2:
        watch.sample_memory()
        await asyncio.sleep(0.25)
    cost = watch.cost(load.messages)
    process.kill()
    await process.wait()
    return cost


async def run_plain_agent(stack: Stack) -> Cost:
    """Measure ten seconds of the plain agent on voxology.messages, without its start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _MODULE, "plain-agent", stack.kafka, str(stack.folder / "plain")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    watch = Watch(psutil.Process(process.pid))
    while not await _count(stack, TRACKS_TOPIC):
        assert process.returncode is None, "the plain agent ended"
        await asyncio.sleep(1)
    before = await _count(stack, TRACKS_TOPIC)
    watch.begin()
    await asyncio.sleep(10)
    after = await _count(stack, TRACKS_TOPIC)
    cost = watch.cost(max(1, after - before))
    process.kill()
    await process.wait()
    return cost


async def _count(stack: Stack, topic: str) -> int:
    """Return how many records a topic holds; 0 where it does not exist yet."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka)
    await consumer.start()
    try:
        if topic not in await consumer.topics():
            return 0
        partitions = [TopicPartition(topic, n) for n in range(_PARTITIONS)]
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()
