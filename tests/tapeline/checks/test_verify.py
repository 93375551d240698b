"""Verifying a recording, in a store in memory."""

from typing import Any

import obstore
from obstore.store import ObjectStore
from support import LOG, call_events, record_all

from processors.storage.recordings import Recordings
from processors.storage.store import open_store, read
from schemas.identity import StreamIdentity
from tapeline.checks.recorded import Recording, recordings_in
from tapeline.checks.verify import against_manifest, against_oracle
from tapeline.emulator.oracle import Oracle, OracleTrack

CALL = StreamIdentity(None, 5, 0)


async def recorded() -> tuple[ObjectStore, list[Recording], Oracle]:
    """Record a call; return the store, what it holds, and the oracle of the call."""
    store = open_store("memory://")
    events, audio = call_events()
    await record_all(Recordings(store, LOG), events)
    found = await recordings_in(store)
    chunks = {t["track"]: t["chunks"] for t in found[0].manifest["tracks"]}
    tracks = [
        OracleTrack(name, sound, [], chunks[name]["received"], chunks[name]["lost"])
        for name, sound in audio.items()
    ]
    return store, found, Oracle(5, True, tracks)


async def test_a_recording_is_what_its_manifest_and_the_oracle_say() -> None:
    store, found, oracle = await recorded()
    assert [one.stream for one in found] == [CALL]
    assert await against_manifest(store, found[0]) == []
    assert await against_oracle(store, found, oracle) == []


async def test_a_changed_byte_and_a_missing_file_are_seen() -> None:
    store, found, _ = await recorded()
    folder = found[0].folder
    changed = await read(store, f"{folder}/caller.wav")
    await obstore.put_async(store, f"{folder}/caller.wav", changed[:-1] + bytes([changed[-1] ^ 1]))
    await obstore.delete_async(store, f"{folder}/mix.wav")
    first, second = await against_manifest(store, found[0])
    assert first.startswith("caller.wav has SHA-256")
    assert second == "mix.wav is missing"


async def test_the_oracle_sees_every_kind_of_difference() -> None:
    store, found, oracle = await recorded()
    caller, transfer = oracle.tracks

    async def differences(complete: bool, *tracks: OracleTrack) -> str:
        return "; ".join(await against_oracle(store, found, Oracle(5, complete, list(tracks))))

    def other(**fields: Any) -> OracleTrack:
        named = {n: getattr(caller, n) for n in OracleTrack.__dataclass_fields__}
        return OracleTrack(**(named | fields))

    assert "state is complete" in await differences(False, caller, transfer)
    assert "transfer: recorded, but never sent" in await differences(True, caller)
    extra = other(name="third")
    assert "third: not recorded" in await differences(True, caller, transfer, extra)
    assert "caller: 24000 samples differ" in await differences(True, other(audio=b"x"), transfer)
    assert "caller: gaps []" in await differences(True, other(gaps=[(1, 2)]), transfer)
    assert "received and lost" in await differences(True, other(lost=9), transfer)


async def test_a_stream_that_was_not_recorded() -> None:
    store, found, oracle = await recorded()
    assert await against_oracle(store, found, Oracle(6, True, oracle.tracks)) == ["not recorded"]
    assert await against_oracle(store, found, Oracle(6, False, [])) == []


async def test_a_damaged_manifest_is_told_by_its_place_and_the_others_are_checked() -> None:
    store, found, oracle = await recorded()
    for place, text in (("stream=6", b"{"), ("stream=7", b'{"tracks": []}'), ("stream=8", b"")):
        await obstore.put_async(store, f"recordings/date=2026-11-18/{place}/recording.json", text)
    first, *damaged = await recordings_in(store)
    assert first == found[0]
    for one in damaged:
        (fault,) = await against_manifest(store, one)
        assert fault.startswith(f"{one.folder}/recording.json is damaged: ")
        assert (one.stream, str(one)) == (None, one.folder)
    assert await against_oracle(store, [first, *damaged], oracle) == []
