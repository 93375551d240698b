"""How much silence gaps are filled with, whatever a sender's numbers and a gateway's clock say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.delivery_stats import DeliveryStats
from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.state import TrackState
from processors.core.assemble.stream import StreamAssembler
from processors.core.kept import MAX_TRACKS
from schemas.events import Event, StreamClosed, TrackClosed
from schemas.schema import Record

SECOND_US, HOUR_US = 1_000_000, 3_600_000_000


def take(samples: int, filled: int = 0, rate_hz: int = 8000) -> TrackState:
    return TrackState("far", 0, rate_hz=rate_hz, stats=DeliveryStats(samples=samples), gap_samples=filled)


@pytest.mark.parametrize(
    ("own", "others", "passed_s", "room"),
    [
        pytest.param(take(800), [], 0, 800 + 60 * 8000, id="its samples and a minute"),
        pytest.param(take(800), [], 300, 800 + 360 * 8000, id="the time that passed"),
        pytest.param(take(800), [], -9, 800 + 60 * 8000, id="a clock that ran backwards"),
        pytest.param(take(800, 1000), [], 0, 60 * 8000 - 200, id="earlier gaps had their part"),
        pytest.param(take(800, 10**6), [], 0, 0, id="no room is left"),
        pytest.param(take(100, rate_hz=384_000), [], 0, 800 + 960_000, id="384 kHz: eight times what came"),
        pytest.param(take(100), [take(0, 900_000)], 0, 60_800, id="other tracks' gaps count"),
        pytest.param(
            take(2 * 10**9, rate_hz=384_000), [], 0, 384_000 * 3600, id="no gap is longer than an hour"
        ),
        pytest.param(take(0, rate_hz=384_000), [], 10**9, 3660 * 16_000, id="a clock that is wrong by years"),
    ],
)
def test_the_room_of_a_gap(own: TrackState, others: list[TrackState], passed_s: int, room: int) -> None:
    limit = GapLimit(HOUR_US, 3_600_000, [own, *others])
    assert limit.room(own, HOUR_US + passed_s * SECOND_US) == room


def said(kind: str, name: str, number: int, received_us: int, **payload: object) -> Record:
    payload |= {"name": name, "track_sequence_number": number}
    envelope = {"stream_id": 7, "type": kind, "call_id": None, "sender": None, "silence": None}
    return envelope | {"connection": "c", "received_at": received_us, "payload": payload}


JUMPS = st.lists(
    st.tuples(
        st.integers(0, MAX_TRACKS - 1),
        st.sampled_from([1, 2, 10, 100_000, 10**9, 2**40]),
        st.sampled_from([0, 1, 160, 67_584]),
        st.sampled_from([0, 20_000, 10 * SECOND_US]),
    ),
    min_size=1,
    max_size=30,
)


@given(rate_hz=st.sampled_from([1000, 8000, 48_000, 384_000]), jumps=JUMPS)
def test_silence_costs_a_sender_audio_or_time(rate_hz: int, jumps: list[tuple[int, int, int, int]]) -> None:
    stream = StreamAssembler(7, 0, AssemblyConfig())
    out: list[object] = []
    numbers: dict[str, int] = {}
    at_us = sent = 0
    for offset, (track, ahead, length, later_us) in enumerate(jumps):
        name = f"track {track}"
        at_us += later_us
        if name not in numbers:
            coding = {"encoding": "ulaw", "sample_rate": rate_hz}
            out += stream.handle(said("start_track", name, 1, at_us, media_format=coding), 2 * offset, 0)
        numbers[name] = numbers.get(name, 1) + ahead
        sent += length
        chunk = said("live_track", name, numbers[name], at_us, media=bytes(length))
        out += stream.handle(chunk, 2 * offset + 1, 0)
    out += stream.handle(stream.silence.to_record(0), 2 * len(jumps), 0)
    events = [event.payload for event in out if isinstance(event, Event)]
    closed = [one for one in events if isinstance(one, TrackClosed)]
    assert sum(one.gap_samples for one in closed) <= 8 * sent + (at_us + 60 * SECOND_US) * 16_000 // SECOND_US
    (end,) = [one for one in events if isinstance(one, StreamClosed)]
    capped = {f"gap_capped:{one.track}" for one in closed if one.capped_samples}
    assert capped == {reason for reason in end.reasons if reason.startswith("gap_capped")}
