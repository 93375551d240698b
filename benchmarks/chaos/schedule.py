"""What is done to which process, and when: a function of the seed. Pure."""

import random
from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

from schemas.topics import AGENTS

#: Two workers of each agent, so that every kill is a rebalance too.
WORKERS = {f"{agent}-{n}": agent for agent in AGENTS for n in (1, 2)}
GATEWAY = "gateway"
BROKER = "kafka"
VICTIMS = (*WORKERS, GATEWAY, BROKER)

#: The mean time between two disturbances; a broker needs a few seconds to restart.
EVERY_S = 2.0
#: How long a process stands still: below the agents' session timeout (10 s) and beyond it.
FREEZE_S = (2.0, 20.0)
#: The broker stands still for a shorter time, because everything waits for it.
PAUSE_S = (2.0, 12.0)
#: One kill in so many may choose the broker.
_BROKER_ONE_IN = 3


class Kind(Enum):
    """What is done to a process."""

    KILL = "kill"
    """SIGKILL: it is started again, as by a supervisor."""
    FREEZE = "freeze"
    """SIGSTOP, and SIGCONT after a while: a paused container, a machine without time for it."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One thing that is done to a process."""

    kind: Kind
    wait_s: float
    """Seconds after the one before it."""
    victim: str
    """The process; another one (``available``) if it is not running at that time."""
    still_s: float = 0.0
    """How long a frozen process stands still."""


def schedule(seed: int, kills: int, freezes: int) -> list[Disturbance]:
    """Return so many kills and freezes, in an order drawn from the seed."""
    source = random.Random(seed)
    kinds = [Kind.KILL] * kills + [Kind.FREEZE] * freezes
    source.shuffle(kinds)
    drawn = []
    for number, kind in enumerate(kinds, 1):
        wait_s = source.uniform(0.5, 1.5) * EVERY_S
        with_broker = kind is Kind.FREEZE or number % _BROKER_ONE_IN == 0
        victim = source.choice(VICTIMS if with_broker else VICTIMS[:-1])
        still_s = 0.0
        if kind is Kind.FREEZE:
            still_s = source.uniform(*(PAUSE_S if victim == BROKER else FREEZE_S))
        drawn.append(Disturbance(kind, wait_s, victim, still_s))
    return drawn


def available(victim: str, running: Container[str]) -> str | None:
    """Return the victim if it is running, else the next that is, never the broker in place of another."""
    first = VICTIMS.index(victim)
    order = (victim, *(name for name in (*VICTIMS[first:], *VICTIMS[:first]) if name != BROKER))
    return next((name for name in order if name in running), None)
