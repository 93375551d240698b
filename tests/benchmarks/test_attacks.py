"""What a sender says costs a small multiple of what it sent, in the topics and in the store."""

from random import Random

import pytest

from benchmarks.fuzz.attacks import ATTACKS, MANY, MIX_TIMES, Message, chunk, cost, said, start, stop


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_at_most_ten_times_what_it_sent_and_a_minute_of_silence(name: str) -> None:
    spent = cost(ATTACKS[name]())
    assert spent.topics.total() <= spent.most
    assert spent.stored <= (1 + MIX_TIMES) * spent.most


@pytest.mark.parametrize("name", MANY)
def test_many_streams_cost_a_few_kilobytes_each(name: str) -> None:
    spent = cost(MANY[name], streams=0)
    assert spent.topics.total() <= 10 * spent.sent + 200 * 2_000
    assert spent.stored <= 10 * spent.sent + 200 * 4_000


def _message(source: Random) -> Message:
    name, kind = (
        f"t{source.randrange(6)}",
        source.choice(["start", "chunk", "chunk", "chunk", "stop", "init"]),
    )
    number = source.randint(1, 12) if source.random() < 0.6 else source.randint(1, 10**6)
    length = source.choice([0, 1, 40, 160, 1400, 60_000])
    match kind:
        case "start":
            return start(number, name, source.choice([8000, 48_000, 384_000]))
        case "chunk":
            return chunk(number, bytes([number % 256]) * length, name)
        case "stop":
            return stop(number, name, duration=number * length)
        case _:
            return said("init_stream")


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_said_costs_no_more(seed: int) -> None:
    source = Random(seed)
    spent = cost([*(_message(source) for _ in range(20)), said("end_stream")])
    assert spent.topics.total() <= spent.most
    assert spent.stored <= (1 + MIX_TIMES) * spent.most
