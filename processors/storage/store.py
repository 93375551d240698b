"""The object store at a URL, by obstore: local files, S3, GCS, Azure and memory behind one interface.

What is written is durable before it is reported. The services see to that themselves, for local files we
do (``durable_files``).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from processors.core.record.sweep import Listed
from processors.storage import durable_files
from processors.storage.durable_files import Content, LostFileError
from runtime.reasons import in_words
from schemas.errors import TapelineError

if TYPE_CHECKING:
    # Declared for type checkers only.
    from obstore.store import ClientConfig, RetryConfig

StoreError = BaseError

#: obstore times a request out and retries it once; the agent waits out longer trouble, and reports it.
_REQUEST_TIMEOUT = timedelta(seconds=20)
_RETRY: "RetryConfig" = {"max_retries": 1, "retry_timeout": timedelta(seconds=30)}

#: What waits for the disk of a local store, side by side; as many as ``record`` has jobs by default.
_THREADS = ThreadPoolExecutor(16, "store")


class StoreUrlError(TapelineError):
    """The store's URL is none that can be used."""


def open_store(url: str, *, make: bool = True) -> ObjectStore:
    """Return the store at a URL such as ``file:///var/recordings``, ``s3://bucket/prefix`` or ``memory://``.

    ``make``: a folder that is not there is made; who only reads wants none.

    Credentials of S3, GCS and Azure come from their usual environment variables (for an S3-compatible
    store, ``AWS_ENDPOINT`` and ``AWS_ALLOW_HTTP``). Raise StoreUrlError.
    """
    parsed = urlparse(url)
    if parsed.scheme == "memory":
        return MemoryStore()
    if parsed.scheme == "file":
        path = Path(unquote(parsed.path))
        if parsed.netloc or not path.is_absolute():
            raise StoreUrlError(f"{url!r}: a file store is an absolute path, file:///path")
        if not make and not path.is_dir():
            raise StoreUrlError(f"{url!r} (TAPELINE_STORE): there is no such folder")
        try:
            durable_files.make_root(path)
            return LocalStore(path)
        except (BaseError, OSError) as error:
            raise StoreUrlError(f"{url!r}: the folder cannot be made: {in_words(error)}") from error
    try:
        return from_url(url, client_options=_client(), retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise StoreUrlError(
            f"{url!r} is no store: use file:///path, s3://bucket/prefix, gs://, az:// or memory:// "
            f"({in_words(error)})"
        ) from error


def _client() -> "ClientConfig":
    # Given options replace all of those that obstore reads from the environment: keep the one that counts.
    allow_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"
    return {
        "connect_timeout": timedelta(seconds=5),
        "timeout": _REQUEST_TIMEOUT,
        "allow_http": allow_http,
    }


async def read(store: ObjectStore, path: str) -> bytes:
    """Return an object's bytes. Raise FileNotFoundError, or a StoreError."""
    return bytes(await (await obstore.get_async(store, path)).bytes_async())


async def names(store: ObjectStore, prefix: str) -> list[str]:
    """Return the paths below a prefix, sorted."""
    found: list[str] = []
    async for page in obstore.list(store, prefix=prefix):
        found += [item["path"] for item in page]
    return sorted(found)


async def listed(store: ObjectStore, folder: str) -> list[Listed]:
    """Return the objects below a folder; of local files also those staged there."""
    found: list[Listed] = []
    async for page in obstore.list(store, prefix=folder):
        found += [
            Listed(item["path"], item["size"], round(item["last_modified"].timestamp() * 1000))
            for item in page
        ]
    if (root := _local_root(store)) is not None:
        loop = asyncio.get_running_loop()
        found += await loop.run_in_executor(_THREADS, durable_files.staged_below, root, folder)
    return found


async def put(store: ObjectStore, path: str, content: Content) -> None:
    """Write an object in one piece. It is seen only when it is whole, and durable when this returns.

    Raise a StoreError, or an OSError.
    """
    if (root := _local_root(store)) is not None:
        # If this is cancelled, the thread goes on: it leaves the whole object, or nothing.
        await _in_thread(durable_files.write_file, root, path, content)
    else:
        await obstore.put_async(store, path, content, use_multipart=False)


async def put_folder(
    store: ObjectStore, folder: str, files: Mapping[str, Sequence[Content]], before: Mapping[str, int]
) -> None:
    """Write the objects of a folder, each in one piece, of its blocks.

    The last is seen when all others are durable, and the store says that it holds them; so for those written
    ``before``, of which sizes are given. It is asked for the size and the ETag that it acknowledged: to read
    the content back, and hash it, would cost as much as to write it.

    What writers that were killed have left there, beside its objects, is deleted. Raise LostFileError, a
    StoreError, or an OSError.
    """
    if (root := _local_root(store)) is not None:
        await _in_thread(durable_files.write_folder, root, folder, files, before)
        return
    written: dict[str, tuple[int, str | None]] = {name: (size, None) for name, size in before.items()}
    *others, last = files
    for name in others:
        # One piece: obstore takes twice as long over a list of them.
        content = _in_one(files[name])
        done = await obstore.put_async(store, f"{folder}/{name}", content, use_multipart=False)
        written[name] = len(content), done["e_tag"]
    held = await _held(store, folder)
    for name, (size, tag) in written.items():
        holds, has_tag = held.get(f"{folder}/{name}", (None, None))
        durable_files.check_kept(f"{folder}/{name}", size, holds)
        if tag is not None and has_tag != tag:
            raise LostFileError(f"the store acknowledged {folder}/{name} as {tag}, and holds {has_tag}")
    await obstore.put_async(store, f"{folder}/{last}", _in_one(files[last]), use_multipart=False)


def _in_one(blocks: Sequence[Content]) -> Content:
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


async def _held(store: ObjectStore, folder: str) -> dict[str, tuple[int, str | None]]:
    """Return the size and the ETag of each object below a folder: by one request, half the cost of HEADs."""
    return {
        item["path"]: (item["size"], item["e_tag"])
        async for page in obstore.list(store, prefix=folder)
        for item in page
    }


@asynccontextmanager
async def writing(store: ObjectStore, path: str) -> AsyncIterator[Callable[[Content], Awaitable[Any]]]:
    """Give what writes an object, block by block. It is whole, seen and durable at the end, if all went well.

    Raise a StoreError, or an OSError.
    """
    if (root := _local_root(store)) is None:
        writer = obstore.open_writer_async(store, path)
        yield writer.write
        await writer.close()
        return
    file = durable_files.DurableFile(root, path)
    try:
        yield lambda block: _to_its_end(file.write, block)
        await _to_its_end(file.keep)
    finally:
        await _to_its_end(file.close)


async def delete_below(store: ObjectStore, prefix: str) -> None:
    """Delete whatever lies below a prefix; of local files also those staged there, and empty folders."""
    if (root := _local_root(store)) is not None:
        await _in_thread(durable_files.delete_tree, root, prefix)
    elif paths := await names(store, prefix):
        await obstore.delete_async(store, paths)


async def delete_staged(store: ObjectStore, path: str) -> None:
    """Delete a file that was staged in a store of local files."""
    root = _local_root(store)
    assert root is not None, "no other store has any"
    await _in_thread(durable_files.delete_file, root, path)


def _local_root(store: ObjectStore) -> Path | None:
    """Return the folder of a store of local files."""
    return store.prefix if isinstance(store, LocalStore) else None


async def _in_thread(call: Callable[..., None], *arguments: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(_THREADS, call, *arguments)


async def _to_its_end(call: Callable[..., None], *arguments: Any) -> None:
    """Call in a thread, and return only when that has ended, even if this is cancelled."""
    ending = asyncio.ensure_future(_in_thread(call, *arguments))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait({ending})
        raise
