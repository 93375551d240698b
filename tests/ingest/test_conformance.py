"""RFC 6455 and 7692, by the Autobahn cases, against an echo served with the gateway's own options.

The whole of section 12 and 13 (compression) takes five minutes; here it is its smallest messages:
``python -m benchmarks conformance`` runs every case.
"""

import pytest
from kosoku import FailureError, run_fuzzingclient
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ingest.config import Limits
from ingest.connection import server_options

#: The cases' largest messages have 16 MiB.
ROOM = 16 * 1024 * 1024

EXPECTED = {
    # After a close frame, websockets does not look at what comes: the case wants the second fragment of
    # a message, sent after the close, to change the close code.
    "7.1.5",
    # 4 MiB in more than 4096 fragments: websockets' own bound, which keeps a message of tiny fragments
    # from costing many times its size.
    *("9.3.1", "9.3.2", "9.4.1", "9.4.2"),
}


async def echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def failures(limits: Limits, **chosen: list[str]) -> set[str]:
    async with serve(echo, "127.0.0.1", 0, **server_options(limits)) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        try:
            results = await run_fuzzingclient(f"ws://127.0.0.1:{port}", concurrency=4, **chosen)
        except FailureError as error:
            results = error.results
    assert len(results) > 30
    return {result.case_id for result in results if result.behavior.value in ("FAILED", "ERROR")}


@pytest.mark.timeout(150)
async def test_every_case_without_compression() -> None:
    failed = await failures(Limits(max_message_bytes=ROOM), exclude_cases=["12.*", "13.*"])
    assert failed == EXPECTED


async def test_compression_on_small_messages() -> None:
    cases = [f"{section}.{number}" for section in ("12.1", "12.2", "13.1", "13.3") for number in range(1, 5)]
    chosen = [*cases, *(f"12.{n}.1" for n in range(3, 6)), *(f"13.{n}.1" for n in range(2, 8)), "1.1.*"]
    limits = Limits(max_message_bytes=ROOM, compression=True)
    assert await failures(limits, cases=chosen) == set()
