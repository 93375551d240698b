"""The whole chain under stalls, zombies, crashes in a row, late commits and settings that change.

Whatever happens to the workers, what stands in the topics and in the store is what an undisturbed run makes
of the same log, each event with one content, and nothing that was accepted is lost.
"""

from dataclasses import replace
from typing import Any

import pytest
from chain import ASSEMBLY, LIFE, Chain
from chain_checks import (
    IDLE_MS,
    check_checkpoints,
    check_closed,
    check_events,
    check_healthy,
    check_measures,
    check_recordings,
)
from chain_model import AGENTS, Life
from chain_strategies import HAPPENINGS, HOUR_MS, LIVES, call, scripts
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.partition import CheckpointConfig
from schemas.schema import Record
from schemas.silence import is_silence


def check(chain: Chain, healthy: set[str]) -> None:
    """Let a chain come to rest, and hold it against an undisturbed run of its log."""
    chain.come_to_rest()
    events = check_events(chain.kafka)
    check_healthy(chain.kafka, healthy, events)
    check_closed(chain.kafka)
    check_measures(chain.kafka, events)
    check_recordings(chain.kafka, chain.store, events)
    check_checkpoints(chain.kafka)


@settings(max_examples=300)
@given(scripts(), LIVES, st.lists(HAPPENINGS, max_size=60))
def test_whatever_happens_the_outputs_are_those_of_an_undisturbed_run(
    script: tuple[list[Record], set[str]], life: Life, happenings: list[tuple[Any, ...]]
) -> None:
    records, healthy = script
    chain = Chain([*records], life)
    for happening in happenings:
        chain.happen(*happening)
    check(chain, healthy)


OTHERS = Life(
    (3,),
    assembly=AssemblyConfig(window_chunks=2, window_ms=100, segment_ms=35, idle_ms=IDLE_MS),
    saving=LIFE.saving,
    window_ms=65,
    part_ms=20,
)


@pytest.mark.parametrize("saving", [LIFE.saving, CheckpointConfig(every_ms=60_000)])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_crash_with_settings_that_change_leaves_each_stream_those_it_began_with(
    agent: str, saving: CheckpointConfig
) -> None:
    for pause in range(60):
        chain = Chain(call(1, ("caller", "transfer"), 6, 90), replace(LIFE, saving=saving))
        chain.happen("publish", 12, 5)
        for name in AGENTS:
            chain.happen("run", name, pause if name == agent else 80)
        chain.happen("crash", agent, OTHERS)
        check(chain, {"1"})


def zombie_at(agent: str, pause: int, *, fences: bool) -> Chain:
    """Return a chain in which a worker stood still after so many steps, and woke when another was done."""
    chain = Chain(call(1, ("caller", "transfer"), 6, 90))
    chain.kafka.fences = fences
    chain.happen("publish", 10, 5)
    for name in AGENTS:
        chain.happen("run", name, pause if name == agent else 80)
    chain.happen("take over", agent, chain.life)
    chain.happen("publish", 10, 5)
    for name in AGENTS:
        chain.happen("run", name, 80)
    chain.happen("wake", 0, 80)
    return chain


@pytest.mark.parametrize("agent", AGENTS)
def test_a_worker_that_wakes_after_another_took_over_changes_nothing(agent: str) -> None:
    for pause in range(60):
        check(zombie_at(agent, pause, fences=True), {"1"})


@pytest.mark.parametrize("agent", AGENTS)
def test_without_fences_it_would_be_seen(agent: str) -> None:
    wrong = 0
    for pause in range(60):
        try:
            check(zombie_at(agent, pause, fences=False), {"1"})
        except AssertionError:
            wrong += 1
    assert wrong


def test_a_worker_that_wakes_from_an_outage_has_heard_no_silence() -> None:
    """It goes on before the gateway does, which has what the calls said meanwhile."""
    for pause in range(60):
        chain = Chain(call(1, ("far",), 4, 90))
        chain.happen("publish", 4, 5)
        chain.happen("run", "assemble", pause)
        chain.happen("outage", 3 * IDLE_MS)
        chain.happen("run", "assemble", 40)
        chain.happen("publish", 100, 5)
        check(chain, {"1"})


def test_an_end_that_overtakes_the_audio_closes_nothing_while_a_worker_stands_still() -> None:
    for pause in range(60):
        records = call(1, ("far",), 4, 90)
        records.insert(3, records.pop())
        chain = Chain(records)
        chain.happen("publish", 4, 5)
        chain.happen("run", "assemble", pause)
        chain.happen("publish", 100, 5)
        chain.happen("wait", 60_000)
        check(chain, {"1"})


def test_a_silence_is_void_if_something_was_said_before_it_stood_in_the_log() -> None:
    for pause in range(60):
        chain = Chain(call(1, ("far",), 4, 90))
        chain.happen("publish", 4, 5)
        chain.happen("quiet", IDLE_MS // 1000 - 2, 9)
        for _ in range(pause):
            chain.happen("wait", 100)
            chain.happen("run", "assemble", 1)
        chain.happen("publish", 2, 5)
        chain.happen("run", "assemble", 40)
        check(chain, set())


@pytest.mark.parametrize("agent", AGENTS)
def test_a_call_that_was_silent_for_long_goes_on_and_loses_nothing(agent: str) -> None:
    for pause in range(40):
        chain = Chain(call(1, ("caller", "transfer"), 6, 90, "acme"))
        chain.happen("publish", 9, 5)
        chain.happen("quiet", IDLE_MS // 1000 + 5, 9)
        chain.happen("publish", 4, 5)
        for name in AGENTS:
            chain.happen("run", name, pause if name == agent else 80)
        chain.happen("crash", agent, OTHERS)
        check(chain, {"acme/1"})
        folders = [folder.partition("/")[2] for folder in chain.store.recordings]
        assert folders == ["sender=acme/stream=1", "sender=acme/stream=1/from=10"]


def test_a_stream_that_is_open_when_the_agents_were_away_for_a_day_is_closed_by_silence() -> None:
    chain = Chain(call(1, ("far",), 4, 90)[:4])
    chain.happen("publish", 4, 5)
    for agent in AGENTS:
        chain.happen("run", agent, 40)
    chain.happen("wait", 25 * HOUR_MS)
    for agent in AGENTS:
        chain.happen("crash", agent, chain.life)
    check(chain, set())
    assert [is_silence(entry.value) for entry in chain.kafka.logs["messages"]] == [False] * 4 + [True]


@pytest.mark.parametrize(
    "batch",
    [
        2,
        3,
    ],
)
def test_a_call_a_day_after_an_end_that_nothing_closed_is_a_stream_of_its_own(batch: int) -> None:
    """The agents were away meanwhile: both lie in the log, one behind the other."""
    records = call(1, ("far",), 4, 90)
    later = [one | {"received_at": one["received_at"] + 26 * HOUR_MS * 1000} for one in records]
    chain = Chain([records[-1], *later], Life((batch,), assembly=ASSEMBLY, saving=LIFE.saving))
    chain.happen("publish", 1, 0)
    chain.happen("wait", 26 * HOUR_MS)
    check(chain, set())
    assert chain.kafka.letters == []
    assert [versions[0][-1].payload.reasons for versions in chain.store.recordings.values()][1:] == [[]]
