"""Faults are repeatable, and stay within what a perfect receiver can undo."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeline.emulator.faults import Faults, Step, misbehave
from tapeline.emulator.voxology import Call, SourceTrack, messages

CALL = Call(
    7, [SourceTrack(n, bytes(80_000)) for n in ("caller", "transfer")], datetime(2026, 1, 1, tzinfo=UTC)
)
EVERYTHING = Faults(*[0.1] * 9)


def steps(faults: Faults, seed: int = 1) -> list[Step]:
    return misbehave(messages(CALL), faults, seed, CALL.stream_id)


def sent(found: list[Step]) -> list[dict[str, Any]]:
    return [s.message for s in found if s.message]


def test_no_faults_change_nothing() -> None:
    assert [(s.at_ms, s.message) for s in steps(Faults())] == list(messages(CALL))
    assert {s.connection for s in steps(Faults())} == {0}
    assert not Faults().any()


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    assert steps(EVERYTHING) == steps(EVERYTHING)
    assert steps(EVERYTHING) != steps(EVERYTHING, seed=2)


@pytest.mark.parametrize(
    ("faults", "count"),
    [(Faults(loss=1), 0), (Faults(dup=1), 2 * 120), (Faults(no_end=1), 119), (Faults(garbage=1), 2 * 120)],
)
def test_how_many_are_sent(faults: Faults, count: int) -> None:
    assert len(list(messages(CALL))) == 120
    assert len(steps(faults)) == count


def test_cuts_go_on_over_new_connections() -> None:
    assert [s.connection for s in steps(Faults(cut=1))] == list(range(120))


def test_a_burst_comes_at_once_and_later() -> None:
    plain = [s.at_ms for s in steps(Faults())]
    late = [s.at_ms for s in steps(Faults(burst=0.1))]
    assert late == sorted(late)
    assert all(0 <= b - a <= 800 for a, b in zip(plain, late, strict=True))
    assert late != plain


def test_wrong_durations_are_declared() -> None:
    changed = sent(steps(Faults(wrong_duration=1)))
    plain = sent(steps(Faults()))
    stops = [m["duration"] for m in changed if m["type"] == "stop_track"]
    assert stops != [m["duration"] for m in plain if m["type"] == "stop_track"]
    assert changed[-1]["tracks"] != plain[-1]["tracks"]


@given(seed=st.integers(0, 1000))
def test_a_message_is_overtaken_by_at_most_three_of_its_track(seed: int) -> None:
    found = sent(steps(Faults(reorder=0.5), seed))
    for name in ("caller", "transfer"):
        numbers = [m["track_sequence_number"] for m in found if m.get("name") == name]
        assert sorted(numbers) == list(range(1, 60))
        assert max(abs(at + 1 - n) for at, n in enumerate(numbers)) <= 3
    assert sent(steps(Faults(reorder=0.5), seed)) != sent(steps(Faults()))


def test_garbage_is_no_message() -> None:
    garbage = {s.frame for s in steps(Faults(garbage=1)) if s.message is None}
    assert len(garbage) > 3
    for frame in garbage:
        try:
            body = json.loads(frame)
        except ValueError:
            continue
        assert not (isinstance(body, dict) and isinstance(body.get("stream_id"), int))


def test_times_never_run_backwards() -> None:
    for a, b in itertools.pairwise(steps(EVERYTHING)):
        assert a.at_ms <= b.at_ms
