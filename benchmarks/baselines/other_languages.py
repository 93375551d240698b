"""The same work in other languages, where Go or a JDK is installed: a gateway, and reassembly."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from schemas.schema import bare_schema
from tapeline.local.kafka import KAFKA_VERSION

_HERE = Path(__file__).parent
_STREAMS = f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}"
_JARS = f"{_STREAMS}+org.apache.avro:avro:1.12.1+org.slf4j:slf4j-nop:1.7.36"


async def build_go_gateway(folder: Path) -> Path | None:
    """Build the gateway in Go and return its path; None without Go, or where it cannot be built."""
    go = shutil.which("go")
    if go is None:
        return None
    binary = folder / "gateway-go"
    process = await asyncio.create_subprocess_exec(
        *(go, "build", "-o", str(binary.absolute()), "."), cwd=_HERE / "gateway-go"
    )
    return binary if await process.wait() == 0 else None


async def kafka_streams(kafka: str, records: int, folder: Path) -> list[dict[str, Any]]:
    """Run reassembly in Kafka Streams; return its cost for ``records`` messages, and for their second half.

    Each has ``records``, ``cpu_s`` and ``wall_s``. The list is empty without a JDK.
    """
    java, compiler = shutil.which("java"), shutil.which("javac")
    if java is None or compiler is None:
        return []
    import jgo

    environment = jgo.build(_JARS, cache_dir=Path(sys.prefix) / "share" / "tapeline" / "kafka-streams")
    folder.mkdir(parents=True, exist_ok=True)
    schema = folder / "Message.avsc"
    schema.write_text(json.dumps(bare_schema("Message")))
    process = await asyncio.create_subprocess_exec(
        *(java, "-Xmx1g", "-XX:+UseSerialGC", "-cp", ":".join(map(str, environment.all_jars))),
        *(str(_HERE / "Reassembly.java"), kafka, str(schema), str(records), str(folder / "streams")),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return list(json.loads(out)) if process.returncode == 0 else []
