"""Echo of one party on the track of another: of levels whose echo is known."""

import msgspec
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DELIVERY

from processors.core.measure import kernels
from processors.core.measure.conversation import Conversation, ConversationState
from processors.core.measure.echo import MAX_PARTIES, EchoPair, warm_up
from processors.core.measure.frames import Activity
from processors.core.measure.kernels import LOWEST_DB
from schemas.events import TrackSegment
from schemas.schema import Record

FLOOR = -65 - LOWEST_DB


def spoken(frames: int, turns: list[tuple[int, int]], dbov: float, seed: int) -> list[int]:
    """Return the levels of frames, in dB above the lowest: talk of a mean level in turns, else the floor."""
    source = np.random.default_rng(seed)
    levels = np.full(frames, FLOOR)
    for first, end in turns:
        levels[first:end] = np.round(dbov - LOWEST_DB + 6 * source.standard_normal(end - first))
    return [int(level) for level in levels]


def echoed(own: list[int], other: list[int], below_db: int, delay: int) -> list[int]:
    """Return the levels of a track with the echo of another: the louder of both."""
    return [
        max(level, other[at - delay] - below_db if at >= delay else 0, FLOOR) for at, level in enumerate(own)
    ]


def talk(levels: list[int], above: int = FLOOR + 10) -> list[int]:
    return [int(level >= above) for level in levels]


def heard(*tracks: list[int], restarts: set[int] | None = None) -> Record:
    """Return the measures of tracks of levels; each frame well above the floor is taken for talk."""
    state = ConversationState()
    conversation = Conversation(state, 3_600_000)
    for first in range(0, len(tracks[0]), 50):
        for index, levels in enumerate(tracks):
            piece = levels[first : first + 50]
            runs = [(kind, 1) for kind in talk(piece)]
            at = TrackSegment(f"t{index}", index, 0, 0, b"", [], 0, DELIVERY, -1, -1)
            conversation.feed(at, Activity(runs, bytes(piece)))
        if restarts and first // 50 in restarts:
            snapshot = msgspec.msgpack.encode(conversation.state)
            state = msgspec.msgpack.decode(snapshot, type=ConversationState)
            conversation = Conversation(state, 3_600_000)
    return conversation.end()[-1]


FRAMES = 6000
NEAR = [(first, first + 200) for first in range(50, FRAMES - 400, 500)]
FAR = [(first + 250, first + 430) for first in range(50, FRAMES - 500, 500)]


@pytest.mark.parametrize("delay", [1, 5, 15])
@pytest.mark.parametrize("below_db", [15, 20, 30])
def test_an_echo_is_found_and_is_no_talk(below_db: int, delay: int) -> None:
    near, far = spoken(FRAMES, NEAR, -18, 1), spoken(FRAMES, FAR, -20, 2)
    truth = heard(near, far)
    record = heard(near, echoed(far, near, below_db, delay))
    party = record["parties"][1]
    assert party["echo_delay_ms"] == delay * 20
    assert party["echo_return_loss_db"] == pytest.approx(below_db, abs=2)
    assert record["parties"][0]["echo_delay_ms"] is None
    for name, bound in (("interruptions", 1), ("turns", 1), ("talk_ms", 4000)):
        for measured, true in zip(record["parties"], truth["parties"], strict=True):
            assert abs(measured[name] - true[name]) <= bound, name
    assert party["echo_ms"] > 0
    assert (
        sum(p["alone_ms"] for p in record["parties"]) + record["overlap_ms"] + record["silence_ms"]
        == (record["duration_ms"])
    )


def test_a_muted_party_does_not_talk() -> None:
    near = spoken(FRAMES, NEAR, -18, 1)
    record = heard(near, echoed([FLOOR] * FRAMES, near, 20, 7))
    assert record["parties"][1]["talk_ms"] <= 3000
    assert record["parties"][0]["talk_ms"] == heard(near, [FLOOR] * FRAMES)["parties"][0]["talk_ms"]


def test_who_speaks_while_the_other_does_is_no_echo() -> None:
    near, far = spoken(FRAMES, NEAR, -18, 1), spoken(FRAMES, [(f + 100, e + 100) for f, e in NEAR], -22, 2)
    record = heard(near, far)
    assert [p["echo_ms"] for p in record["parties"]] == [0, 0]
    assert [p["echo_return_loss_db"] for p in record["parties"]] == [None, None]


def test_more_parties_than_are_compared_are_measured_without() -> None:
    near = spoken(1000, NEAR[:2], -18, 1)
    tracks = [near, *([echoed([FLOOR] * 1000, near, 20, 3)] * MAX_PARTIES)]
    assert [p["echo_ms"] for p in heard(*tracks)["parties"]] == [0] * (MAX_PARTIES + 1)


@given(restarts=st.sets(st.integers(0, FRAMES // 50)))
def test_a_restart_anywhere_changes_nothing(restarts: set[int]) -> None:
    assert heard(*PAIR, restarts=restarts) == WHOLE


PAIR = (
    spoken(1500, NEAR[:3], -18, 1),
    echoed(spoken(1500, FAR[:3], -20, 2), spoken(1500, NEAR[:3], -18, 1), 20, 5),
)
WHOLE = heard(*PAIR)


def test_what_is_known_of_an_echo_does_not_grow() -> None:
    pair = EchoPair(0, 1)
    assert len(msgspec.msgpack.encode(pair)) < 1300
    with pytest.raises(ValueError, match="an echo of 3"):
        EchoPair(0, 1, sums=bytearray(3))


def test_what_was_warmed_up_is_compiled_no_more() -> None:
    def compiled() -> str:
        return str([getattr(kernels, name).signatures for name in ("find_echo", "echo_path")])

    if numba.config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    warm_up()
    before = compiled()
    assert "[]" not in before
    far = spoken(FRAMES, FAR, -25, 2)
    assert heard(echoed(spoken(FRAMES, NEAR, -25, 1), far, 20, 8), far)["parties"][0]["echo_ms"] > 0
    assert compiled() == before
