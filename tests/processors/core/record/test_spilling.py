"""Which recordings are spilled when all together buffer too much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DELIVERY

from processors.core.record.spilling import spilled
from processors.core.record.stream import BufferedAudio, StreamRecorder
from schemas.events import Event, Payload, StreamOpened, TrackOpened, TrackSegment


def recorder(buffered: BufferedAudio, samples: int) -> StreamRecorder:
    """Return a recorder that buffers so much audio of one track."""
    made = StreamRecorder(10**9, buffered)
    payloads: list[Payload] = [StreamOpened(0, None), TrackOpened("t", 0, "ulaw", 8000, False, None)]
    if samples:
        payloads.append(TrackSegment("t", 0, 0, samples, bytes(samples), [], 0, DELIVERY, 1, 2))
    for index, payload in enumerate(payloads):
        made.handle(Event(5, None, 0, index, None, 0, index, payload), index, 0)
    return made


def recorders(buffered: BufferedAudio, sizes: list[int]) -> list[tuple[str, StreamRecorder]]:
    return [(str(number), recorder(buffered, size)) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([], 10, []),
        ([4, 6], 10, []),
        ([5, 6], 10, ["1"]),
        ([1, 2, 3, 5], 10, ["3"]),
        ([4, 4, 4], 10, ["0", "1"]),
        ([4, 4, 3], 10, ["0"]),
        ([3, 3, 3], 8, ["0"]),
        ([0, 20, 0], 10, ["1"]),
    ],
)
def test_the_largest_go_first_until_a_quarter_is_free(
    sizes: list[int], limit: int, expected: list[str]
) -> None:
    buffered = BufferedAudio()
    assert [name for name, _ in spilled(recorders(buffered, sizes), buffered, limit)] == expected


@given(st.lists(st.integers(0, 50), max_size=10), st.integers(1, 200))
def test_what_is_left_is_at_most_three_quarters_if_the_limit_was_passed(sizes: list[int], limit: int) -> None:
    buffered = BufferedAudio()
    told = recorders(buffered, sizes)
    parts = list(spilled(told, buffered, limit))
    assert buffered.audio_bytes == sum(r.audio_bytes for _, r in told)
    if sum(sizes) > limit:
        assert buffered.audio_bytes <= limit * 3 // 4
    else:
        assert parts == []
    assert all(not part.last for _, part in parts)


def test_what_other_partitions_spill_meanwhile_counts() -> None:
    buffered = BufferedAudio()
    ours, theirs = recorders(buffered, [4, 4]), recorder(buffered, 8)
    spilling = spilled(ours, buffered, 10)
    assert next(spilling)[0] == "0"
    theirs.spill()
    assert list(spilling) == []


def test_a_recording_given_up_meanwhile_is_passed() -> None:
    buffered = BufferedAudio()
    ours = recorders(buffered, [8, 7, 6])
    spilling = spilled(ours, buffered, 10)
    assert next(spilling)[0] == "0"
    ours[1][1].finish(keep_parts=True)
    assert [name for name, _ in spilling] == []
    assert buffered.audio_bytes == 6
