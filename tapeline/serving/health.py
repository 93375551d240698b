"""The admin endpoint: ``/healthz``, ``/readyz`` and ``/metrics``, of one process or of several together.

Both states are read from the metrics. Healthy: the loop of each part turned lately, and none stands still
although it has work and all that it needs answers; whatever is away outside makes no part unhealthy. Ready:
each part can do its work now.
"""

import asyncio
import errno
import platform
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from runtime.telemetry import BUILD, PROGRESS, READY
from schemas.errors import TapelineError
from schemas.skip import Skip
from tapeline.setting_values import host_port
from tapeline.settings import ADMIN_PORTS
from tapeline.version import tapeline_version

log = structlog.get_logger()

#: A loop that has not turned for so long is stuck.
STUCK_S = 60.0
#: How often a part says that its loop turns.
BEAT_S = 1.0


class AdminEndpointError(TapelineError):
    """The admin endpoint cannot listen."""


@dataclass(frozen=True, slots=True)
class State:
    """Whether all is well, and if not, what is not. As text: the body of the answer."""

    faults: tuple[str, ...]

    @property
    def status(self) -> int:
        """The HTTP status that says so."""
        return 503 if self.faults else 200

    def __str__(self) -> str:
        return "".join(f"{fault}\n" for fault in self.faults) or "ok\n"


def health(registry: CollectorRegistry, parts: Iterable[str], now_s: float) -> State:
    """Return whether each part is alive, by the metrics in a registry."""
    faults = []
    for part in parts:
        progress = registry.get_sample_value("tapeline_progress_timestamp_seconds", {"part": part})
        if progress is None:
            faults.append(f"{part} has not begun")
        elif now_s - progress > STUCK_S:
            faults.append(f"the event loop of {part} has not turned for {now_s - progress:.0f} s")
        if registry.get_sample_value("tapeline_stands_still", {"part": part}):
            faults.append(f"{part} stands still, although it has work and all that it needs answers")
    return State(tuple(faults))


def readiness(registry: CollectorRegistry, parts: Iterable[str]) -> State:
    """Return whether each part can do its work, by the metrics in a registry."""
    states = {part: registry.get_sample_value("tapeline_ready", {"part": part}) for part in parts}
    unready = [part for part, ready in states.items() if not ready]
    return State(
        (
            *(f"{part} is not ready" for part in unready),
            *_waiting(registry, unready),
            *_halted(registry, parts),
        )
    )


def _waiting(registry: CollectorRegistry, parts: Collection[str]) -> Iterator[str]:
    """Yield what parts wait for, outside of them."""
    for metric in registry.collect():
        for sample in metric.samples if metric.name == "tapeline_waiting_for" else ():
            if sample.value and sample.labels["part"] in parts:
                yield f"{sample.labels['part']} waits for {sample.labels['what']}"


def _halted(registry: CollectorRegistry, parts: Iterable[str]) -> Iterator[str]:
    """Yield the records that parts stand at, with what to do."""
    for metric in registry.collect():
        for sample in metric.samples if metric.name == "tapeline_agent_halted_offset" else ():
            if sample.value >= 0 and (part := sample.labels["part"]) in parts:
                place = Skip(sample.labels["topic"], int(sample.labels["partition"]), int(sample.value))
                yield (
                    f"{part} takes no more of {place.topic} {place.partition} from {place.offset} on; "
                    f"`{place.command}` sets that record aside (docs/operations.md)"
                )


class AdminEndpoint:
    """The HTTP server of the admin endpoint."""

    def __init__(self, parts: Iterable[str], processes_folder: str | None = None) -> None:
        """``processes_folder``: where several processes leave their metrics; None: this process alone."""
        self._parts = tuple(parts)
        self._registry = REGISTRY
        if processes_folder is not None:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry, processes_folder)  # type: ignore[no-untyped-call]
        self._runner: web.AppRunner | None = None

    async def start(self, listen: str | None) -> str:
        """Listen on host:port, or on the first free of ADMIN_PORTS; return the URL.

        Raise AdminEndpointError.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        if listen is not None:
            host, port = host_port(listen)
            ports = range(port, port + 1)
        else:
            host, ports = "127.0.0.1", ADMIN_PORTS
        for port in ports:
            try:
                await web.TCPSite(self._runner, host, port).start()
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port != ports[-1]:
                    continue
                await self._runner.cleanup()
                raise AdminEndpointError(f"{host}:{port} (TAPELINE_OPERATIONS): {error.strerror}") from error
            url = f"http://{host}:{port}"
            log.info("operations_listening", url=url)
            return url
        raise AssertionError("there is at least one port")

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        state = health(self._registry, self._parts, time.time())
        return web.Response(text=str(state), status=state.status)

    async def _ready(self, _: web.Request) -> web.Response:
        state = readiness(self._registry, self._parts)
        return web.Response(text=str(state), status=state.status)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


@asynccontextmanager
async def alive(part: str) -> AsyncIterator[None]:
    """Announce a part, not ready, and tell inside that its event loop turns, whatever it waits for."""

    async def beat() -> None:
        while True:
            PROGRESS.labels(part).set(time.time())
            await asyncio.sleep(BEAT_S)

    BUILD.labels(tapeline_version(), platform.python_version()).set(1)
    READY.labels(part).set(0)
    PROGRESS.labels(part).set(time.time())
    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        READY.labels(part).set(0)
