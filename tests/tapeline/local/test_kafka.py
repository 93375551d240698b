"""The embedded Kafka's configuration; the broker itself runs in most other tests."""

import socket
from pathlib import Path

import psutil

from tapeline.local.kafka import archive, free_port, free_port_near, properties
from tapeline.local.stack import Stack


def test_it_listens_on_loopback_only_and_lets_nobody_create_topics(tmp_path: Path) -> None:
    lines = dict(line.split("=", 1) for line in properties(9092, 9093, tmp_path).splitlines())
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert lines["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert lines["controller.quorum.voters"] == "1@127.0.0.1:9093"
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["log.dirs"] == f"{tmp_path}/log"


def test_every_internal_topic_has_one_replica() -> None:
    lines = dict(line.split("=", 1) for line in properties(1, 2, Path("d")).splitlines())
    replicas = [v for name, v in lines.items() if name.endswith(("replication.factor", "min.isr"))]
    assert len(replicas) == 5
    assert set(replicas) == {"1"}


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))


def test_a_usual_port_is_taken_where_it_is_free_and_another_where_not() -> None:
    usual = free_port()
    assert free_port_near(usual) == usual
    with socket.create_server(("127.0.0.1", usual)):
        assert free_port_near(usual) not in (usual, 0)


async def test_a_broker_starts_from_the_archive_of_its_classes_where_there_is_one(broker: Stack) -> None:
    process = psutil.Process(broker.processes["kafka"].pid)
    assert (f"-XX:AOTCache={archive()}" in process.cmdline()) == archive().exists()
    if archive().exists():
        assert str(archive().resolve()) in {mapped.path for mapped in process.memory_maps()}
