"""An archive of the embedded broker's classes, loaded and linked: with it a broker starts in half the time.

The Java runtime makes it (JEP 483, "Ahead-of-Time Class Loading & Linking") when a broker that it watched
stops. It is of that runtime and those jars; a runtime that it does not fit starts without it.
"""

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.cluster import Cluster
from tapeline.local import kafka

_TIMEOUT_S = 120


def make(say: Callable[[str], None]) -> Path:
    """Run a broker once, and return the archive of its classes. Raise EmbeddedKafkaError."""
    jars = kafka.fetch(say)
    archive = kafka.archive()
    if archive.exists():
        return archive
    say(f"archiving the broker's classes in {archive} (64 MB)")
    with tempfile.TemporaryDirectory(prefix="tapeline-kafka-", dir=archive.parent) as folder:
        made = Path(folder, archive.name)
        try:
            _watch_a_broker(Path(folder), kafka.java_command(jars), made)
        except (OSError, subprocess.SubprocessError, TimeoutError) as error:
            raise kafka.EmbeddedKafkaError(f"the broker's classes could not be archived: {error}") from error
        made.rename(archive)
    return archive


def _watch_a_broker(data: Path, command: Sequence[str], archive: Path) -> None:
    port = kafka.free_port()
    config = data / "server.properties"
    config.write_text(kafka.properties(port, kafka.free_port(), data))
    kafka.format_storage(command, config)
    with (
        (data / "log.txt").open("wb") as log,
        subprocess.Popen(
            [*command, f"-XX:AOTCacheOutput={archive}", "kafka.Kafka", str(config)],
            stdout=log,
            stderr=log,
        ) as broker,
    ):
        try:
            asyncio.run(kafka.wait_until_up(Cluster(f"127.0.0.1:{port}"), _TIMEOUT_S))
        finally:
            broker.terminate()
        broker.wait(_TIMEOUT_S)
