"""What is left over in a store, and what never is."""

from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st
from support import LOG, call_events

from processors.core.record.location import location, parts_location
from processors.core.record.replacement import Facts
from processors.core.record.stream import BufferedAudio, RecorderState, StorePart, StreamRecorder
from processors.core.record.sweep import Candidate, Listed, Reason, candidates, needed, reason
from processors.core.snapshot import decoded
from schemas.identity import StreamIdentity

HERE = LOG.topic_id
OPENED_MS = 1_763_500_000_000
identities = st.builds(
    StreamIdentity, st.none() | st.sampled_from(["acme", "a.b-c_d"]), st.integers(0, 3), st.integers(0, 20)
)


def folder(stream: StreamIdentity, log: str = HERE, root: str = "parts") -> str:
    return f"{root}/log={log}/{parts_location(OPENED_MS, stream)}"


def facts(stream: StreamIdentity, log: str) -> Facts:
    said: dict[str, Any] = {"cluster_id": "c", "topic_id": log, "partition": 0, "last_offset": 99}
    made = {"stream_id": stream.stream_id, "sender": stream.sender, "state": "partial", "tracks": []}
    return msgspec.convert({**made, "log": {**said, "first_offset": stream.origin_offset}}, Facts)


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[Listed], list[RecorderState], list[Facts]]:
    """Draw parts, recordings and temporary files; checkpoints; manifests."""
    ages = st.integers(0, 100)
    files, states, manifests = [], [], []
    for stream in draw(st.lists(identities, max_size=6, unique=True)):
        log = draw(st.sampled_from([HERE, "another"]))
        names = [f"{number:010d}-{number:010d}.avro" for number in range(draw(st.integers(0, 3)))]
        files += [Listed(f"{folder(stream, log)}/{name}", 7, draw(ages)) for name in names]
        if draw(st.booleans()):
            files.append(Listed(f"{folder(stream, log)}/0000000000-0000000009.avro#81", 5, draw(ages)))
        recorded = f"recordings/{location(OPENED_MS, stream)}"
        names = draw(st.lists(st.sampled_from(["caller.wav", "recording.json", "mix.wav#12"]), unique=True))
        files += [Listed(f"{recorded}/{name}", 9, draw(ages)) for name in names]
        if draw(st.booleans()):
            manifests.append(facts(stream, log))
        if draw(st.booleans()):
            closed = draw(st.booleans())
            told = log if log != HERE or draw(st.booleans()) else None
            states.append(
                RecorderState(
                    parts=parts_location(OPENED_MS, stream),
                    closed=closed,
                    kept=closed and draw(st.booleans()),
                    topic_id=told,
                )
            )
    return files, states, manifests


@given(stores(), st.integers(0, 100))
def test_nothing_is_removed_that_a_manifest_a_checkpoint_or_an_open_call_needs(
    store: tuple[list[Listed], list[RecorderState], list[Facts]], before_ms: int
) -> None:
    files, states, manifests = store
    found = candidates(files, needed(states, HERE), before_ms)
    doomed = [one for one in found if reason(one, manifests, HERE) is not None]
    gone = [
        f for f in files if any(f.path == one.path or f.path.startswith(f"{one.path}/") for one in doomed)
    ]
    # What a manifest names.
    assert [f.path for f in gone if f.path.startswith("recordings/") and "#" not in f.path] == []
    # What a checkpoint needs: of calls that are open, and of those that were given up lately.
    open_or_given_up = [s for s in states if not s.closed or s.kept]
    wanted = tuple(f"parts/log={s.topic_id or HERE}/{s.parts}/" for s in open_or_given_up)
    assert [f.path for f in gone if f.path.startswith(wanted)] == []
    # What was written lately: a call that has no checkpoint yet.
    assert [f.path for f in gone if f.modified_ms >= before_ms] == []
    # What another cluster may need: its checkpoints were not read.
    others = [f for f in gone if f.path.startswith("parts/log=another/")]
    recorded = {(it.stream, it.made_from.topic_id) for it in manifests}
    assert all((one.stream, one.log) in recorded for one in doomed if one.log == "another"), others


@given(st.integers(0, 30))
def test_an_open_calls_parts_are_needed_by_whatever_checkpoint_it_has(taken: int) -> None:
    events, _ = call_events()
    recorder = StreamRecorder(500, BufferedAudio())
    stored = []
    for offset, event in enumerate(events[:taken]):
        for part in recorder.handle(event, offset, OPENED_MS):
            assert isinstance(part, StorePart)
            if part.last:
                return
            recorder.stored(part.last_index)
            stored.append(part)
    assume(stored)
    state = decoded(recorder.snapshot(), RecorderState)
    assert f"parts/log={state.topic_id or HERE}/{stored[0].parts}" in needed([state], HERE)


def test_why_something_is_left_over() -> None:
    stream = StreamIdentity("acme", 5, 9)
    parts = Candidate(folder(stream), 7)
    assert (parts.stream, parts.log) == (stream, HERE)
    assert parts.recordings == f"recordings/{location(OPENED_MS, stream)}"
    assert reason(parts, [], HERE) is Reason.GIVEN_UP
    assert reason(parts, [facts(stream, HERE)], HERE) is Reason.RECORDED
    assert reason(parts, [facts(StreamIdentity("acme", 5, 10), HERE)], HERE) is Reason.GIVEN_UP
    foreign = Candidate(folder(stream, "another"), 7)
    assert reason(foreign, [facts(stream, HERE)], HERE) is None
    assert reason(foreign, [facts(stream, "another")], HERE) is Reason.RECORDED
    assert reason(Candidate(folder(stream, root="rebuild"), 7), [], HERE) is Reason.REBUILD
    assert (
        reason(Candidate(f"recordings/{location(OPENED_MS, stream)}/mix.wav#4", 7), [], HERE) is Reason.STAGED
    )


def test_a_folder_is_as_young_as_the_youngest_file_in_it() -> None:
    at = folder(StreamIdentity(None, 5, 9))
    files = [Listed(f"{at}/a.avro", 3, 10), Listed(f"{at}/b.avro", 4, 20)]
    assert candidates(files, frozenset(), 20) == []
    assert candidates(files, frozenset(), 21) == [Candidate(at, 7)]


def test_what_is_none_of_ours_is_never_left_over() -> None:
    strange = [
        "parts/notes.txt",
        "parts/log=a/readme",
        "other/x#1",
        "recordings/date=x/stream=5/mix.wav",
        "x#1",
    ]
    assert candidates([Listed(path, 1, 0) for path in strange], frozenset(), 100) == []
