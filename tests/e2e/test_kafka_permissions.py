"""An agent on a broker that asks for permissions: those of docs/operations.md suffice, and each is missed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from support import is_ready, until

from schemas.topics import TRACKS
from tapeline.local.kafka import free_port
from tapeline.local.stack import Stack

PASSWORD = "it is a secret"
AGENT = {
    "TAPELINE_KAFKA_SECURITY": "SASL_PLAINTEXT",
    "TAPELINE_KAFKA_MECHANISM": "PLAIN",
    "TAPELINE_KAFKA_USERNAME": "agents",
    "TAPELINE_KAFKA_PASSWORD": PASSWORD,
}
#: What docs/operations.md grants to the agents' user: resource, prefix, operations.
GRANTED = [
    (ResourceType.TOPIC, "voxology.", (AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE)),
    (ResourceType.TOPIC, "tapeline-", (AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE)),
    (ResourceType.GROUP, "tapeline-", (AclOperation.READ,)),
    (ResourceType.TRANSACTIONAL_ID, "tapeline-", (AclOperation.DESCRIBE, AclOperation.WRITE)),
]


@dataclass
class Guarded:
    """A broker with an authorizer, who may change what is granted, and the settings of an agent."""

    stack: Stack
    admin: AdminClient
    agent: dict[str, str]


def binding(
    kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType
) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED
    return AclBinding(kind, name, pattern, "User:agents", "*", operation, permission)


def properties(plain: int, users: int, controller: int) -> str:
    """Let everybody in by the plain listener, and ``agents`` by another, with what is granted to it."""
    listeners = f"PLAINTEXT://127.0.0.1:{plain},USERS://127.0.0.1:{users}"
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_agents="{PASSWORD}";'
    lines = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.name.users.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.users.plain.sasl.jaas.config": login,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    folder, users = tmp_path_factory.mktemp("guarded"), free_port()
    stack = Stack(folder, settings={"TAPELINE_PARTITIONS": "2"})
    file = folder / "more.properties"
    file.write_text(properties(stack.kafka_port, users, free_port()))
    try:
        await stack.start_broker(properties=file)
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        allowed = [
            binding(kind, name, operation, AclPermissionType.ALLOW)
            for kind, name, operations in GRANTED
            for operation in operations
        ]
        for future in admin.create_acls(allowed).values():
            await asyncio.wrap_future(future)
        yield Guarded(stack, admin, AGENT | {"TAPELINE_KAFKA": f"127.0.0.1:{users}"})
    finally:
        await stack.stop_all()


async def ending(guarded: Guarded, name: str, denied: AclBinding) -> str:
    """Return what a worker has said when it ended, for what was denied to it."""
    stack = guarded.stack
    for future in guarded.admin.create_acls([denied]).values():
        await asyncio.wrap_future(future)
    try:
        await stack.start(name, "worker", "assemble", settings=guarded.agent)
        assert await asyncio.wait_for(stack.processes.pop(name).wait(), 60) == 1
    finally:
        that = AclBindingFilter(
            denied.restype,
            denied.name,
            denied.resource_pattern_type,
            denied.principal,
            denied.host,
            denied.operation,
            denied.permission_type,
        )
        for deleted in guarded.admin.delete_acls([that]).values():
            await asyncio.wrap_future(deleted)
    return stack.log_of(name).read_text()


@pytest.mark.timeout(90)
async def test_what_the_documentation_grants_suffices(guarded: Guarded) -> None:
    await guarded.stack.start("granted", "worker", "assemble", settings=guarded.agent)
    await until(lambda: is_ready(guarded.stack.operations["granted"]), 60)
    assert await guarded.stack.stop("granted") == 0


@pytest.mark.timeout(90)
async def test_without_the_transactional_ids_the_worker_says_what_to_grant(guarded: Guarded) -> None:
    denied = binding(ResourceType.TRANSACTIONAL_ID, "tapeline-", AclOperation.WRITE, AclPermissionType.DENY)
    said = await ending(guarded, "no-transactional-id", denied)
    assert "Kafka refuses the transactional id 'tapeline-assemble-" in said
    assert "Write and Describe on the transactional ids with the prefix 'tapeline-'" in said


@pytest.mark.timeout(90)
async def test_an_output_that_may_not_be_written_is_named(guarded: Guarded) -> None:
    denied = binding(ResourceType.TOPIC, TRACKS.name, AclOperation.WRITE, AclPermissionType.DENY)
    said = await ending(guarded, "no-output", denied)
    assert "TopicAuthorizationFailedError" in said
    assert TRACKS.name in said
