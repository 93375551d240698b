"""Verifying recordings against the log: each is made again from it, as far as it still can be."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from processors.config import StorageConfig
from processors.core.assemble.config import AssemblyConfig
from processors.core.record.replacement import Facts, facts_of
from processors.storage.recordings import Recordings, Saved
from processors.storage.store import delete_below, open_store
from runtime.clients import TOOL_PATIENCE_S
from runtime.cluster import Cluster
from runtime.log_identity import log_identity
from schemas.identity import LogIdentity, StreamIdentity
from schemas.registry import Registry
from schemas.topics import MESSAGES
from tapeline.checks.begun import of_manifests
from tapeline.checks.rebuild import BEHEADED, OPEN, Rebuilt, Selection, rebuild
from tapeline.checks.recorded import Recording
from tapeline.topics.reader import beginnings


@dataclass(slots=True)
class LogComparison:
    """What came of comparing the recordings of a store with those that the log makes."""

    faults: list[tuple[StreamIdentity, str]] = field(default_factory=list)
    expired: int = 0
    """Recordings of which the log no longer holds all messages: nothing to compare with, and no fault."""
    of_other_logs: int = 0


async def against_log(
    recorded: Sequence[Recording],
    cluster: Cluster,
    registry: Registry | None,
    config: AssemblyConfig,
    storage: StorageConfig,
    on_remark: Callable[[StreamIdentity, str], None] = lambda stream, remark: None,
) -> LogComparison:
    """Compare the recordings with those made again from the log, by the settings that their manifests tell.

    ``on_remark`` is told what is no fault, but makes the comparison worth less: settings that are not known,
    or rules of another version. Raise BrokerAwayError and TopicsError.
    """
    memory = open_store("memory://")
    log = await log_identity(cluster, TOOL_PATIENCE_S)
    comparing = Comparing(recorded, log)
    begun = of_manifests(one.text for one in comparing.of_this_log.values())
    async for rebuilt in rebuild(
        cluster, registry, Recordings(memory, log), Selection(), config, storage, begun=begun
    ):
        if rebuilt.remark not in ("", OPEN, BEHEADED) and rebuilt.stream in comparing.of_this_log:
            on_remark(rebuilt.stream, rebuilt.remark)
        comparing.take(rebuilt)
        if isinstance(rebuilt.composed, Saved):
            # Its manifest tells all; the audio would fill the memory, call by call.
            await delete_below(memory, rebuilt.composed.path)
    # Only now: what was deleted while it was read cannot be compared either.
    return comparing.found(await beginnings(cluster, MESSAGES))


class Comparing:
    """Recordings made again, one by one, against those that stand. Pure."""

    def __init__(self, recorded: Sequence[Recording], log: LogIdentity) -> None:
        self.of_this_log: dict[StreamIdentity, Recording] = {}
        self._facts: dict[StreamIdentity, Facts] = {}
        for one in recorded:
            if one.facts is not None and one.facts.made_from == log:
                self.of_this_log[one.facts.stream] = one
                self._facts[one.facts.stream] = one.facts
        others = [one for one in recorded if one.facts is not None and one.facts.made_from != log]
        self._of_other_logs = len(others)
        self._made: dict[StreamIdentity, list[str]] = {}
        """What differs, by stream."""
        self._unknown: list[tuple[StreamIdentity, Saved]] = []

    def take(self, rebuilt: Rebuilt) -> None:
        """Compare a stream of the log with its recording, if there is one."""
        stream, again = rebuilt.stream, rebuilt.composed
        mine = self.of_this_log.get(stream)
        if not isinstance(again, Saved):
            self._made[stream] = ["recorded, but still open in the log"] * (
                rebuilt.remark in (OPEN, BEHEADED)
            )
        elif mine is None:
            self._unknown.append((stream, again))
        elif hashlib.sha256(mine.text).hexdigest() == again.manifest_sha256:
            self._made[stream] = []
        else:
            self._made[stream] = list(_changes(json.loads(mine.text), again.manifest))

    def found(self, beginnings: Mapping[int, int]) -> LogComparison:
        """Return what was found, given where each partition of the log begins."""
        found = LogComparison(of_other_logs=self._of_other_logs)
        headless = []
        for stream, facts in self._facts.items():
            differs = self._made.get(stream, ["recorded, but not in the log"])
            if differs and self._made_from(facts) < beginnings.get(facts.log.partition, 0):
                found.expired += 1
                headless.append(facts.span)
            else:
                found.faults += [(stream, what) for what in differs]
        # What is left of a stream in the log has another beginning.
        for stream, again in self._unknown:
            span = facts_of(again.manifest).span
            if not any(span.is_same_incarnation(one) for one in headless):
                found.faults.append((stream, "in the log, but not recorded"))
        return found

    def _made_from(self, facts: Facts) -> int:
        """Return the first offset that a recording is made from, with the streams that it continues."""
        first, continues = facts.log.first_offset, facts.continues
        while continues is not None and continues < first:
            first = continues
            earlier = self._facts.get(facts.stream._replace(origin_offset=continues))
            continues = earlier.continues if earlier is not None else facts.log.init_offset
        return first


def _changes(stored: Any, again: Any, path: str = "") -> Iterable[str]:
    """Yield where two manifests differ."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in dict.fromkeys((*stored, *again)):
            yield from _changes(stored.get(name), again.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for number, (a, b) in enumerate(zip(stored, again, strict=True)):
            yield from _changes(a, b, f"{path}[{number}]")
    elif stored != again:
        yield f"{path} is {stored!r}, from the log {again!r}"
