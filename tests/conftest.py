"""What tests share: the running pipeline, on the embedded Kafka, once a session; each kind of store."""

import hashlib
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from obstore.store import ObjectStore

from processors.storage.store import open_store
from tapeline.local.stack import Stack

settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
#: The same examples in each run: what one run passes, the next does too.
settings.register_profile("tapeline", deadline=None, print_blob=True, derandomize=True)
#: Of a mutant it matters only that a test fails, and it must fail in every run.
settings.register_profile(
    "mutants",
    settings.get_profile("tapeline"),
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("tapeline")


@pytest.fixture(scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Run a stack of which only the broker is up."""
    stack = Stack(
        tmp_path_factory.mktemp("stack"),
        settings={
            "TAPELINE_PARTITIONS": "4",
            "TAPELINE_IDLE_TIMEOUT_S": "6",
            # Several calls at once are more than record buffers: then it spills the largest.
            "TAPELINE_RECORD_MEMORY_BYTES": "150000",
        },
    )
    try:
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop_all()


@pytest.fixture(scope="session")
async def pipeline(broker: Stack) -> Stack:
    """Start the whole stack: broker, gateway, three agents, each a process."""
    await broker.start_agents()
    await broker.start_gateway()
    return broker


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run an S3-compatible server."""
    # Imported here: it takes a second, and most tests do without.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Each kind of store, by its URL."""
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        for name, value in {
            "AWS_ENDPOINT": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        bucket = f"b{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"))
        return open_store(f"s3://{bucket}/prefix")
    url = (tmp_path / "a store").as_uri() if request.param == "file" else "memory://"
    return open_store(url)
