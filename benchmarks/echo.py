"""The gateway's front, on the gateway's own event loop, with an echo behind it: what conformance is tried on.

``python -m benchmarks.echo [--compression] [CERTIFICATE KEY]`` prints its port.
"""

import argparse
import asyncio
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from ingest.config import GatewayConfig, Limits
from ingest.connection import Connection, ConnectionContext
from ingest.credentials import Certificate
from ingest.limits import ConnectionCounts
from ingest.listener import Listener
from runtime.cluster import Cluster
from tapeline.options import run

#: The cases' largest messages have 16 MiB.
ROOM = 16 * 1024 * 1024
#: They are sent as fast as they go, in up to a million fragments.
FRAMES_PER_S = 10_000_000


async def _echo(connection: Connection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def _serve(limits: Limits, certificate: Certificate | None) -> None:
    config = GatewayConfig(Cluster("none"), "127.0.0.1", 0, limits=limits)
    context = ConnectionContext(
        config, ConnectionCounts(limits), closed=lambda: None, certificate=certificate
    )
    listener = Listener(_echo, context, shares_port=False)
    await listener.open(config.host, config.port)
    print(listener.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--compression", action="store_true")
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    run(
        _serve(
            Limits(max_message_bytes=ROOM, max_messages_per_s=FRAMES_PER_S, compression=given.compression),
            Certificate(*given.files) if given.files else None,
        )
    )
