"""The emulator's messages are shaped exactly as the platform's document shows them."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tapeline.emulator.voxology import Call, SourceTrack, chunks, messages

BEGAN = datetime(2020, 12, 2, 17, 39, 32, 588_000, UTC)
AUDIO = bytes(range(256)) * 154  # 28 chunks of 1408 bytes, 4928 ms
EXAMPLE = json.loads((Path(__file__).parents[2] / "e2e" / "document_example.json").read_text())


def example_call() -> Call:
    tracks = [SourceTrack("caller", AUDIO), SourceTrack("transfer", AUDIO)]
    return Call(117179172, tracks, BEGAN, call_id="326065@3423993407")


def test_the_documents_example_comes_out_as_it_stands() -> None:
    said = [m for _, m in messages(example_call()) if m["type"] != "live_track"]
    for ours, theirs in zip(said, EXAMPLE, strict=True):
        assert list(ours) == list(theirs), "the same fields in the same order"
        for name in set(ours) - {"duration", "end_time", "tracks"}:
            assert ours[name] == theirs[name], name
    # There the two tracks' declared lengths contradict each other; ours are true.
    assert [m["duration"] for m in said if m["type"] == "stop_track"] == [4928, 4928]
    assert list(said[-1]["tracks"][0]) == list(EXAMPLE[-1]["tracks"][0])


def test_a_chunk_is_as_in_the_document() -> None:
    said = [m for _, m in messages(example_call()) if m["type"] == "live_track"]
    assert list(said[0]) == [
        "stream_id",
        "type",
        "stream_sequence_number",
        "track_sequence_number",
        "media",
        "call_id",
        "name",
    ]
    # Example messages 4 and 5: chunk 26 carries 27 in the first track and 28 in the second.
    numbers = {m["name"]: m["stream_sequence_number"] for m in said if m["track_sequence_number"] == 26}
    assert numbers == {"caller": 27, "transfer": 28}


def test_a_chunk_is_sent_when_its_last_sample_has_been_spoken() -> None:
    times = [at for at, m in messages(example_call()) if m.get("name") == "caller"]
    assert times[:3] == [0.0, 176.0, 352.0]
    assert times[-2:] == [4928.0, 4928.0]


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=0, max_size=3),
    starts=st.lists(st.integers(0, 3000), min_size=3, max_size=3),
    chunk_ms=st.integers(1, 400),
)
def test_any_call_is_whole_and_in_order(sizes: list[int], starts: list[int], chunk_ms: int) -> None:
    tracks = [SourceTrack(f"t{i}", bytes(n), starts[i]) for i, n in enumerate(sizes)]
    said = list(messages(Call(1, tracks, BEGAN, chunk_ms)))
    assert [at for at, _ in said] == sorted(at for at, _ in said)
    assert (said[0][1]["type"], said[-1][1]["type"]) == ("init_stream", "end_stream")
    for track in tracks:
        mine = [m for _, m in said if m.get("name") == track.name]
        assert [m["track_sequence_number"] for m in mine] == list(range(1, len(mine) + 1))
        audio = b"".join(base64.b64decode(m["media"]) for m in mine if "media" in m)
        assert audio == track.audio


def test_the_last_chunk_may_be_shorter() -> None:
    assert [len(c) for c in chunks(bytes(3000), 176)] == [1408, 1408, 184]
