"""The admin endpoint: what it answers, and where it listens."""

import socket

import pytest
from prometheus_client import CollectorRegistry, Gauge
from support import ask

from tapeline.serving.health import AdminEndpoint, AdminEndpointError, alive, health, readiness
from tapeline.settings import ADMIN_PORTS


def test_a_stopped_agent_is_not_healthy() -> None:
    registry = CollectorRegistry()
    progress = Gauge("tapeline_progress_timestamp_seconds", "", ["part"], registry=registry)
    ready = Gauge("tapeline_ready", "", ["part"], registry=registry)
    assert str(health(registry, ["record"], 0)) == "record has not begun\n"
    progress.labels("record").set(1000)
    ready.labels("record").set(1)
    assert health(registry, ["record"], 1059).status == 200
    stuck = health(registry, ["record"], 1061)
    assert (stuck.status, str(stuck)) == (503, "the event loop of record has not turned for 61 s\n")
    assert readiness(registry, ["record"]).status == 200
    assert str(readiness(registry, ["record", "measure"])) == "measure is not ready\n"


def test_a_part_that_stands_still_is_not_healthy_whatever_its_loop_does() -> None:
    registry = CollectorRegistry()
    Gauge("tapeline_progress_timestamp_seconds", "", ["part"], registry=registry).labels("record").set(1000)
    still = Gauge("tapeline_stands_still", "", ["part"], registry=registry).labels("record")
    assert health(registry, ["record"], 1001).status == 200
    still.set(1)
    assert str(health(registry, ["record"], 1001)) == (
        "record stands still, although it has work and all that it needs answers\n"
    )


def test_what_an_unready_part_waits_for_is_told() -> None:
    registry = CollectorRegistry()
    ready = Gauge("tapeline_ready", "", ["part"], registry=registry)
    waiting = Gauge("tapeline_waiting_for", "", ["part", "what"], registry=registry)
    for part in ("gateway", "record"):
        waiting.labels(part, "kafka").set(1)
        waiting.labels(part, "store").set(0)
    ready.labels("gateway").set(1)  # its spool takes what comes
    assert str(readiness(registry, ["gateway", "record"])) == "record is not ready\nrecord waits for kafka\n"


async def test_it_answers_for_its_parts() -> None:
    endpoint = AdminEndpoint(["a part of this test", "another"])
    url = await endpoint.start(None)
    async with alive("a part of this test"):
        assert int(url.rpartition(":")[2]) in ADMIN_PORTS
        assert await ask(f"{url}/healthz") == (503, "another has not begun\n")
        assert await ask(f"{url}/readyz") == (503, "a part of this test is not ready\nanother is not ready\n")
        status, text = await ask(f"{url}/metrics")
        assert status == 200
        assert 'tapeline_ready{part="a part of this test"} 0.0' in text
        assert (await ask(f"{url}/"))[0] == 404
    await endpoint.stop()
    assert await ask(f"{url}/healthz") == (0, "")


async def test_two_of_them_find_a_port_each() -> None:
    endpoints = [AdminEndpoint([]), AdminEndpoint([])]
    try:
        urls = [await endpoint.start(None) for endpoint in endpoints]
        assert len(set(urls)) == 2
    finally:
        for endpoint in endpoints:
            await endpoint.stop()


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AdminEndpointError, match=f"{listen} .TAPELINE_OPERATIONS."):
            await AdminEndpoint([]).start(listen)


def test_a_part_that_stands_at_a_record_says_where_and_what_to_do() -> None:
    registry = CollectorRegistry()
    Gauge("tapeline_ready", "", ["part"], registry=registry).labels("assemble").set(0)
    labels = ["part", "topic", "partition"]
    halted = Gauge("tapeline_agent_halted_offset", "", labels, registry=registry)
    halted.labels("assemble", "voxology.messages", 3).set(17)
    halted.labels("assemble", "voxology.messages", 4).set(-1)
    halted.labels("measure", "voxology.tracks", 5).set(0)
    assert str(readiness(registry, ["assemble"])) == (
        "assemble is not ready\n"
        "assemble takes no more of voxology.messages 3 from 17 on; `tapeline skip voxology.messages 3 17` "
        "sets that record aside (docs/operations.md)\n"
    )
    assert "voxology.tracks 5 0" in str(readiness(registry, ["measure"]))
