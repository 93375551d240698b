"""A manifest read back: what is damaged is told by its place, whatever the damage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import LOG, call_events

from processors.core.record.manifest import Outline, encoded
from processors.core.record.manifest_reader import DamagedManifestError, is_sound, read_manifest

SETTINGS = {
    "rules": 9,
    "segment_ms": 1,
    "window_chunks": 1,
    "window_ms": 1,
    "max_gap_ms": 1,
    "max_rate_hz": 1,
}


def written() -> bytes:
    """Return a manifest as it is stored."""
    outline = Outline()
    for event in call_events()[0]:
        outline.add(event)
    digests = {track.file: "00" for track in outline.tracks}
    return encoded(
        outline.manifest(LOG, digests, {"file": "mix.wav", "sha256": "00", "channels": ["caller"]})
    )


TEXT = written()
#: What each manifest has, by the way to it.
NEEDED: list[tuple[str | int, ...]] = [
    *((name,) for name in ("stream_id", "sender", "state", "reasons", "opened_at", "tracks", "mix", "log")),
    *(("log", name) for name in ("partition", "first_offset", "last_offset")),
    *(
        ("tracks", 0, name)
        for name in ("track", "file", "sha256", "encoding", "sample_rate_hz", "samples", "chunks", "gaps")
    ),
]


def changed(way: tuple[str | int, ...], *value: Any) -> bytes:
    """Return the manifest with something else at a place, or with nothing there."""
    manifest = json.loads(TEXT)
    at = manifest
    for step in way[:-1]:
        at = at[step]
    if value:
        at[way[-1]] = value[0]
    else:
        del at[way[-1]]
    return json.dumps(manifest).encode()


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(TEXT, "a/recording.json") == json.loads(TEXT)


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 10**5, b'{"stream_id": ' * 10**5, TEXT + b"x"]
)
def test_what_is_no_manifest_is_told_by_its_place(text: bytes) -> None:
    with pytest.raises(DamagedManifestError, match=r"^a/recording.json is damaged: "):
        read_manifest(text, "a/recording.json")


@given(st.integers(0, len(TEXT.rstrip()) - 1))
def test_one_that_is_cut_off_anywhere(length: int) -> None:
    with pytest.raises(DamagedManifestError):
        read_manifest(TEXT[:length], "a")


@pytest.mark.parametrize("way", NEEDED, ids=lambda way: ".".join(map(str, way)))
def test_one_that_lacks_a_field_or_has_another_type_there(way: tuple[str | int, ...]) -> None:
    with pytest.raises(DamagedManifestError):
        read_manifest(changed(way), "a")
    for other in ([[1]], True):
        with pytest.raises(DamagedManifestError):
            read_manifest(changed(way, other), "a")


@pytest.mark.parametrize("file", ["", ".", "..", "../caller.wav", "/etc/passwd", "a/b", "a\\b", "a\0b"])
def test_a_file_lies_beside_its_manifest(file: str) -> None:
    with pytest.raises(DamagedManifestError):
        read_manifest(changed(("tracks", 0, "file"), file), "a")


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("stream_id",), 2**63),
        (("state",), "fine"),
        (("opened_at",), "never"),
        (("continues",), -1),
        (("continues",), json.loads(TEXT)["log"]["first_offset"]),
        (("log", "partition"), -3),
        (("log", "first_offset"), -(2**70)),
        (("log", "last_offset"), 2**70),
        (("log", "last_offset"), 2**63),
        (("settings",), SETTINGS | {"segment_ms": 0}),
        (("settings",), SETTINGS | {"window_chunks": -1}),
        (("settings",), SETTINGS | {"window_ms": 2**62}),
        (("settings",), SETTINGS | {"max_rate_hz": 0}),
        (("tracks", 0, "duration_ms"), -1e308),
        (("tracks", 0, "duration_ms"), 1e308),
        (("tracks", 0, "samples"), 2**40),
        (("tracks", 0, "sample_rate_hz"), 10**30),
        (("tracks", 0, "sample_rate_hz"), 999),
        (("tracks", 0, "chunks", "received"), 10**30),
        (("tracks", 0, "chunks", "lost"), -1),
        (("tracks", 0, "take"), 0),
        (("tracks", 0, "heard_at"), "yesterday"),
        (("tracks", 0, "gap_samples"), 2**39),
        (("tracks", 0, "gaps"), [{"first_sample": 2**39, "samples": 2**39}]),
    ],
)
def test_one_that_says_what_none_says(way: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(DamagedManifestError, match=r"^a is damaged: "):
        read_manifest(changed(way, value), "a")


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("state",), "partial"),
        (("reasons",), ["chunks_lost:caller"]),
        (("tracks", 0, "samples"), 24_001),
        (("tracks", 0, "samples"), 48_000),
        (("tracks", 0, "duration_ms"), 3_100.0),
        (("tracks", 0, "gap_samples"), 1),
        (("tracks", 0, "gaps"), [{"first_sample": 0, "samples": 10}]),
        (("tracks", 0, "chunks", "received"), 19),
        (("tracks", 0, "chunks", "lost"), 1),
        (("tracks", 0, "chunks", "expected"), 17),
        (("tracks", 0, "chunks", "samples"), 23_999),
        (("tracks", 0, "chunks", "late"), 1),
        (("tracks", 0, "file"), "TRANSFER.wav"),
        (("tracks", 0, "file"), "mix.wav"),
    ],
)
def test_one_whose_figures_do_not_fit_each_other(way: tuple[str | int, ...], value: Any) -> None:
    """As somebody edits them."""
    with pytest.raises(DamagedManifestError, match=r"^a is damaged: "):
        read_manifest(changed(way, value), "a")


@pytest.mark.parametrize("folder", ["stream=6", "sender=acme/stream=5", "stream=-5/from=7"])
def test_one_that_lies_where_another_stream_does(folder: str) -> None:
    assert read_manifest(TEXT, "recordings/date=2026-11-18/stream=5/from=7/recording.json")
    with pytest.raises(DamagedManifestError, match="and lies elsewhere"):
        read_manifest(TEXT, f"recordings/date=2026-11-18/{folder}/recording.json")


def test_a_gap_may_reach_to_the_end_of_its_track_and_be_all_of_it() -> None:
    manifest = json.loads(TEXT)
    track = manifest["tracks"][0]
    samples = track["samples"]
    for gap in ({"first_sample": 1, "samples": samples - 1}, {"first_sample": 0, "samples": samples}):
        heard = {"samples": samples - gap["samples"], "shortest_chunk": 0}
        track |= {"gaps": [gap], "gap_samples": gap["samples"], "chunks": track["chunks"] | heard}
        assert read_manifest(json.dumps(manifest).encode(), "a")["tracks"][0]["gaps"] == [gap]


@pytest.mark.parametrize(
    ("way", "value", "says"),
    [
        (("tracks", 0, "gaps"), [{"first_sample": 24_000, "samples": 1}], "behind the 24000 samples of"),
        (("tracks", 0, "gap_samples"), 24_001, "0 samples in the gaps of track 'caller', not 24001"),
        (("continues",), 3, "continues the stream from offset 3, and begins at 0"),
    ],
)
def test_what_contradicts_itself_is_told_with_its_values(
    way: tuple[str | int, ...], value: Any, says: str
) -> None:
    with pytest.raises(DamagedManifestError, match=says):
        read_manifest(changed(way, value), "a")


def test_one_of_a_sender_lies_in_its_folder() -> None:
    text = changed(("sender",), "acme")
    assert read_manifest(text, "recordings/date=2026-11-18/sender=acme/stream=5/recording.json")
    for folder in ("stream=5", "sender=other/stream=5"):
        with pytest.raises(DamagedManifestError, match="of stream 5 of sender 'acme', and lies elsewhere"):
            read_manifest(text, f"recordings/date=2026-11-18/{folder}/recording.json")


def test_one_can_be_relied_on_if_it_is_read_where_it_lies() -> None:
    assert is_sound(TEXT, "stream=5/recording.json")
    assert not is_sound(TEXT, "stream=6/recording.json")
    assert not is_sound(TEXT[:-9], "stream=5/recording.json")


@given(st.binary(max_size=64), st.integers(0, len(TEXT)))
def test_whatever_stands_in_it_is_read_or_told(bytes_: bytes, at: int) -> None:
    try:
        read = read_manifest(TEXT[:at] + bytes_ + TEXT[at + len(bytes_) :], "a")
    except DamagedManifestError:
        return
    assert {track["file"] for track in read["tracks"]}
