"""Jobs of a stream in order, streams side by side, retries with growing pauses."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from processors.agents.recording_jobs import Operation, RecordingJobs
from processors.storage.store import StoreError
from runtime import telemetry


class Agent:
    """What an agent gives its jobs, and what came back."""

    def __init__(self, slots: int = 16, give_up_s: float = 60.0) -> None:
        self.failed: list[tuple[int, BaseException]] = []
        self.jobs = RecordingJobs(
            slots, give_up_s, structlog.get_logger(), lambda *told: self.failed.append(told)
        )


async def never(reason: str) -> None:
    raise AssertionError(reason)


def owned() -> bool:
    return True


async def settled() -> None:
    """Let all tasks run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=30), st.integers(1, 5))
def test_jobs_of_a_stream_run_one_after_the_other(started: list[tuple[str, int]], slots: int) -> None:
    """Whatever the streams, the time that each job takes, and the slots."""
    began: list[tuple[str, int]] = []
    ended: list[tuple[str, int]] = []
    running = most = 0

    def job(name: str, number: int, turns: int) -> Operation[None]:
        async def run() -> None:
            nonlocal running, most
            assert [n for s, n in began if s == name] == [n for s, n in ended if s == name]
            began.append((name, number))
            running += 1
            most = max(most, running)
            for _ in range(turns):
                await asyncio.sleep(0)
            running -= 1
            ended.append((name, number))

        return run

    async def run_all() -> Agent:
        agent = Agent(slots)
        for number, (name, turns) in enumerate(started):
            await agent.jobs.start(name, job(name, number, turns), owned)
        for _ in range(5 * len(started) + 20):
            await asyncio.sleep(0)
        return agent

    assert asyncio.run(run_all()).failed == []
    assert sorted(number for _, number in ended) == list(range(len(started)))
    for name in "abc":
        numbers = [number for stream, number in ended if stream == name]
        assert numbers == sorted(numbers)
    assert most <= slots


async def test_a_stream_that_waits_does_not_delay_another() -> None:
    agent, gate, done = Agent(), asyncio.Event(), list[str]()

    def job(name: str) -> Operation[None]:
        async def run() -> None:
            if name == "1":
                await gate.wait()
            done.append(name)

        return run

    for name in "1122":
        await agent.jobs.start(name, job(name), owned)
    await settled()
    assert done == ["2", "2"]
    gate.set()
    await settled()
    assert done == ["2", "2", "1", "1"]


async def test_a_job_waits_for_a_slot_and_is_dropped_if_its_partition_went_meanwhile() -> None:
    agent, gate, done = Agent(slots=1), asyncio.Event(), list[str]()

    async def first() -> None:
        await gate.wait()
        done.append("first")

    async def second() -> None:
        done.append("second")

    owns = True
    await agent.jobs.start("1", first, lambda: owns)
    waiting = asyncio.create_task(agent.jobs.start("2", second, lambda: owns))
    await settled()
    assert not waiting.done()
    owns = False
    gate.set()
    await settled()
    assert waiting.done()
    assert done == ["first"]
    await asyncio.wait_for(agent.jobs.start("3", second, owned), 1)
    await settled()
    assert done == ["first", "second"], "the slot was given back"


async def test_a_job_that_fails_is_told_and_those_after_it_do_not_run() -> None:
    agent, done = Agent(), list[int]()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("bug")

    async def succeed() -> None:
        done.append(1)

    for job in (fail, succeed, succeed):
        await agent.jobs.start("1", job, owned)
    await settled()
    assert done == []
    assert [(name, str(error)) for name, error in agent.failed] == [("1", "bug")]


async def test_a_revocation_cancels_every_job_and_frees_its_slot() -> None:
    agent, ended = Agent(slots=3), list[str]()

    def job(name: str, pause_s: float) -> Operation[None]:
        async def run() -> None:
            async def store() -> None:
                ended.append(name)
                raise StoreError("away")

            await agent.jobs.retried("1", store, never)

        return run

    for name in ("a", "b"):
        await agent.jobs.start("1", job(name, 0), owned)
    await agent.jobs.start("2", job("c", 0), owned)
    await settled()
    assert ended == ["a", "c"], "b waits for a, which waits to try again"
    agent.jobs.cancel()
    await asyncio.sleep(0.3)
    assert ended == ["a", "c"], "nothing was tried again"
    assert agent.failed == []

    async def later() -> None:
        ended.append("later")

    for _ in range(3):
        await asyncio.wait_for(agent.jobs.start("1", later, owned), 1)
    await settled()
    assert ended[2:] == ["later"] * 3


async def test_a_job_that_was_cancelled_and_still_ends_does_not_take_the_next_ones_with_it() -> None:
    """A local store waits for its threads: one that is cancelled ends when the disk has answered."""
    agent, disk, done = Agent(slots=4), asyncio.Event(), list[str]()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await disk.wait()
            raise

    def job(name: str) -> Operation[None]:
        async def run() -> None:
            done.append(name)

        return run

    await agent.jobs.start(1, slow, owned)
    await agent.jobs.start(1, job("of the same assignment"), owned)
    await settled()
    agent.jobs.cancel()
    await agent.jobs.start(1, job("part"), owned)
    await agent.jobs.start(1, job("recording"), owned)
    await settled()
    disk.set()
    await settled()
    assert done == ["part", "recording"]
    assert agent.failed == []


# Retries --------------------------------------------------------------------------------------


def failing(times: int, error: Callable[[], Exception]) -> tuple[Operation[str], list[float]]:
    """Return an operation that fails so often, and when it was tried."""
    tried: list[float] = []

    async def operation() -> str:
        tried.append(asyncio.get_running_loop().time())
        if len(tried) <= times:
            raise error()
        return "stored"

    return operation, tried


@pytest.mark.parametrize("error", [StoreError, OSError, TimeoutError, FileNotFoundError])
async def test_a_store_that_fails_is_tried_again_after_pauses_that_double(error: type[Exception]) -> None:
    agent = Agent()
    before = telemetry.STORE_RETRIES._value.get()
    operation, tried = failing(3, lambda: error("away"))
    assert await agent.jobs.retried("1", operation, never) == "stored"
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4], abs=0.09)
    assert agent.jobs.trouble is None
    assert telemetry.STORE_RETRIES._value.get() - before == 3


async def test_that_a_store_fails_for_too_long_is_told_when_the_time_is_over_and_it_is_tried_on() -> None:
    agent = Agent(give_up_s=0.5)
    operation, tried = failing(6, lambda: StoreError("disk full"))
    told: list[tuple[float, str, str | None]] = []

    async def overdue(reason: str) -> None:
        told.append((asyncio.get_running_loop().time(), reason, agent.jobs.trouble))

    assert await agent.jobs.retried("1", operation, overdue) == "stored"
    [(at_s, reason, trouble)] = told
    assert trouble == "disk full"
    assert reason == (
        "the store failed for 0 s (TAPELINE_STORE_GIVE_UP_S) and is tried on; at last with: disk full"
    )
    assert at_s - tried[0] == pytest.approx(0.5, abs=0.09), "the pause before is cut to what is left"
    assert agent.jobs.trouble is None


async def test_what_is_raised_when_it_is_overdue_ends_the_retries() -> None:
    agent = Agent(give_up_s=0)
    operation, _ = failing(99, lambda: StoreError("disk full"))

    async def overdue(reason: str) -> None:
        raise LookupError(reason)

    with pytest.raises(LookupError):
        await agent.jobs.retried("1", operation, overdue)
    assert agent.jobs.trouble is None


async def test_the_retries_of_a_stream_are_logged_once_a_minute() -> None:
    agent = Agent()
    with capture_logs() as logged:
        for name in "112":
            operation, _ = failing(2, lambda: StoreError("away"))
            await agent.jobs.retried(name, operation, never)
    said = [(line["event"], line["stream"], line["reason"], line["retry_s"]) for line in logged]
    assert said == [("store_failed", "1", "away", 0.1), ("store_failed", "2", "away", 0.1)]


async def test_other_errors_are_raised_at_once() -> None:
    agent = Agent()
    operation, tried = failing(99, lambda: ValueError("bug"))
    with pytest.raises(ValueError, match="bug"):
        await agent.jobs.retried("1", operation, never)
    assert len(tried) == 1
    assert agent.jobs.trouble is None, "the store is not to blame"


@pytest.mark.parametrize("after_s", [0.02, 0.25], ids=["in a pause", "in an attempt"])
async def test_a_cancellation_ends_the_retries(after_s: float) -> None:
    agent, tried = Agent(), list[int]()

    async def operation() -> None:
        tried.append(1)
        if len(tried) == 2:
            await asyncio.sleep(60)
        raise StoreError("away")

    task = asyncio.create_task(agent.jobs.retried("1", operation, never))
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(tried) == (1 if after_s < 0.1 else 2)
