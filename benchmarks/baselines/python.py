"""Baselines in Python, each a process of its own: the limits of the packages in use, and plain versions.

``limit-producer``: aiokafka alone, with prepared records. ``limit-consumer``, ``limit-tracks``: aiokafka
alone, records discarded. ``plain-gateway``: websockets, json, ``send_and_wait``. ``plain-agent``: Faust with
a table.
"""

import asyncio
import base64
import json
import sys
import time
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ingest.protocol import Accepted, parse
from schemas.codec import Reader, Writer
from schemas.topics import MESSAGES, TRACKS, key_of

#: Topics like voxology.messages and voxology.tracks that the agents do not read.
MESSAGES_TOPIC, TRACKS_TOPIC = "bench.messages", "bench.tracks"


def _report(records: int, began: float, cpu: float) -> None:
    """Print the cost as one line of JSON, for the parent."""
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - began}
    print(json.dumps({"records": records} | spent), flush=True)


async def limit_producer(kafka: str, records: int, chunk_bytes: int) -> None:
    """Send prepared records as fast as aiokafka takes them."""
    media = base64.b64encode(bytes(range(256)) * (chunk_bytes // 256 + 1))[: chunk_bytes * 4 // 3 // 4 * 4]
    text = json.dumps(
        {
            "stream_id": 1,
            "type": "live_track",
            "stream_sequence_number": 2,
            "track_sequence_number": 2,
            "media": media.decode(),
            "call_id": "1@bench",
            "name": "caller",
        }
    )
    accepted = parse(text, received_at_us=time.time_ns() // 1000, connection="0123456789abcdef")
    assert isinstance(accepted, Accepted)
    writer = Writer(MESSAGES)
    value, headers = writer.encode(accepted.record), writer.headers("live_track")
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=512 * 1024,
        max_request_size=2 * 2**20,
    )
    await producer.start()
    began, cpu = time.monotonic(), time.process_time()
    waiting: list[Any] = []
    for number in range(records):
        waiting.append(await producer.send(MESSAGES_TOPIC, value, key=key_of(number % 100), headers=headers))
        if len(waiting) == 5000:
            await asyncio.gather(*waiting)
            waiting.clear()
    await producer.flush()
    _report(records, began, cpu)
    await producer.stop()


async def limit_consumer(kafka: str, records: int, chunk_bytes: int) -> None:
    """Fetch messages and discard them."""
    await _consume(kafka, MESSAGES_TOPIC, records)


async def limit_tracks(kafka: str, records: int, chunk_bytes: int) -> None:
    """Fetch all of voxology.tracks and discard it; ``records`` is the number of messages it came from."""
    await _consume(kafka, TRACKS.name, None, records)


async def _consume(kafka: str, topic: str, records: int | None, messages: int | None = None) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(topic, n) for n in await consumer_partitions(consumer, topic)]
    if records is None:
        records = sum((await consumer.end_offsets(partitions)).values())
    consumer.assign(partitions)
    await consumer.seek_to_beginning()
    began, cpu, read = time.monotonic(), time.process_time(), 0
    while read < records:
        for batch in (await consumer.getmany(timeout_ms=500, max_records=2000)).values():
            read += len(batch)
    _report(messages or read, began, cpu)
    await consumer.stop()


async def consumer_partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """Return the partitions of a topic, once the client knows it."""
    await consumer._client.force_metadata_update()
    consumer._client.add_topic(topic)
    await consumer._client.force_metadata_update()
    return set(consumer.partitions_for_topic(topic) or ())


async def plain_gateway(kafka: str, port: int, topic: str) -> None:
    """Run a gateway as the manuals of websockets and aiokafka teach it."""
    import io

    import fastavro
    from websockets.asyncio.server import serve

    from schemas.schema import bare_schema

    schema = bare_schema("Message")
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()

    async def handle(socket: Any) -> None:
        async for text in socket:
            message = json.loads(text)
            if message["type"] != "live_track":
                continue
            payload = {
                "name": message["name"],
                "track_sequence_number": message["track_sequence_number"],
                "media": base64.b64decode(message["media"]),
                "extra": None,
            }
            record = {
                "stream_id": message["stream_id"],
                "type": message["type"],
                "stream_sequence_number": message["stream_sequence_number"],
                "call_id": message["call_id"],
                "received_at": int(time.time() * 1e6),
                "connection": str(socket.id),
                "sender": None,
                "payload": ("tapeline.LiveTrack", payload),
            }
            out = io.BytesIO()
            fastavro.schemaless_writer(out, schema, record)
            await producer.send_and_wait(topic, out.getvalue(), key=str(message["stream_id"]).encode())

    async with serve(handle, "127.0.0.1", port):
        await asyncio.Event().wait()


def plain_agent(kafka: str, folder: str) -> None:
    """Run a worker as Faust's manual teaches it: an agent over events, a table, a topic to send to."""
    import faust

    app = faust.App(
        "bench-plain",
        broker=f"kafka://{kafka}",
        datadir=folder,
        web_enabled=False,
        topic_allow_declare=True,
        topic_replication_factor=1,
        topic_partitions=8,
        processing_guarantee="at_least_once",
        consumer_auto_offset_reset="earliest",
    )
    source = app.topic(MESSAGES.name, key_type=bytes, value_type=bytes, value_serializer="raw")
    out = app.topic(TRACKS_TOPIC, key_type=bytes, value_type=bytes, value_serializer="raw", partitions=8)
    chunks = app.Table("chunks", key_type=str, value_type=int, default=int, partitions=8)
    reader, writer = Reader(), Writer(TRACKS)
    assert writer

    @app.agent(source)
    async def reassemble(stream: Any) -> None:
        async for event in stream.events():
            record = reader.decode(event.value)
            if record["type"] == "live_track":
                track = f"{record['stream_id']}/{record['payload']['name']}"
                chunks[track] += 1
                await out.send(key=event.key, value=record["payload"]["media"])

    worker = faust.Worker(app, loglevel="error")
    worker.execute_from_commandline()


if __name__ == "__main__":
    name, kafka, *more = sys.argv[1:]
    if name == "plain-agent":
        plain_agent(kafka, *more)
    elif name == "plain-gateway":
        uvloop.run(plain_gateway(kafka, int(more[0]), more[1]))
    else:
        jobs: dict[str, Any] = {
            "limit-producer": limit_producer,
            "limit-consumer": limit_consumer,
            "limit-tracks": limit_tracks,
        }
        uvloop.run(jobs[name](kafka, *map(int, more)))
