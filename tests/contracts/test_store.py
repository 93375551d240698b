"""What every store must do: an object is there whole or not at all, and nothing else is touched."""

import pytest
from obstore.store import ObjectStore

from processors.storage.store import StoreUrlError, delete_below, names, open_store, put, read, writing


async def test_what_is_put_is_read_and_replaced(store: ObjectStore) -> None:
    for content in (b"first", b"", bytes(100_000), b"last"):
        await put(store, "a/b/c", content)
        assert await read(store, "a/b/c") == content
    assert await names(store, "a") == ["a/b/c"]


async def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    assert await names(store, "a") == []
    with pytest.raises(FileNotFoundError):
        await read(store, "a/b")


async def test_names_are_those_below_a_folder_in_order(store: ObjectStore) -> None:
    for path in ("a/2", "ab/1", "a/10", "a/1/x"):
        await put(store, path, b"x")
    assert await names(store, "a") == ["a/1/x", "a/10", "a/2"]
    assert await names(store, "") == ["a/1/x", "a/10", "a/2", "ab/1"]


async def test_what_is_written_block_by_block_is_seen_when_it_is_whole(store: ObjectStore) -> None:
    blocks = [bytes([n]) * 70_000 for n in range(5)]
    async with writing(store, "a/b") as write:
        for block in blocks:
            await write(memoryview(block))
        assert await names(store, "a") == []
    assert await read(store, "a/b") == b"".join(blocks)


async def test_what_is_not_written_to_its_end_is_never_seen(store: ObjectStore) -> None:
    await put(store, "a/b", b"before")

    async def fail() -> None:
        async with writing(store, "a/b") as write:
            await write(b"half of it")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await read(store, "a/b") == b"before"
    assert await names(store, "") == ["a/b"]


async def test_deleting_takes_what_lies_below_a_folder_alone_and_may_be_repeated(store: ObjectStore) -> None:
    for path in ("a/1", "a/b/2", "ab/1"):
        await put(store, path, b"x")
    for _ in range(2):
        await delete_below(store, "a")
        assert await names(store, "") == ["ab/1"]


@pytest.mark.parametrize("url", ["file://relative", "nonsense", "ftp://x/y", ""])
def test_a_url_that_is_no_store_says_what_is(url: str) -> None:
    with pytest.raises(StoreUrlError, match="file:///path"):
        open_store(url)
