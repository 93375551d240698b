"""The load generator: calls as prepared bytes, from a process too cheap to limit what is measured."""

import asyncio
import base64
import json
import struct
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import uvloop

TRACKS = ("caller", "transfer")
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Load:
    """Concurrent calls of two tracks, each over its own connection."""

    first_stream_id: int
    calls: int
    chunks: int
    """Of each track."""
    chunk_ms: int
    real_time: bool

    @property
    def messages(self) -> int:
        """Number of messages of all calls."""
        return self.calls * (2 + len(TRACKS) * (self.chunks + 2))


async def play(load: Load, port: int) -> tuple[int, "np.ndarray", "np.ndarray"]:
    """Run the load; return the exit status, and the times of each chunk and each end_stream in epoch ms.

    Shapes of the times: (calls, chunks, tracks) and (calls,).
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", str(port), json.dumps(asdict(load))),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    times = np.frombuffer(out, np.float64)
    chunks = load.calls * load.chunks * len(TRACKS)
    return process.returncode or 0, times[:chunks].reshape(load.calls, load.chunks, -1), times[chunks:]


def _frame(message: dict[str, object]) -> bytes:
    """Return a masked text frame; the mask is zero, so the payload stays as it is."""
    text = json.dumps(message).encode()
    length = struct.pack("!BH", 0x80 | 126, len(text)) if len(text) > 125 else bytes([0x80 | len(text)])
    return b"\x81" + length + bytes(4) + text


class _Call:
    def __init__(self, stream_id: int, load: Load, media: str, transport: asyncio.Transport) -> None:
        self._media = media
        self._stream = {"stream_id": stream_id, "call_id": f"{stream_id}@bench"}
        self.transport = transport
        self._load = load

    def _message(self, kind: str, **fields: object) -> bytes:
        return _frame(self._stream | {"type": kind, "stream_sequence_number": 1} | fields)

    def begin(self) -> None:
        media_format = {"encoding": "ulaw", "type": "text", "sample_rate": 8000}
        self.transport.write(self._message("init_stream", tracks=[{"name": name} for name in TRACKS]))
        for name in TRACKS:
            start = self._message(
                "start_track", name=name, track_sequence_number=1, media_format=media_format
            )
            self.transport.write(start)

    def chunk(self, number: int) -> None:
        numbers = {"stream_sequence_number": number, "track_sequence_number": number}
        for name in TRACKS:
            self.transport.write(self._message("live_track", **numbers, media=self._media, name=name))

    def end(self) -> None:
        for name in TRACKS:
            self.transport.write(
                self._message("stop_track", name=name, track_sequence_number=self._load.chunks + 2)
            )
        self.transport.write(self._message("end_stream", tracks=[{"name": name} for name in TRACKS]))


async def _send(port: int, load: Load) -> None:
    media = base64.b64encode(np.random.default_rng(1).bytes(8 * load.chunk_ms)).decode()
    calls, writers = [], []
    for number in range(load.calls):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        calls.append(_Call(load.first_stream_id + number, load, media, writer.transport))
        writers.append(writer)
    chunks, ends = np.zeros((load.calls, load.chunks, len(TRACKS))), np.zeros(load.calls)
    began, pace = time.monotonic(), load.chunk_ms / 1000
    for call in calls:
        call.begin()
    for k in range(load.chunks):
        for number, call in enumerate(calls):
            if load.real_time:
                # The calls' phases are spread over the length of a chunk.
                wait = began + (k + 1 + number / load.calls) * pace - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                elif number % 50 == 0:
                    await asyncio.sleep(0)
            chunks[number, k] = time.time() * 1000
            call.chunk(k + 2)
        if not load.real_time:
            await asyncio.gather(*(writer.drain() for writer in writers))
    for number, call in enumerate(calls):
        if load.real_time:
            await asyncio.sleep(
                max(0.0, began + (load.chunks + 1 + number / load.calls) * pace - time.monotonic())
            )
        ends[number] = time.time() * 1000
        call.end()
    for writer in writers:
        await writer.drain()
        writer.write(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    sys.stdout.buffer.write(chunks.tobytes() + ends.tobytes())


if __name__ == "__main__":
    uvloop.run(_send(int(sys.argv[1]), Load(**json.loads(sys.argv[2]))))
