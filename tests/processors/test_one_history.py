"""One stream, one history: all audio that was sent is in a recording, or that recording says what it lacks.

Whole calls of several senders, with takes, reconnections, messages that come twice or in another order, and
outages; beside them workers that die, are taken over and restarted, and a log whose head is deleted.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from call_strategies import (
    MOST_ACROSS_TAKES,
    calls,
    displaced,
    doubled,
    end,
    received,
    reconnected,
    republished,
    shown,
)
from chain import Chain
from chain_checks import IDLE_MS, check_recordings, key
from chain_model import Life, name_of
from chain_strategies import NAMES as AGENT_NAMES
from chain_strategies import lives
from hypothesis import given, note, settings
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from schemas.events import Event, StreamClosed, TrackOpened, TrackSegment
from schemas.identity import stream_name
from schemas.schema import Record

LIVES = lives(st.builds(AssemblyConfig, segment_ms=st.sampled_from([20, 35]), idle_ms=st.just(IDLE_MS)))
HAPPENINGS = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 20), st.sampled_from([0, 5, 60])),
    st.tuples(st.just("publish"), st.integers(1, 20), st.sampled_from([0, 5, 60])),
    st.tuples(st.just("wait"), st.sampled_from([10, 1_500, 6_000])),
    st.tuples(st.just("quiet"), st.sampled_from([4, 25]), st.integers(3, 9)),
    st.tuples(st.just("outage"), st.just(3 * IDLE_MS)),
    st.tuples(st.just("run"), AGENT_NAMES, st.integers(1, 30)),
    st.tuples(st.just("run"), AGENT_NAMES, st.integers(1, 30)),
    st.tuples(st.just("wake"), st.integers(0, 5), st.integers(1, 30)),
    st.tuples(st.just("crash"), AGENT_NAMES, LIVES),
    st.tuples(st.just("take over"), AGENT_NAMES, LIVES),
)


@dataclass
class Sent:
    """What one sender sent of a stream: its messages as they come, and the audio of each take."""

    messages: list[Record]
    takes: dict[str, list[bytes]]


@st.composite
def sent(draw: st.DrawFn, sender: str | None, stream_id: int) -> Sent:
    messages, takes = draw(calls(silence=False))
    messages = [*messages, end(*takes)]
    one_each = all(len(audio) == 1 for audio in takes.values())
    most = draw(st.sampled_from([0, 1, 20 if one_each else MOST_ACROSS_TAKES]))
    messages = displaced(draw, doubled(draw, reconnected(draw, messages), most), most)
    messages = republished(draw, received(messages))
    of_it = {"sender": sender, "stream_id": stream_id}
    return Sent([{k: v for k, v in one.items() if k != "wait_ms"} | of_it for one in messages], takes)


@st.composite
def scripts(draw: st.DrawFn) -> tuple[list[Record], dict[str, Sent]]:
    senders = st.sampled_from([None, "a", "b"])
    streams = draw(st.lists(st.tuples(senders, st.integers(1, 2)), min_size=1, max_size=3, unique=True))
    drawn = {stream_name(*stream): draw(sent(*stream)) for stream in streams}
    queues = [list(one.messages) for one in drawn.values()]
    turns = [number for number, queue in enumerate(queues) for _ in queue]
    order = draw(st.permutations(turns)) if draw(st.booleans()) else turns
    return [queues[number].pop(0) for number in order], drawn


def events_of(chain: Chain) -> dict[str, list[Event]]:
    """Return the events of each name, each once, in the order of the log."""
    events: dict[Any, Event] = {}
    for entry in chain.kafka.logs["tracks"]:
        assert events.setdefault(key(entry.value), entry.value) == entry.value
    check_recordings(chain.kafka, chain.store, events)
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events.values():
        found[event.stream.name].append(event)
    return found


def takes_of(events: list[Event]) -> dict[str, list[bytes]]:
    """Return the audio of each take of each track, in the order in which they were opened."""
    takes: dict[tuple[int, int], bytes] = {}
    names: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        payload = event.payload
        if isinstance(payload, TrackOpened):
            at = event.stream.origin_offset, payload.track_index
            names[payload.track].append(at)
            takes[at] = b""
        elif isinstance(payload, TrackSegment):
            takes[event.stream.origin_offset, payload.track_index] += payload.audio
    return {name: [takes[at] for at in found] for name, found in names.items()}


def check_nothing_is_lost_in_silence(chain: Chain, name: str, events: list[Event]) -> None:
    """Assert that each chunk that the log had is in a recording, or that one says what it lacks."""
    segments = [e.payload for e in events if isinstance(e.payload, TrackSegment)]
    ends = [e.payload for e in events if isinstance(e.payload, StreamClosed)]
    reasons = [reason for one in ends for reason in one.reasons]
    logged = [entry.value for entry in chain.kafka.logs["messages"]]
    for offset, record in enumerate(logged):
        if name_of(record) != name or record["type"] != "live_track":
            continue
        track = record["payload"]["name"]
        kept = b"".join(s.audio for s in segments if s.track == track)
        if record["payload"]["media"] not in kept:
            named = {"log_expired", "no_init_stream"}
            assert any(r in named or r.endswith(f":{track}") for r in reasons), (offset, reasons)


@settings(max_examples=150, derandomize=True)  # to draw anew, take that out and raise the number
@given(scripts(), LIVES, st.lists(HAPPENINGS, max_size=40), st.data())
def test_what_was_sent_is_recorded_or_said_to_be_missing(
    script: tuple[list[Record], dict[str, Sent]],
    life: Life,
    happenings: list[tuple[Any, ...]],
    data: st.DataObject,
) -> None:
    records, streams = script
    note("\n".join(f"{name_of(one)} {shown(one)}" for one in records))
    chain = Chain([*records], life)
    for happening in happenings:
        chain.happen(*happening)
    cut = data.draw(st.none() | st.integers(0, len(chain.kafka.logs["messages"])), "head cut")
    if cut is not None:
        chain.happen("stop", "assemble", life)  # the agent is away, for longer than the log is kept
        chain.kafka.begins["messages"] = cut
    chain.come_to_rest()
    told = events_of(chain)
    logged = [entry.value for entry in chain.kafka.logs["messages"]]
    for name, stream in streams.items():
        events = told[name]
        if cut is not None and not events:
            continue  # all of it was deleted before anybody read it
        check_nothing_is_lost_in_silence(chain, name, events)
        ends = [e.payload for e in events if isinstance(e.payload, StreamClosed)]
        too_late = {name_of(logged[letter.offset]) for letter in chain.kafka.letters}
        if len(ends) > 1:
            assert all(one.reasons for one in ends)  # silence closed it in the middle
        elif cut is None and name not in too_late:
            assert ends[0].reasons == []
            assert takes_of(events) == stream.takes
