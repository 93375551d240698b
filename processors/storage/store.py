"""The object store at a URL, by obstore: local files, S3, GCS, Azure and memory behind one interface."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from schemas.errors import TapelineError

if TYPE_CHECKING:
    # Declared for type checkers only.
    from obstore.store import ClientConfig, RetryConfig

StoreError = BaseError

#: obstore times a request out and retries it once; the agent waits out longer trouble, and reports it.
_REQUEST_TIMEOUT = timedelta(seconds=20)
_RETRY: "RetryConfig" = {"max_retries": 1, "retry_timeout": timedelta(seconds=30)}


class StoreUrlError(TapelineError):
    """The store's URL is none that can be used."""


def open_store(url: str) -> ObjectStore:
    """Return the store at a URL such as ``file:///var/recordings``, ``s3://bucket/prefix`` or ``memory://``.

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
        return LocalStore(path, mkdir=True)
    try:
        return from_url(url, client_options=_client(), retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise StoreUrlError(
            f"{url!r} is no store: use file:///path, s3://bucket/prefix, gs://, az:// or memory:// ({error})"
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


async def delete_below(store: ObjectStore, prefix: str) -> None:
    """Delete whatever lies below a prefix."""
    paths = await names(store, prefix)
    if paths:
        await obstore.delete_async(store, paths)
