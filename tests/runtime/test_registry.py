"""The client of a schema registry, against one that listens, and that is in trouble."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from registry_server import RegistryServer, registry_server
from structlog.testing import capture_logs

from runtime import telemetry
from runtime.registry import (
    ConfluentRegistry,
    RegistryAwayError,
    registry_from,
    while_registry_away,
    writer_for,
)
from runtime.registry_config import RegistryConfig, RegistryConfigError
from runtime.waiting import Waiting
from schemas.errors import ENVIRONMENTAL, UnknownSchemaError
from schemas.schema import fingerprint, schema
from schemas.topics import RECORDINGS


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as server:
        yield server


def client(server: RegistryServer, lag_s: float = 0.0, **config: object) -> ConfluentRegistry:
    return ConfluentRegistry(RegistryConfig(server.url, **config), lag_s)  # type: ignore[arg-type]


def test_without_a_url_there_is_no_registry() -> None:
    assert registry_from(None) is None


async def test_a_schema_is_registered_once_and_found_by_its_id(server: RegistryServer) -> None:
    registry = client(server)
    first = await registry.register("a-value", schema("Message"))
    assert await registry.register("a-value", schema("Message")) == first
    other = await registry.register("b-value", schema("RecordingEvent"))
    assert other != first
    assert fingerprint(await client(server).schema_by_id(other)) == fingerprint(schema("RecordingEvent"))


async def test_a_schema_is_asked_for_once(server: RegistryServer) -> None:
    registry = client(server)
    number = await registry.register("a-value", schema("Message"))
    found = await registry.schema_by_id(number)
    server.trouble = 503
    assert await registry.schema_by_id(number) is found, "the registry is away, and not asked"


async def test_an_id_that_nobody_registered_is_an_unknown_schema(server: RegistryServer) -> None:
    with pytest.raises(UnknownSchemaError, match="schema id 9"):
        await client(server).schema_by_id(9)


async def test_what_a_lagging_registry_does_not_know_yet_is_asked_for_again(server: RegistryServer) -> None:
    registry = client(server, lag_s=30)
    asked = asyncio.create_task(registry.schema_by_id(1))
    while not server.requests:
        await asyncio.sleep(0.01)
    await client(server).register("a-value", schema("Message"))
    assert fingerprint(await asked) == fingerprint(schema("Message"))


async def test_what_was_unknown_is_not_asked_for_with_each_record(server: RegistryServer) -> None:
    registry = client(server, lag_s=0.6)
    for _ in range(3):
        with pytest.raises(UnknownSchemaError):
            await registry.schema_by_id(9)
    assert server.requests <= 3, "of the first time"


@pytest.mark.parametrize("trouble", [401, 409, 422, 500, 503, "html", "empty"])
async def test_a_registry_in_trouble_makes_no_schema_unknown(
    server: RegistryServer, trouble: int | str
) -> None:
    """The record is not to blame: it goes through when the registry is back."""
    server.trouble = trouble
    registry = client(server)
    for asked in (registry.schema_by_id(1), registry.register("a-value", schema("Message"))):
        with pytest.raises(RegistryAwayError, match=f"{server.url}.*TAPELINE_REGISTRY") as raised:
            await asked
        assert isinstance(raised.value, ENVIRONMENTAL)
        assert len(str(raised.value)) < 500, "a line of a log"
        assert "\n" not in str(raised.value)
    server.trouble = None
    assert await registry.register("a-value", schema("Message")) == 1
    assert fingerprint(await registry.schema_by_id(1)) == fingerprint(schema("Message"))


async def test_a_registry_that_listens_no_more_is_away() -> None:
    with registry_server() as gone:
        pass
    with pytest.raises(RegistryAwayError):
        await client(gone).schema_by_id(1)


@pytest.mark.parametrize("trouble", ["hang", "trickle"])
async def test_a_registry_that_does_not_answer_keeps_nobody_waiting(
    server: RegistryServer, trouble: str
) -> None:
    server.trouble = trouble
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    turning = asyncio.create_task(turn())
    try:
        with pytest.raises(RegistryAwayError, match=r"no answer within 1\.5 s .TAPELINE_REGISTRY_TIMEOUT_S."):
            await client(server, timeout_s=1.5).schema_by_id(1)
    finally:
        turning.cancel()
    assert turns > 5


async def test_what_waits_for_it_can_be_cancelled(server: RegistryServer) -> None:
    server.trouble = "hang"
    waiting = asyncio.create_task(client(server).schema_by_id(1))
    await asyncio.sleep(0.2)
    waiting.cancel()
    began_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - began_s < 5


async def test_a_service_waits_and_says_so_at_once(server: RegistryServer) -> None:
    server.trouble = 409
    registry = client(server)
    waiting = Waiting("a part", "registry")
    with capture_logs() as logs:
        making = asyncio.create_task(while_registry_away(lambda: writer_for(RECORDINGS, registry), waiting))
        while not waiting.waits:
            await asyncio.sleep(0.01)
        assert telemetry.WAITING.labels("a part", "registry")._value.get() == 1
        server.trouble = None
        writer = await making
    assert writer.header == b"\0\0\0\0\1"
    assert telemetry.WAITING.labels("a part", "registry")._value.get() == 0
    assert [line["event"] for line in logs] == ["waiting_for_registry", "registry_answers"]
    assert "of no use: 409" in logs[0]["reason"]


async def test_without_a_registry_a_writer_needs_nobody() -> None:
    assert (await writer_for(RECORDINGS, None)).header[:2] == b"\xc3\x01"


async def test_schemas_that_are_only_looked_up_are_registered_by_others(server: RegistryServer) -> None:
    registry = client(server, lookup_only=True)
    with pytest.raises(RegistryAwayError, match="Subject 'a-value' not found"):
        await registry.register("a-value", schema("Message"))
    assert server.schemas == []
    number = await client(server).register("a-value", schema("Message"))
    assert await registry.register("a-value", schema("Message")) == number


async def test_it_asks_by_its_name_and_tells_nobody_the_password(server: RegistryServer) -> None:
    server.credentials = "us:se/c:ret"
    by_settings = RegistryConfig(server.url, "us", "se/c:ret")
    in_url = RegistryConfig(server.url.replace("http://", "http://us:se%2Fc%3Aret@"))
    for config in (by_settings, in_url):
        assert await ConfluentRegistry(config).register("a-value", schema("Message")) == 1
        assert str(config) == server.url
        assert "ret" not in repr(config)
    for wrong in (RegistryConfig(server.url), RegistryConfig(server.url, "us", "wr0ng")):
        with pytest.raises(RegistryAwayError, match="HTTP status 401") as raised:
            await ConfluentRegistry(wrong).register("a-value", schema("Message"))
        assert "wr0ng" not in str(raised.value)


async def test_over_tls_it_trusts_the_ca_and_shows_its_certificate(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("a-client").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    with registry_server(tls=tls) as server:
        known = {"ca": tmp_path / "ca.pem", "certificate": tmp_path / "client.pem"}
        assert await client(server, **known).register("a-value", schema("Message")) == 1
        with pytest.raises(RegistryAwayError):
            await client(server).register("b-value", schema("Metrics"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"url": "registry:8081"}, "TAPELINE_REGISTRY='…' is no URL"),
        ({"url": "http://"}, "is no URL"),
        ({"url": "http://r:x"}, "is no URL"),
        ({"url": "ftp://us:secret@r"}, "'ftp://r' is no URL"),
        ({"url": "http://r", "username": "us"}, "TAPELINE_REGISTRY_PASSWORD"),
        ({"url": "https://r", "key": Path("k")}, "TAPELINE_REGISTRY_CERTIFICATE"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config: dict[str, object], says: str) -> None:
    with pytest.raises(RegistryConfigError, match=says):
        RegistryConfig(**config)  # type: ignore[arg-type]


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryConfigError, match="_CA"):
        ConfluentRegistry(RegistryConfig("https://r", ca=tmp_path / "none.pem"))
