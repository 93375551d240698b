"""File names from outside, and what a track's segments tell."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DELIVERY

from processors.core.audio.formats import audio_format
from processors.core.record.track import InconsistentEventsError, Track, file_name
from schemas.events import Gap, TrackClosed, TrackSegment

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
        ("X-ray_X", "X-ray_X.wav"),
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


def test_a_name_that_is_taken_gets_the_next_free_number() -> None:
    assert file_name("far", ULAW, {"far", "far-2", "far-4"}) == "far-3.wav"


def test_an_encoding_that_is_no_law_of_g711_is_no_wav() -> None:
    assert file_name("far", audio_format("opus", 48000), set()) == "far.bin"


def segment(first_sample: int, *gaps: Gap) -> TrackSegment:
    return TrackSegment("far", 0, first_sample, 100, bytes(100), list(gaps), 1_000, DELIVERY, 1, 2)


def test_a_gap_that_goes_on_in_the_next_segment_is_one_gap() -> None:
    track = Track("far", 0, "far.wav", ULAW, None)
    track.add_segment(segment(0, Gap(10, 5), Gap(90, 10)))
    track.add_segment(segment(100, Gap(100, 20), Gap(150, 1)))
    assert [(gap["first_sample"], gap["samples"]) for gap in track.gaps] == [(10, 5), (90, 30), (150, 1)]


def ended(samples: int) -> TrackClosed:
    return TrackClosed("far", 0, samples, 0.0, True, None, 1, DELIVERY, 0, 1, 2)


def test_segments_must_adjoin_and_be_as_long_as_they_say() -> None:
    track = Track("far", 0, "far.wav", ULAW, None)
    track.add_segment(segment(0))
    for wrong in (segment(0), segment(99), segment(101), msgspec.structs.replace(segment(100), samples=99)):
        with pytest.raises(InconsistentEventsError, match="'far' has 100 samples"):
            track.add_segment(wrong)
    track.add_segment(segment(100))
    assert track.samples == 200


def test_a_track_ends_once_and_with_the_length_that_it_has() -> None:
    track = Track("far", 0, "far.wav", ULAW, None)
    track.add_segment(segment(0))
    with pytest.raises(InconsistentEventsError, match="100 samples, its end says 99"):
        track.close(ended(99))
    track.close(ended(100))
    with pytest.raises(InconsistentEventsError):
        track.close(ended(100))
    with pytest.raises(InconsistentEventsError, match="after its end"):
        track.add_segment(segment(100))


def test_a_track_was_heard_when_its_first_segment_says() -> None:
    track = Track("far", 0, "far.wav", ULAW, None)
    assert track.heard_at is None
    track.add_segment(segment(0))
    assert track.heard_at == 1_000


@pytest.mark.parametrize(
    ("samples", "file"), [(2**32 - 60, "far.wav"), (2**32 - 59, "far.bin"), (2**40, "far.bin")]
)
def test_audio_beyond_what_a_wav_holds_is_kept_as_bare_bytes_and_the_track_says_why(
    samples: int, file: str
) -> None:
    track = Track("far", 0, "far.wav", ULAW, None, samples=samples)
    track.close(TrackClosed("far", 0, samples, samples / 8, True, None, 1, DELIVERY, 0, 0, 9))
    assert (track.file, track.is_wav) == (file, file == "far.wav")
    assert track.wav_skipped == (
        None
        if track.is_wav
        else f"{samples} bytes of audio are more than the {2**32 - 60} that a WAV file holds"
    )
