"""The chain of the model, and what may be done to it."""

from dataclasses import dataclass, field
from typing import Any

from chain_checks import IDLE_MS
from chain_model import AGENTS, Kafka, Life, Store, Worker

from processors.core.assemble.config import AssemblyConfig
from processors.core.partition import CheckpointConfig
from schemas.schema import Record

ASSEMBLY = AssemblyConfig(segment_ms=20, idle_ms=IDLE_MS)
LIFE = Life((2,), assembly=ASSEMBLY, saving=CheckpointConfig(every_ms=10))
#: Rounds of a second in which everything comes to rest: a silence begins anew, and is waited for.
ROUNDS = 3 * IDLE_MS // 1000


@dataclass
class Chain:
    """The chain, and what is done to it."""

    script: list[Record]
    life: Life = LIFE
    kafka: Kafka = field(default_factory=Kafka)
    store: Store = field(default_factory=Store)
    workers: dict[str, Worker] = field(default_factory=dict)
    zombies: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        for agent in AGENTS:
            self.start(agent, self.life)

    def start(self, agent: str, life: Life) -> None:
        self.workers[agent] = Worker(self.kafka, self.store, agent, life)

    def happen(self, what: str, *details: Any) -> None:
        match what, *details:
            case "publish", count, spacing_ms:
                for _ in range(min(count, len(self.script))):
                    self.kafka.now_ms += spacing_ms
                    self.kafka.append("messages", [self.script.pop(0)])
            case "wait", wait_ms:
                self.kafka.now_ms += wait_ms
            case "quiet", seconds, steps:
                for _ in range(seconds):
                    self.kafka.now_ms += 1_000
                    for agent in AGENTS:
                        self.happen("run", agent, steps)
            case "outage", away_ms:
                self.kafka.now_ms += away_ms
                self.kafka.away_ms += away_ms
            case "run", agent, steps:
                for _ in range(steps):
                    self.go_on(agent)
            case "wake", number, steps:
                if self.zombies:
                    self.wake(self.zombies[number % len(self.zombies)], steps)
            case "stop", agent, life:
                self.workers[agent].stopping = True
                while self.workers[agent].step():
                    pass
                self.start(agent, life)
            case "crash", agent, life:
                self.start(agent, life)
            case "take over", agent, life:
                self.zombies.append(self.workers[agent])
                self.start(agent, life)

    def go_on(self, agent: str) -> None:
        """Let the owner take a step. One that a zombie fenced, by taking the partition late, starts anew."""
        if not self.workers[agent].step():
            self.start(agent, self.workers[agent].life)

    def wake(self, zombie: Worker, steps: int) -> None:
        for _ in range(steps):
            if not zombie.step():
                self.zombies.remove(zombie)
                return

    def come_to_rest(self) -> None:
        """Publish what is left, and let everybody go on until nothing is open."""
        self.happen("publish", len(self.script), 5)
        for _ in range(ROUNDS):
            self.kafka.now_ms += 1_000
            for agent in AGENTS:
                self.workers[agent].idle = False
                while not self.workers[agent].idle:
                    self.go_on(agent)
            for zombie in [*self.zombies]:
                self.wake(zombie, 40)
            if all(worker.at_rest for worker in self.workers.values()):
                return
        raise AssertionError("streams are still open")
