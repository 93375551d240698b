"""A store that does not hold what it acknowledged: found before the manifest is written, and done again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from obstore.store import ObjectStore
from support import LOG, call_events, record_all

from processors.storage import recordings
from processors.storage.durable_files import DurableFile, LostFileError
from processors.storage.recordings import Recordings, differs
from processors.storage.store import StoreError, names, open_store

EVENTS, _ = call_events()


class Forgetful:
    """An HTTP proxy before a store that acknowledges some objects, and passes them on to nobody."""

    def __init__(self, host: str, port: int) -> None:
        self.forgets = ""
        """What a path ends with that is forgotten; nothing: all is kept."""
        self.cuts = False
        """Of what is forgotten, half is kept."""
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = await reader.readexactly(int(fields.get(b"content-length", 0)))
            method, path, _ = head.split(b" ", 2)
            if self.forgets and method == b"PUT" and path.endswith(self.forgets.encode()):
                if self.cuts:
                    await self._passed_on(self._shortened(head, body))
                writer.write(
                    b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
                )
            else:
                writer.write(await self._passed_on(_closing(head) + body))
            await writer.drain()
        writer.close()

    def _shortened(self, head: bytes, body: bytes) -> bytes:
        half = body[: len(body) // 2]
        return _closing(head).replace(b"%d\r\n" % len(body), b"%d\r\n" % len(half)) + half

    async def _passed_on(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer


def _closing(head: bytes) -> bytes:
    return head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture
async def forgetful(
    s3_endpoint: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Forgetful]:
    host, _, port = s3_endpoint.removeprefix("http://").rpartition(":")
    proxy = Forgetful(host, int(port))
    monkeypatch.setenv("AWS_ENDPOINT", await proxy.start())
    yield proxy
    proxy.stop()


@pytest.fixture(params=["at once", "block by block"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write recordings in either way."""
    if request.param == "block by block":
        monkeypatch.setattr(recordings, "KEPT_BYTES", 0)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("store", ["s3"], indirect=True)
@pytest.mark.parametrize("cuts", [False, True])
async def test_what_an_object_store_has_lost_is_found_and_done_again(
    store: ObjectStore, forgetful: Forgetful, cuts: bool
) -> None:
    behind = open_store(f"s3://{store.config['bucket']}/prefix")  # type: ignore[attr-defined]
    forgetful.forgets, forgetful.cuts = "caller.wav", cuts
    with pytest.raises((LostFileError, StoreError)) as raised:
        await record_all(Recordings(behind, LOG), EVENTS)
    assert "caller.wav" in str(raised.value)
    assert not [path for path in await names(store, "recordings") if path.endswith(".json")]
    forgetful.forgets = ""
    saved = await record_all(Recordings(behind, LOG), EVENTS)
    assert [await differs(store, saved.path, track) for track in saved.manifest["tracks"]] == [None, None]


@pytest.mark.usefixtures("written")
async def test_what_a_disk_has_lost_is_found_and_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_store(tmp_path.as_uri())
    rename = DurableFile.rename

    def lose(file: DurableFile) -> None:
        rename(file)
        if file._path.name == "caller.wav":
            file._path.unlink()

    monkeypatch.setattr(DurableFile, "rename", lose)
    with pytest.raises(LostFileError, match=r"caller\.wav, and holds nothing there"):
        await record_all(Recordings(disk, LOG), EVENTS)
    assert not list(tmp_path.rglob("recording.json"))
    monkeypatch.setattr(DurableFile, "rename", rename)
    saved = await record_all(Recordings(disk, LOG), EVENTS)
    assert [await differs(disk, saved.path, track) for track in saved.manifest["tracks"]] == [None, None]
