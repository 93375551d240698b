"""Mutated messages and malformed frames: each is published, dead-lettered or refused."""

import asyncio
import json
import random
import struct
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psutil
from websockets.asyncio.client import connect

from benchmarks.hostile import HANDSHAKE
from benchmarks.scrape import scraped
from benchmarks.stages import UNLIMITED
from schemas.topics import DEAD_LETTERS, MESSAGES
from tapeline.emulator.voxology import Call, SourceTrack, messages
from tapeline.local.stack import Stack
from tapeline.topics.reader import entries

MESSAGES_SENT = 200_000
ROUND = 25_000
FRAMES_SENT = 10_000
SETTINGS = UNLIMITED | {
    "TAPELINE_MAX_DEAD_LETTERS_PER_CONNECTION": "1000000",
    "TAPELINE_MAX_STREAMS_PER_CONNECTION": "1000000",
    "TAPELINE_MAX_NEW_STREAMS_PER_S_OF_SENDER": "1000000",
    "TAPELINE_MAX_DEAD_LETTER_BYTES_PER_S_OF_SENDER": "1000000000",
    "TAPELINE_MAX_CPU_PERCENT_OF_SENDER": "100",
}
_ODD = ['""', "null", "-1", "1e400", "[]", "{}", "true", "9223372036854775808", '"\\ud800"', "[" * 500]


async def run(folder: Path) -> str:
    """Send both kinds; return a row for each, and the reconciliation with the log."""
    stack = Stack(folder, settings=SETTINGS)
    try:
        await stack.start_broker()
        await stack.start_gateway()
        gateway = psutil.Process(stack.processes["gateway"].pid)
        resident = []
        for seed in range(MESSAGES_SENT // ROUND):
            await _send_messages(stack, ROUND, seed)
            sent = await _settled(stack)
            resident.append(gateway.memory_info().rss)
        outcomes = await _send_frames(stack, FRAMES_SENT)
        frames = await _settled(stack) - sent
        resident.append(gateway.memory_info().rss)
        stack.check()
        await stack.stop("gateway")
        log = Counter[str]()
        for topic in (MESSAGES, DEAD_LETTERS):
            async for _ in entries(stack.cluster, topic, None):
                log[topic.name] += 1
        crashes = stack.log_of("gateway").read_text().count("Traceback")
    finally:
        await stack.stop_all()
    counted = sum((sent + frames).values())
    in_log = sum(log.values())
    reconciled = sent.total() == MESSAGES_SENT and counted == in_log and sum(outcomes.values()) == FRAMES_SENT
    return (
        "| what | sent | published | dead-lettered | connection refused or closed with a reason |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| messages | {MESSAGES_SENT} | {sent['published']} | {sent['rejected']} | 0 |\n"
        f"| raw frames, each on its own connection | {FRAMES_SENT} | {frames['published']} "
        f"| {frames['rejected']} | {outcomes['refused']} |\n\n"
        f"Reconciled: {'yes' if reconciled else 'NO'} (the gateway counted {counted} records, the log "
        f"holds {in_log}). Tracebacks in its log: {crashes}. Resident set after each {ROUND} messages, and "
        f"after the frames: {', '.join(f'{size / 2**20:.0f}' for size in resident)} MiB. "
        f"Raw frames: {', '.join(f'{count} {what}' for what, count in outcomes.items())}.\n"
    )


async def _settled(stack: Stack) -> Counter[str]:
    """Wait until every message received has an outcome; return how many were published and dead-lettered."""
    last: Counter[str] | None = None
    while True:
        found = await scraped(stack.operations["gateway"])
        counts = Counter(
            rejected=int(found.get("tapeline_gateway_messages_rejected_total", 0)),
            published=int(found.get("tapeline_gateway_records_published_total", 0)),
        )
        counts["published"] -= counts["rejected"]  # dead letters are records, too
        received = int(found["tapeline_gateway_messages_received_total"])
        if counts == last and received == counts.total() and not found["tapeline_gateway_memory_bytes"]:
            return counts
        last = counts
        await asyncio.sleep(1.2)


# Messages ------------------------------------------------------------------------------------------


def _mutated(text: str, source: random.Random) -> str | bytes:
    """Return a message, mutated or not."""
    match source.randrange(9):
        case 0:
            return text
        case 1:
            return text[: source.randrange(len(text))]
        case 2:
            place = source.randrange(len(text))
            return text[:place] + chr(source.randrange(0xD800)) + text[place + 1 :]
        case 3:
            place = source.randrange(len(text))
            return text[:place] + text[place : place + source.randrange(40)] * 2 + text[place:]
        case 4:
            return source.randbytes(source.randrange(200))
        case 5:
            message = json.loads(text)
            message.pop(source.choice(list(message)))
            return json.dumps(message)
        case 6:
            message = json.loads(text)
            name = source.choice(list(message))
            return text.replace(json.dumps(message[name]), source.choice(_ODD), 1)
        case 7:
            return json.dumps(json.loads(text) | {"type": source.choice(["", "later", "live_track", "é"])})
        case _:
            return source.choice(_ODD)


async def _send_messages(stack: Stack, count: int, seed: int) -> None:
    call = Call(1, [SourceTrack(n, bytes(16_000)) for n in ("caller", "transfer")], datetime.now(UTC))
    good = [json.dumps(message) for _, message in messages(call)]

    async def part(number: int) -> None:
        source = random.Random(f"{seed} {number}")
        async with connect(stack.url, compression=None) as connection:
            for _ in range(count // 10):
                await connection.send(_mutated(source.choice(good), source))
            await (await connection.ping())

    began_s = time.monotonic()
    await asyncio.gather(*(part(number) for number in range(10)))
    print(f"{count} messages in {time.monotonic() - began_s:.1f} s", file=sys.stderr)


# Frames --------------------------------------------------------------------------------------------


def _frame(source: random.Random) -> bytes:
    """Return a frame that may be malformed in any of its parts."""
    payload = source.randbytes(source.choice([0, 1, 5, 125, 126, 200, 3000]))
    first = source.choice([0x81, 0x82, 0x80, 0x01, 0x89, 0x8A, 0x88, source.randrange(256)])
    masked = 0x80 if source.random() < 0.9 else 0
    size = len(payload) if source.random() < 0.9 else source.choice([0, 2**16, 2**40, 2**63])
    head = bytes([first])
    if size < 126 and source.random() < 0.95:
        head += bytes([masked | size])
    elif size < 2**16:
        head += bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", size)
    return head + (bytes(4) if masked else b"") + payload


async def _send_frames(stack: Stack, count: int) -> Counter[str]:
    """Send each frame, then a ping: a pong means it was accepted, a close or an end that it was refused."""
    outcomes: Counter[str] = Counter()
    slots = asyncio.Semaphore(20)

    async def one(number: int) -> None:
        source = random.Random(number)
        async with slots:
            reader, writer = await asyncio.open_connection("127.0.0.1", stack.listen_port)
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_frame(source) + b"\x89\x84\0\0\0\0ping")
            try:
                async with asyncio.timeout(1):
                    answer = await reader.read(1000)
                    while (
                        b"\x8a\x04ping" not in answer
                        and answer[:1] != b"\x88"
                        and (more := await reader.read(1000))
                    ):
                        answer += more
                outcomes["accepted" if b"\x8a\x04ping" in answer else "refused"] += 1
            except (TimeoutError, ConnectionError) as error:
                # The gateway waits for the rest of what the frame announced.
                outcomes["unfinished" if isinstance(error, TimeoutError) else "refused"] += 1
            writer.close()

    await asyncio.gather(*(one(number) for number in range(count)))
    return outcomes
