"""Losses of a track against their definitions, chunk by chunk."""

from itertools import groupby

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.measure.losses import GMIN, Losses
from schemas.events import Delivery, Gap
from schemas.schema import Record

CHUNK, RATE = 160, 8000
DELIVERY = Delivery(1, 0, 0, 0, 0, CHUNK, CHUNK, CHUNK, None, None, None, None)


def counted(chunks: list[bool], pieces: int = 1, restart: bool = False) -> Record:
    """Return the measures of chunks of which some were lost; each gap is told in so many pieces."""
    losses = Losses()
    for at, lost in enumerate(chunks):
        for piece in range(pieces if lost else 0):
            size = CHUNK // pieces
            losses.add(Gap(at * CHUNK + piece * size, size), DELIVERY)
            if restart:
                losses = msgspec.msgpack.decode(msgspec.msgpack.encode(losses), type=Losses)
    return losses.record(len(chunks) * CHUNK, RATE, DELIVERY)


def bursts(chunks: list[bool]) -> list[list[bool]]:
    """Return the bursts by RFC 3611, from the losses of which fewer than Gmin chunks lie between."""
    found: list[list[int]] = []
    for at in (at for at, lost in enumerate(chunks) if lost):
        if found and at - found[-1][-1] - 1 < GMIN:
            found[-1].append(at)
        else:
            found.append([at])
    return [chunks[run[0] : run[-1] + 1] for run in found if len(run) > 1]


LOSSES = st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=20).map(
    lambda runs: [lost for lost, length in runs for _ in range(length if not lost else length % 5 + 1)]
)


@given(LOSSES, st.sampled_from([1, 2, 5]), st.booleans())
def test_losses_are_what_the_documents_define(chunks: list[bool], pieces: int, restart: bool) -> None:
    record = counted(chunks, pieces, restart)
    found, lost = bursts(chunks), sum(chunks)
    gaps = [len(list(run)) for is_lost, run in groupby(chunks) if is_lost]
    inside, inside_lost = sum(map(len, found)), sum(map(sum, found))
    assert (record["gaps"], record["loss_bursts"]) == (len(gaps), len(found))
    if gaps:
        assert record["mean_gap_ms"] == pytest.approx(20 * lost / len(gaps))
        assert record["burst_ratio"] == pytest.approx(lost / len(gaps) * (1 - lost / len(chunks)))
    if found:
        assert record["loss_burst_ms"] == pytest.approx(20 * inside / len(found))
        assert record["loss_burst_density"] == pytest.approx(inside_lost / inside)
    if len(chunks) > inside:
        assert record["loss_gap_density"] == pytest.approx((lost - inside_lost) / (len(chunks) - inside))


def test_losses_of_every_other_chunk_are_one_burst_of_half_density_and_single_gaps() -> None:
    record = counted([False] * 20 + [True, False] * 10 + [False] * 20)
    assert (record["gaps"], record["mean_gap_ms"], record["loss_bursts"]) == (10, 20, 1)
    assert record["loss_burst_density"] == pytest.approx(10 / 19)
    assert record["loss_gap_density"] == 0


def test_where_nothing_was_lost_there_is_no_mean() -> None:
    record = counted([False] * 50)
    assert (record["gaps"], record["mean_gap_ms"], record["burst_ratio"]) == (0, None, None)
