"""What a chaos run did and what it found."""

from collections import Counter
from dataclasses import dataclass, field

from benchmarks.chaos.schedule import BROKER
from tapeline.checks.audit import Reconciliation


@dataclass(slots=True)
class Report:
    """The result of a chaos run: ``faults`` is empty if every promise held."""

    seed: int
    calls: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    freezes: Counter[str] = field(default_factory=Counter)
    """Of the agents and the gateway; of the broker, its pauses."""
    restarts: Counter[str] = field(default_factory=Counter)
    recordings: int = 0
    checked_by_oracle: int = 0
    checkpoints: int = 0
    """Records of the changelogs."""
    events: int = 0
    """Records of ``voxology.tracks``, those written twice counted twice."""
    events_again: int = 0
    measures: int = 0
    """Different records of ``voxology.metrics``."""
    letters: Counter[str] = field(default_factory=Counter)
    """Dead letters by who refused them and why, such as ``assemble StreamClosed``, each once."""
    reconciled: Reconciliation = field(default_factory=Reconciliation)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        totals = self.reconciled
        frozen = Counter({name: count for name, count in self.freezes.items() if name != BROKER})
        lines = [
            f"seed {self.seed}: {_told(self.kills, 'kills')}, {_told(frozen, 'freezes')}, "
            f"{self.freezes[BROKER]} pauses of the broker in {self.seconds:.0f} s",
            f"{self.calls} calls, {self.recordings} recordings: {totals.complete} complete, "
            f"{totals.partial} partial; {self.checked_by_oracle} checked by the oracle too",
            f"{totals.messages} messages = {totals.used} used + {totals.duplicate} duplicate "
            f"+ {totals.late} late + {totals.dead_lettered} dead-lettered",
            f"{self.events} events, {self.events_again} of them again; {self.measures} measures; "
            f"{self.checkpoints} checkpoints; {_told(self.letters, 'dead letters')}",
            *self.faults,
            f"{len(self.faults)} faults",
        ]
        return "\n".join(lines)


def _told(counts: Counter[str], what: str) -> str:
    each = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{counts.total()} {what} ({each})" if each else f"0 {what}"
