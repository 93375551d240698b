"""Every Autobahn case, compression included, against the gateway's front: plain, and through TLS."""

import asyncio
import contextlib
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import trustme
from kosoku import FailureError, run_fuzzingclient


@contextlib.asynccontextmanager
async def echoing(*arguments: str) -> AsyncIterator[int]:
    """Run ``benchmarks.echo`` as a process; its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.echo", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def through_tls(folder: Path, *arguments: str) -> AsyncIterator[int]:
    """Run the same with TLS; the port of a tunnel to it, as the cases' client trusts no authority of ours."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    tls = ssl.create_default_context()
    authority.configure_trust(tls)

    async def pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        writer.close()  # TLS ends both ways at once

    async with echoing(*arguments, str(certificate), str(key)) as port:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost")
            await asyncio.gather(pumped(reader, there[1]), pumped(there[0], writer))

        async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]


async def results(port: int, **chosen: Sequence[str]) -> list[Any]:
    """Return what became of each case."""
    try:
        found = await run_fuzzingclient(f"ws://127.0.0.1:{port}", concurrency=4, **chosen)
    except FailureError as error:
        found = error.results
    return list(found)


def failed(found: Sequence[Any]) -> set[str]:
    """Return the cases that went wrong."""
    return {result.case_id for result in found if result.behavior.value in ("FAILED", "ERROR")}


async def run(folder: Path) -> str:
    """Return the verdicts as a table, and the failed cases by name."""
    text = "| | verdict | cases |\n| --- | --- | --- |\n"
    said = []
    for name, serving in (("plain", echoing("--compression")), ("TLS", through_tls(folder, "--compression"))):
        began_s = time.monotonic()
        async with serving as port:
            found = await results(port)
        verdicts = Counter(result.behavior.value for result in found)
        text += "".join(f"| {name} | {verdict} | {count} |\n" for verdict, count in verdicts.most_common())
        wrong = ", ".join(sorted(failed(found)))
        said.append(f"{name}: {time.monotonic() - began_s:.0f} s, failed: {wrong}.")
    return f"{text}\n{' '.join(said)}\n"
