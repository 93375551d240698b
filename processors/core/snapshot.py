"""A snapshot's bytes into the state that they hold, or an error that says what to do. Pure."""

from typing import TypeVar

import msgspec

from schemas.errors import TapelineError

T = TypeVar("T")


class CheckpointError(TapelineError):
    """A checkpoint that this version cannot go on from."""


def decoded(snapshot: bytes, state: type[T]) -> T:
    """Return the state in a snapshot. Raise CheckpointError when it is damaged, or another version's."""
    try:
        return msgspec.msgpack.decode(snapshot, type=state)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"a checkpoint of {len(snapshot)} bytes is of another format ({error}): "
            "run the version that wrote it until its streams are closed"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"a checkpoint of {len(snapshot)} bytes is damaged ({error}): delete it from its topic, and "
            "rebuild the recording of its stream from voxology.messages"
        ) from error
