"""CPU a message in assemble's core, against the length of calls and the number of open streams."""

import random
import time
from pathlib import Path

from benchmarks.plots import plot
from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.config import CheckpointConfig
from processors.core.partition import Partition
from processors.core.processor import Rejected
from schemas.codec import Reader, Writer
from schemas.events import Event
from schemas.live_track import LiveTrack
from schemas.schema import Record
from schemas.topics import MESSAGES, TRACKS

MINUTES = (1, 10, 60, 480)
STREAMS = (10, 100, 1_000, 10_000)
CHUNK_MS = 176
#: Messages of each stream where their number is what varies.
EACH = 24


async def run(folder: Path) -> str:
    """Measure decoding, reassembly, checkpoints and encoding: the work of assemble without Kafka."""
    by_length = [(minutes, _cost(2, minutes * 60_000 // CHUNK_MS)) for minutes in MINUTES]
    by_streams = [(streams, _cost(streams, EACH)) for streams in STREAMS]
    for name, label, series in (
        ("growth-length", "length of a call, minutes", by_length),
        ("growth-streams", "open streams", by_streams),
    ):
        with plot(name, label, "CPU a message, µs", (6.0, 3.5)) as axes:
            axes.plot([x for x, _ in series], [cost for _, cost in series], marker="o")
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
    rows = [f"| 2 calls of {minutes} min | {cost:.1f} µs |\n" for minutes, cost in by_length]
    rows += [f"| {streams:,} streams open | {cost:.1f} µs |\n" for streams, cost in by_streams]
    return "| | CPU a message |\n| --- | --- |\n" + "".join(rows)


def _cost(streams: int, chunks: int) -> float:
    """Return the CPU a message, in microseconds, of concurrent streams whose chunks come in turn."""
    config = AssemblyConfig()
    partition: Partition[Record, Event | Rejected] = Partition(
        lambda record, at, at_ms, _: StreamAssembler.begun_by(record, at, at_ms, 0, config),
        CheckpointConfig(),
    )
    reader, writer, header = Reader(), Writer(TRACKS), Writer(MESSAGES).header
    media = random.Random(1).randbytes(8 * CHUNK_MS)
    offset, spent = 0, 0.0
    for number in range(1, chunks + 1):
        at_us = number * CHUNK_MS * 1000
        values = [
            (
                stream_id,
                LiveTrack(
                    stream_id, number, "call", at_us, "0123456789abcdef", None, name, number, media
                ).encode(header),
            )
            for stream_id in range(streams)
            for name in ("caller", "transfer")
        ]
        began = time.process_time()
        for stream_id, value in values:
            for event in partition.feed(str(stream_id), reader.decode(value), offset, at_us // 1000):
                if isinstance(event, Event):
                    writer.encode(event.to_record())
            offset += 1
            if not offset % 250:
                for checkpoint in partition.due():
                    partition.saved(checkpoint)
        spent += time.process_time() - began
    return spent / offset * 1e6
