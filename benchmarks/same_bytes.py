"""Compare two checkouts on the same input: whether they write the same bytes.

``python -m benchmarks.same_bytes OTHER_CHECKOUT``: misbehaving calls are played to the gateway of each, frame
by frame the same, and what each publishes is compared, but for ``received_at`` and ``connection``. Then the
agents of each read the same ``voxology.messages``: keys, values and headers of what they publish, the last
checkpoint of each stream, and every file in the store are compared. The other checkout is driven by its
command line alone (its ``.venv`` must be set up), so it may be of any layout. Status 1 when anything differs.
"""

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.codec import Reader
from schemas.topics import AGENTS, ALL_TOPICS, MESSAGES, RECORDINGS, changelog, consumer_group
from tapeline.emulator.faults import Faults, Step, misbehave
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.create import create_topics

FAULTS = Faults(
    loss=0.01, dup=0.02, reorder=0.03, burst=0.01, cut=0.01, no_end=0.15, wrong_duration=0.05, unknown=0.01,
    garbage=0.005,
)  # fmt: skip
PARTITIONS = 4
#: Streams without an end are closed after so long; all others by then.
IDLE_S = 5
SETTLE_S = 180

#: A record, but for where it lies and when it was stamped.
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


class Checkout(Stack):
    """A stack whose parts are those of another checkout, on a broker that is shared."""

    def __init__(self, folder: Path, tree: Path, kafka_port: int) -> None:
        settings = {
            "TAPELINE_PARTITIONS": str(PARTITIONS),
            "TAPELINE_IDLE_TIMEOUT_S": str(IDLE_S),
            "TAPELINE_PART_MS": "4000",
            "PYTHONPATH": str(tree),
            "PYTHONSAFEPATH": "1",  # or the working directory would come first
        }
        super().__init__(folder, kafka_port=kafka_port, settings=settings)
        self.python = str(tree / ".venv" / "bin" / "python")


def scripts(calls: int, seed: int) -> list[tuple[Call, list[Step]]]:
    """Return misbehaving calls of random audio; the same for the same seed."""
    chance = random.Random(seed)
    planned = []
    for stream_id in range(1, calls + 1):
        names = chance.choice([("caller", "transfer"), ("near", "far"), ("far",), ("a", "b", "c")])
        tracks = [
            SourceTrack(name, chance.randbytes(chance.randrange(8000, 120_000)), chance.randrange(2000))
            for name in names
        ]
        began = datetime(2026, 11, 1, 12, tzinfo=UTC)
        call = Call(
            stream_id,
            tracks,
            began,
            chance.choice((176, 20, 60)),
            call_id=f"{stream_id}@c",
            stream_data={"n": 1},
        )
        planned.append((call, misbehave(messages(call), FAULTS, seed, stream_id)))
    return planned


async def contents(kafka: str, topic: str) -> dict[int, list[Content]]:
    """Return all that a topic holds, by partition, in order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[int, list[Content]] = defaultdict(list)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                found[tp.partition] += [(r.key, r.value, tuple(r.headers)) for r in records]
        return found
    finally:
        await consumer.stop()


async def gateway_output(stack: Checkout, planned: list[tuple[Call, list[Step]]]) -> dict[str, list[Any]]:
    """Return what a gateway publishes of the calls, by stream, in order, without what no two runs share."""
    await stack.start_gateway()
    await asyncio.gather(*(play(call, stack.url, steps=steps, fast=True) for call, steps in planned))
    await stack.stop("gateway")
    reader = Reader()
    found: dict[str, list[Any]] = defaultdict(list)
    for records in (await contents(stack.kafka, MESSAGES.name)).values():
        for key, value, headers in records:
            record = reader.decode(value or b"")
            del record["received_at"], record["connection"]
            found[(key or b"").decode()].append((record, headers))
    return found


async def agents_output(stack: Checkout, streams: int) -> dict[str, Any]:
    """Return what the agents make of ``voxology.messages``, by topic and partition, and in the store."""
    await stack.start_agents()
    async with asyncio.timeout(SETTLE_S):
        while sum(map(len, (await contents(stack.kafka, RECORDINGS.name)).values())) < streams:
            stack.check()
            await asyncio.sleep(1)
    await asyncio.sleep(3)  # the last checkpoints, and the parts that are deleted
    await asyncio.gather(*(stack.stop(agent) for agent in AGENTS))
    found: dict[str, Any] = {}
    for topic in ALL_TOPICS:
        if topic is MESSAGES:
            continue
        records = await contents(stack.kafka, topic.name)
        if topic.name in {changelog(agent).name for agent in AGENTS}:
            # When a checkpoint is written depends on what a fetch brought; the last one does not.
            for number, written in records.items():
                for key, value, _ in written:
                    found[f"{topic.name}-{number} {(key or b'').decode()}"] = _untimed(topic.name, value)
        else:
            # In order is each stream alone: silence closes one while the next is read, or before.
            for number, written in records.items():
                for key, *content in written:
                    found.setdefault(f"{topic.name}-{number} {(key or b'').decode()}", []).append(content)
    for path in sorted(stack.store.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(stack.store))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _untimed(topic: str, checkpoint: bytes | None) -> Any:
    """Return a checkpoint without the Kafka timestamp of its last event, which no two runs share."""
    at = {changelog("measure").name: 1, changelog("record").name: 2}.get(topic)
    if at is None or checkpoint is None:
        return checkpoint
    state = msgspec.msgpack.decode(checkpoint[4:])
    state[at] = None
    return state


async def reset(stack: Stack, *, keep_messages: bool) -> None:
    """Empty the topics, and forget how far the agents had read."""
    admin = AdminClient({"bootstrap.servers": stack.kafka})  # aiokafka's cannot delete groups
    gone = [t.name for t in ALL_TOPICS if not (keep_messages and t is MESSAGES)]
    deleting = [
        *admin.delete_consumer_groups([consumer_group(agent) for agent in AGENTS]).values(),
        *admin.delete_topics(gone).values(),
    ]
    for deleted in deleting:
        with suppress(KafkaException):  # there was none
            await asyncio.to_thread(deleted.result)
    await asyncio.sleep(2)
    await create_topics(stack.cluster, PARTITIONS, 1)


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the names of what is not the same in both."""
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


async def run(folder: Path, other: Path, calls: int, seed: int) -> int:
    """Compare this checkout with another; the number of differences."""
    broker = Stack(folder / "broker", settings={"TAPELINE_PARTITIONS": str(PARTITIONS)})
    here = Path(__file__).parents[1]
    planned = scripts(calls, seed)
    try:
        await broker.start_broker()
        published, written = [], []
        for name, tree in (("this", here), ("other", other)):
            if published:
                await reset(broker, keep_messages=False)
            stack = Checkout(folder / f"{name}-gateway", tree, broker.kafka_port)
            published.append(await gateway_output(stack, planned))
        for name, tree in (("other", other), ("this", here)):
            await reset(broker, keep_messages=True)
            stack = Checkout(folder / f"{name}-agents", tree, broker.kafka_port)
            written.append(await agents_output(stack, calls))
    finally:
        await broker.stop_all()
    wrong = [f"gateway: stream {name}" for name in differing(*published)]
    wrong += [f"agents: {name}" for name in differing(*written)]
    records = sum(map(len, published[0].values()))
    outputs = sum(len(value) for value in written[0].values() if isinstance(value, list))
    print(f"{calls} calls: {records} records of the gateway, {outputs} of the agents")
    print(f"{len(written[0])} checkpoints, files and partitions compared")
    for name in wrong[:50]:
        print(f"differs: {name}")
    print(f"{len(wrong)} differences")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tapeline-same-") as scratch:
        sys.exit(1 if asyncio.run(run(Path(scratch), given.other.absolute(), given.calls, given.seed)) else 0)
