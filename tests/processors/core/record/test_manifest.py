"""File names from outside, and what the manifest says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.audio.formats import audio_format
from processors.core.record.manifest import IncompletePartsError, Outline, file_name

ULAW = audio_format("ulaw", 8000)


@pytest.mark.parametrize(
    ("track", "file"),
    [
        ("caller", "caller.wav"),
        ("../../etc/passwd", "etc_passwd.wav"),
        ("..", "track.wav"),
        ("", "track.wav"),
        (".hidden", "hidden.wav"),
        ("a/b\\c:d\0e\n", "a_b_c_d_e.wav"),
        ("中", "track.wav"),
        ("mix", "mix-2.wav"),
        ("recording", "recording-2.wav"),
        ("x" * 500, "x" * 64 + ".wav"),
    ],
)
def test_names_are_made_safe(track: str, file: str) -> None:
    assert file_name(track, ULAW, set()) == file


@given(names=st.lists(st.text(max_size=8), max_size=12))
def test_no_two_tracks_share_a_file_and_none_leaves_the_folder(names: list[str]) -> None:
    taken: set[str] = set()
    for name in names:
        file = file_name(name, ULAW, taken)
        stem = file.removesuffix(".wav")
        assert stem.lower() not in taken
        assert stem.replace("-", "").replace("_", "").isascii()
        assert "/" not in file
        assert not file.startswith((".", "-"))
        taken.add(stem.lower())


def test_an_encoding_that_is_no_law_of_g711_is_no_wav() -> None:
    assert file_name("far", audio_format("opus", 48000), set()) == "far.bin"


def test_a_missing_event_is_named() -> None:
    outline = Outline()
    with pytest.raises(IncompletePartsError, match="event 0 of stream 5"):
        outline.add({"stream_id": 5, "event_index": 3, "call_id": None, "type": "StreamClosed"})


def test_events_without_the_last_are_not_whole() -> None:
    with pytest.raises(IncompletePartsError, match="before StreamClosed"):
        Outline().check_whole()
