"""The judgement at the end of a chaos run: everything in the log and in the store, held against a replay."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from benchmarks.chaos import invariants
from benchmarks.chaos.calls import Played
from benchmarks.chaos.invariants import Cursor, Letter, Numbered, abridged
from benchmarks.chaos.replay import digest, measured, replayed
from benchmarks.chaos.report import Report
from benchmarks.chaos.schedule import BROKER
from ingest.protocol import Refused, parse
from processors.config import WorkerConfig
from processors.core.assemble.state import StreamState
from processors.core.measure.stream import StreamMeterState
from processors.core.record.stream import RecorderState
from processors.driver.checkpoints import ATTEMPT, snapshot_in
from processors.storage.store import open_store
from runtime.cluster import Cluster
from schemas.dead_letter import parse_headers
from schemas.identity import identity_in
from schemas.topics import AGENTS, DEAD_LETTERS, MESSAGES, METRICS, RECORDINGS, TRACKS, changelog
from tapeline.checks.audit import audit
from tapeline.checks.recorded import recordings_in
from tapeline.checks.verify import against_manifest, against_oracle
from tapeline.checks.verify_log import against_log
from tapeline.topics.reader import entries, records


async def judge(
    report: Report,
    cluster: Cluster,
    config: WorkerConfig,
    played: list[Played],
    gateway_disturbed: list[tuple[float, float]],
) -> None:
    """Add to a report whatever is not as an undisturbed run would have left it."""
    await _judge_recordings(report, cluster, config)
    await _judge_events(report, cluster, config, played)
    await _judge_measures(report, cluster, config)
    for agent in AGENTS:
        await _judge_checkpoints(report, cluster, agent)
    await _judge_by_oracle(report, config, played, gateway_disturbed)


async def _judge_recordings(report: Report, cluster: Cluster, config: WorkerConfig) -> None:
    store = open_store(config.store)
    recorded = await recordings_in(store)
    report.recordings = len(recorded)
    for recording in recorded:
        report.faults += [f"{recording}: {f}" for f in await against_manifest(store, recording)]
    compared = await against_log(recorded, cluster, None, config.assembly, config.storage)
    report.faults += [f"stream {stream}: log: {fault}" for stream, fault in compared.faults]
    totals = report.reconciled = await audit(cluster, None)
    report.faults += totals.faults
    if totals.still_open or totals.not_recorded_yet or totals.failed:
        report.faults.append(
            f"{totals.still_open} streams still open, {totals.not_recorded_yet} not recorded, "
            f"{totals.failed} failed"
        )
    said = [
        (identity_in(entry.value), entry.value["type"], digest(entry.raw.value))
        async for entry in entries(cluster, RECORDINGS, None)
        if entry.value is not None
    ]
    report.faults += abridged(invariants.announcements(said))


async def _judge_events(report: Report, cluster: Cluster, config: WorkerConfig, played: list[Played]) -> None:
    replay = await replayed(cluster, config.assembly)
    events = Numbered()
    async for entry in entries(cluster, TRACKS, None):
        assert entry.value is not None, f"an event of {TRACKS.name} does not decode"
        events.add(identity_in(entry.value), entry.value["event_index"], digest(entry.raw.value))
    report.events, report.events_again = events.records, events.again
    report.faults += abridged(events.faults)
    report.faults += abridged(
        invariants.differences("event (stream, index)", events.contents, replay.events.contents)
    )
    letters, refused = await _letters(cluster)
    report.letters = Counter(f"{letter.component} {letter.reason}" for letter in letters)
    report.letters += Counter(f"gateway {reason}" for _, reason in refused)
    report.faults += abridged(invariants.letters_of_agents(letters, replay.letters))
    report.faults += abridged(invariants.closed_too_early(letters, await _once(cluster)))
    sent = {frame: _reason(frame) for call in played for frame in call.garbage}
    report.faults += abridged(invariants.letters_of_gateway(refused, sent))


async def _once(cluster: Cluster) -> set[tuple[int | None, int | None]]:
    """Return the places of the messages that say what none before them in their stream did."""
    said: set[tuple[int, bytes]] = set()
    places: set[tuple[int | None, int | None]] = set()
    async for entry in entries(cluster, MESSAGES, None):
        assert entry.value is not None, f"a message of {MESSAGES.name} does not decode"
        content = digest(repr((entry.value["type"], entry.value["payload"])).encode())
        if (entry.value["stream_id"], content) not in said:
            places.add((entry.raw.partition, entry.raw.offset))
        said.add((entry.value["stream_id"], content))
    return places


async def _letters(cluster: Cluster) -> tuple[set[Letter], list[tuple[bytes, str]]]:
    """Return the agents' dead letters, each once, and value and reason of the gateway's."""
    letters, refused = set(), []
    async for entry in entries(cluster, DEAD_LETTERS, None):
        letter = parse_headers(list(entry.raw.headers))
        if letter.component == "gateway":
            refused.append((entry.raw.value or b"", letter.reason))
        else:
            letters.add(
                Letter(letter.component, letter.topic, letter.partition, letter.offset, letter.reason)
            )
    return letters, refused


def _reason(frame: bytes) -> str:
    """Return why a gateway refuses a frame."""
    refused = parse(frame.decode(), received_at_us=0, connection="", sender=None)
    assert isinstance(refused, Refused)
    return refused.reason.value


async def measures(cluster: Cluster, config: WorkerConfig) -> tuple[set[bytes], set[bytes]]:
    """Return the digests of the measures that should be there, and of those that are."""
    found = {digest(entry.raw.value) async for entry in entries(cluster, METRICS, None)}
    return await measured(cluster, config.window_ms), found


async def _judge_measures(report: Report, cluster: Cluster, config: WorkerConfig) -> None:
    expected, found = await measures(cluster, config)
    report.measures = len(found)
    if missing := expected - found:
        report.faults.append(f"{len(missing)} measures are missing")
    wrong = [
        f"stream {entry.value['stream_id']}: event {entry.value['event_index']} was measured otherwise "
        f"than by an undisturbed run: {entry.value['payload']}"
        async for entry in entries(cluster, METRICS, None)
        if entry.value is not None and digest(entry.raw.value) not in expected
    ]
    report.faults += abridged(wrong)


async def _judge_checkpoints(report: Report, cluster: Cluster, agent: str) -> None:
    written: dict[int, list[tuple[bytes, bytes | None]]] = {}
    async for record in _all_of(cluster, changelog(agent).name):
        if record.key != ATTEMPT:
            written.setdefault(record.partition, []).append((record.key, record.value))
    report.checkpoints += sum(map(len, written.values()))
    for partition, checkpoints in written.items():
        faults = invariants.checkpoints_gone_back(checkpoints, _CURSORS[agent])
        report.faults += abridged([f"{agent}, partition {partition}: {fault}" for fault in faults])


def _all_of(cluster: Cluster, topic: str) -> AsyncIterator[Any]:
    return records(cluster, topic, from_beginning=True, exit_at_end=True)


def _assembled(value: bytes) -> Cursor:
    state = msgspec.msgpack.decode(snapshot_in(value), type=StreamState)
    return Cursor(state.seen_offset, state.closed)


def _metered(value: bytes) -> Cursor:
    state = msgspec.msgpack.decode(snapshot_in(value), type=StreamMeterState)
    return Cursor(state.last_index, state.closed)


def _recorded(value: bytes) -> Cursor:
    state = msgspec.msgpack.decode(snapshot_in(value), type=RecorderState)
    return Cursor(state.stored_index, state.closed)


_CURSORS = {"assemble": _assembled, "measure": _metered, "record": _recorded}


async def _judge_by_oracle(
    report: Report, config: WorkerConfig, played: list[Played], gateway_disturbed: list[tuple[float, float]]
) -> None:
    """Compare with the oracle what the gateway received undisturbed.

    A killed gateway may lose what Kafka had not acknowledged, one that froze may break its connections, and
    after an outage of the broker a stream may have passed its reorder buffer.
    """
    if report.kills[BROKER] or report.freezes[BROKER]:
        return
    store = open_store(config.store)
    recorded = await recordings_in(store)
    for call in played:
        if any(call.began_s - 1 < end and begin < call.ended_s + 1 for begin, end in gateway_disturbed):
            continue
        report.checked_by_oracle += 1
        faults = await against_oracle(store, recorded, call.expected)
        report.faults += [f"stream {call.stream_id}: oracle: {f}" for f in faults]
