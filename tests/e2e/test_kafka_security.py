"""Kafka with SASL and TLS: the gateway, an agent and the tools, on the embedded broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from support import tapeline

from schemas.topics import ALL_TOPICS
from tapeline.emulator.player import play
from tapeline.emulator.voxology import Call, SourceTrack
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack

PASSWORD = "it is a secret"


@dataclass
class Secured:
    """A broker with a listener of each kind; the settings of a client for each."""

    stack: Stack
    kinds: dict[str, dict[str, str]]


def pem(authority: trustme.CA, folder: Path, name: str) -> tuple[Path, Path]:
    issued = authority.issue_cert("127.0.0.1", "localhost", common_name=name)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def properties(ports: dict[str, int], plain: int, folder: Path, authority: trustme.CA) -> str:
    certificate, key = pem(authority, folder, "broker")
    # Java reads PKCS #8 only.
    from cryptography.hazmat.primitives import serialization

    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    store = folder / "keystore.pem"
    store.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.read_bytes()
    )
    trust = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(trust))
    listeners = [f"PLAINTEXT://127.0.0.1:{plain}", "CONTROLLER://127.0.0.1:CONTROLLER_PORT"]
    listeners += [f"{name}://127.0.0.1:{port}" for name, port in ports.items()]
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_tapeline="{PASSWORD}";'
    lines = {
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(x for x in listeners if not x.startswith("CONTROLLER")),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PLAIN:SASL_PLAINTEXT,"
        "SCRAM:SASL_SSL,MUTUAL:SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(trust),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plain.plain.sasl.jaas.config": login,
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.scram.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.scram.scram-sha-512.sasl.jaas.config": scram,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    ports = {name: free_port() for name in ("PLAIN", "SCRAM", "MUTUAL")}
    stack = Stack(folder, settings={"TAPELINE_PARTITIONS": "2"})
    file = folder / "more.properties"
    text = properties(ports, stack.kafka_port, folder, authority)
    controller = free_port()
    text = text.replace("CONTROLLER_PORT", str(controller))
    text += f"controller.quorum.voters=1@127.0.0.1:{controller}\n"
    file.write_text(text)
    certificate, key = pem(authority, folder, "client")
    named = {"TAPELINE_KAFKA_USERNAME": "tapeline", "TAPELINE_KAFKA_PASSWORD": PASSWORD}
    trust = {"TAPELINE_KAFKA_CA": str(folder / "ca.pem")}

    def kind(listener: str, security: str, **more: str) -> dict[str, str]:
        return {
            "TAPELINE_KAFKA": f"127.0.0.1:{ports[listener]}",
            "TAPELINE_KAFKA_SECURITY": security,
            **more,
        }

    scram = {**named, **trust}
    kinds = {
        "plain": kind("PLAIN", "SASL_PLAINTEXT", TAPELINE_KAFKA_MECHANISM="PLAIN", **named),
        "scram-256": kind("SCRAM", "SASL_SSL", TAPELINE_KAFKA_MECHANISM="SCRAM-SHA-256", **scram),
        "scram-512": kind("SCRAM", "SASL_SSL", **scram),
        "mutual": kind(
            "MUTUAL",
            "SSL",
            TAPELINE_KAFKA_CERTIFICATE=str(certificate),
            TAPELINE_KAFKA_KEY=str(key),
            **trust,
        ),
    }
    try:
        await stack.start_broker(properties=file)
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            wanted = UserScramCredentialUpsertion(
                "tapeline", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode()
            )
            for future in admin.alter_user_scram_credentials([wanted]).values():
                await asyncio.wrap_future(future)
        yield Secured(stack, kinds)
    finally:
        await stack.stop_all()


@pytest.mark.parametrize("kind", ["plain", "scram-256", "scram-512", "mutual"])
async def test_tools_get_in(secured: Secured, kind: str) -> None:
    environment = secured.stack.environment | secured.kinds[kind]
    status, out, error = await tapeline("topics", environment=environment)
    assert (status, out.count("exists")) == (0, len(ALL_TOPICS)), error
    arguments = ("tap", "voxology.messages", "--from-beginning", "--exit-at-end")
    status, _, error = await tapeline(*arguments, environment=environment)
    assert status == 0, error


@pytest.mark.timeout(150)
@pytest.mark.parametrize("kind", ["scram-512", "mutual"])
async def test_the_gateway_and_an_agent_get_in(secured: Secured, kind: str) -> None:
    stack, settings = secured.stack, secured.kinds[kind]
    number = 1 + list(secured.kinds).index(kind)
    await stack.start("gateway", "gateway", settings=settings)
    await stack._or_death("gateway", stack._listening())
    await stack.start("assemble", "worker", "assemble", settings=settings)
    await play(Call(number, [SourceTrack("far", bytes(8000))], datetime.now(UTC)), stack.url, fast=True)
    arguments = ("tap", "voxology.tracks", "--from-beginning", "--exit-at-end")
    async with asyncio.timeout(60):
        closed = False
        while not closed:
            stack.check()
            _, out, _ = await tapeline(*arguments, environment=stack.environment | settings)
            events = [json.loads(line) for line in out.splitlines()]
            closed = any(e["key"] == str(number) and e["value"]["type"] == "StreamClosed" for e in events)
    await stack.stop("gateway")
    await stack.stop("assemble")
    for part in ("gateway", "assemble"):
        assert PASSWORD not in stack.log_of(part).read_text()


async def test_an_unauthenticated_client_is_told_why(secured: Secured) -> None:
    async def refused(kind: str, change: dict[str, str]) -> str:
        environment = secured.stack.environment | secured.kinds[kind] | change
        status, _, error = await tapeline("tap", "voxology.messages", environment=environment)
        assert status == 1
        assert PASSWORD not in error
        return error

    wrong = {"TAPELINE_KAFKA_PASSWORD": "wrong"}
    plain, scram, untrusting = await asyncio.gather(
        refused("plain", wrong), refused("scram-512", wrong), refused("scram-512", {"TAPELINE_KAFKA_CA": ""})
    )
    assert "uthentication failed" in plain
    assert "uthentication failed" in scram
    assert "certificate verify failed" in untrusting
