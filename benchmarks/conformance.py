"""Every Autobahn case, compression included, against an echo with the gateway's options."""

import time
from collections import Counter
from pathlib import Path

from kosoku import FailureError, run_fuzzingclient
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ingest.config import Limits
from ingest.connection import server_options


async def _echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def run(_: Path) -> str:
    """Return the verdicts as a table, and the failed cases by name."""
    limits = Limits(max_message_bytes=16 * 1024 * 1024, compression=True)
    began_s = time.monotonic()
    async with serve(_echo, "127.0.0.1", 0, **server_options(limits)) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        try:
            results = await run_fuzzingclient(f"ws://127.0.0.1:{port}", concurrency=4)
        except FailureError as error:
            results = error.results
    verdicts = Counter(result.behavior.value for result in results)
    failed = [r.case_id for r in results if r.behavior.value in ("FAILED", "ERROR")]
    rows = "".join(f"| {verdict} | {count} |\n" for verdict, count in verdicts.most_common())
    return (
        f"| verdict | cases |\n| --- | --- |\n{rows}\nIn {time.monotonic() - began_s:.0f} s. "
        f"Failed: {', '.join(failed)}.\n"
    )
