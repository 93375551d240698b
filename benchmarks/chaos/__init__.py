"""Calls go on while a seeded schedule kills and freezes processes; then all is held against a replay.

``make chaos KILLS=n FREEZES=m CALLS=c SEED=s``. Agents, gateway and broker are killed by SIGKILL; agents and
gateway are frozen (SIGSTOP) for 2 to 20 s, the broker for 2 to 12 s; and the calls have faults. At the end:

- every recording is what a fresh, undisturbed pipeline makes of the same log (``verify --log``);
- the messages are reconciled (``audit``): nothing acknowledged is lost, nothing is duplicated;
- the events are those that the pure core makes of the log, and no number has two contents;
- the measures are those that the pure core makes of the events;
- no checkpoint is behind an earlier one of its stream;
- no dead letter is there that an undisturbed run would not have;
- a call whose gateway was not disturbed during it is also what the oracle predicts;
- no process has ended by itself.
"""

from benchmarks.chaos.report import Report
from benchmarks.chaos.running import run

__all__ = ["Report", "run"]
