"""No bytes in a changelog raise anything but the error that says what to do."""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.core.assemble.config import AssemblyConfig
from processors.core.assemble.stream import StreamAssembler
from processors.core.measure.stream import StreamMeter
from processors.core.record.stream import StreamRecorder
from processors.core.snapshot import CheckpointError

CONFIG = AssemblyConfig()
RESTORES: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "assemble": (StreamAssembler(1, 0, CONFIG).snapshot(), lambda s: StreamAssembler.restore(s, CONFIG)),
    "measure": (StreamMeter(1000).snapshot(), lambda s: StreamMeter.restore(s, 1000)),
    "record": (StreamRecorder(1000).snapshot(), lambda s: StreamRecorder.restore(s, 1000)),
}
AGENTS = st.sampled_from(sorted(RESTORES))


@pytest.mark.parametrize("agent", RESTORES)
def test_a_truncated_snapshot_is_said_to_be_damaged(agent: str) -> None:
    snapshot, restore = RESTORES[agent]
    restore(snapshot)
    damaged = r"^a checkpoint of {} bytes is damaged \(.*\): delete it .* rebuild .* from voxology\.messages$"
    for size in range(len(snapshot)):
        with pytest.raises(CheckpointError, match=damaged.format(size)):
            restore(snapshot[:size])


@pytest.mark.parametrize("agent", RESTORES)
def test_a_snapshot_of_other_fields_is_said_to_be_of_another_format(agent: str) -> None:
    with pytest.raises(CheckpointError, match=r"^a checkpoint of 4 bytes .* format \(.*\): run .* closed$"):
        RESTORES[agent][1](msgspec.msgpack.encode({"a": 1}))


@given(AGENTS, st.binary(max_size=40))
def test_any_bytes_are_a_state_or_a_checkpoint_error(agent: str, garbage: bytes) -> None:
    with contextlib.suppress(CheckpointError):
        RESTORES[agent][1](garbage)


@given(AGENTS, st.data())
def test_a_snapshot_with_a_byte_changed_is_a_state_or_a_checkpoint_error(
    agent: str, data: st.DataObject
) -> None:
    snapshot, restore = RESTORES[agent]
    at = data.draw(st.integers(0, len(snapshot) - 1))
    with contextlib.suppress(CheckpointError):
        restore(snapshot[:at] + bytes([data.draw(st.integers(0, 255))]) + snapshot[at + 1 :])
