"""What a stream's processor is to its partition: a state machine that a checkpoint can restore. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from schemas.errors import ENVIRONMENTAL, TapelineError
from schemas.silence import Silence

#: How long a closed stream is remembered after its last record, so that a late one does not open it again.
REMEMBERED_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """Among a processor's outputs: the record it was just fed cannot be used, and why."""

    reason: str
    detail: str
    error: Exception | None = field(default=None, compare=False)
    """What the processor raised, when that is why: the stream was closed with it."""


In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class StreamProcessor(Protocol[In, Out]):
    """One stream's state, fed by the records of its partition in the order of the log.

    A restored processor is fed records that it has seen before; they give no outputs.
    """

    def handle(self, record: In, offset: int, timestamp_ms: int) -> Sequence[Out | Rejected]:
        """Take a record; the same records give the same outputs."""

    def fail(self, reason: str, record: In, offset: int, timestamp_ms: int) -> Sequence[Out]:
        """Close the stream, whatever state it is in: ``handle`` raised at a record.

        Return what tells its consumers so, in few bytes, whatever was said. What ``handle`` was about to
        return, or returned and could not be encoded, is lost.
        """

    @property
    def closed(self) -> bool:
        """Whether the stream is over."""

    @property
    def last_ms(self) -> int:
        """Kafka timestamp of the last record used."""

    def beginning(self) -> bytes | None:
        """Return the snapshot to be durable before the first output is sent; None for none."""

    def snapshot(self) -> bytes:
        """Return the state. Its size does not grow with the call."""

    # What only some have: see SelfContained ---------------------------------------------------

    def begins_anew(self, record: In, offset: int, timestamp_ms: int) -> bool:
        """Return whether a record begins another stream of the same name. Only for a closed stream."""

    def note_set_aside(self, key: bytes | None) -> bool:
        """Note that a record with this key, or records of any key, were set aside; tell whether that counts.

        It does if they may have been the stream's, and nothing else tells that they are missing.
        """

    @property
    def needs_offset(self) -> int | None:
        """The lowest offset, of records already fed, that a restored processor would need; None for none."""

    def release(self, before_offset: int) -> Sequence[Out]:
        """Return what ends the need of records before an offset, once it is durable."""

    def note_expired(self, log_begins: int) -> bool:
        """Note that Kafka has deleted all before an offset; return whether that loses anything unread."""

    def note_shortened(self, log_ends: int) -> bool:
        """Note that the log ends at an offset; return whether what the processor had read is gone from it."""

    @property
    def silence_wait_ms(self) -> int | None:
        """How long the stream may be silent before it is closed; None for one that silence does not close."""

    @property
    def silence(self) -> Silence:
        """What is appended to the log then. Only for a stream that silence closes."""


class SelfContained:
    """Base of a processor of one stream whose snapshot holds everything, and that silence does not close.

    Its records are numbered: those that are missing it sees by itself.
    """

    def begins_anew(self, record: Any, offset: int, timestamp_ms: int) -> bool:
        """Return False: another stream has another name."""
        return False

    def note_set_aside(self, key: bytes | None) -> bool:
        """Return False: the numbers of events tell what is missing."""
        return False

    @property
    def needs_offset(self) -> int | None:
        """None: no record is needed again."""
        return None

    def beginning(self) -> bytes | None:
        """Return nothing to be saved before the first output."""
        return None

    def release(self, before_offset: int) -> Sequence[Any]:
        """Return nothing."""
        return ()

    def note_expired(self, log_begins: int) -> bool:
        """Return False."""
        return False

    def note_shortened(self, log_ends: int) -> bool:
        """Return False: events are told apart by their numbers."""
        return False

    @property
    def silence_wait_ms(self) -> int | None:
        """None: silence does not close it."""
        return None

    @property
    def silence(self) -> Silence:
        """None is ever asked for."""
        raise NotImplementedError


def reason_of(error: Exception) -> str:
    """Return the reason of a dead letter for what was raised: the name of the fault."""
    name = type(error).__name__
    return name.removesuffix("Error") if isinstance(error, TapelineError) else name


def as_it_is(output: Any) -> Any:
    """Return an output that is sent as it is."""
    return output


A = TypeVar("A")
B = TypeVar("B")


def handled(
    processor: StreamProcessor[A, Any],
    closed: bool,
    record: A,
    offset: int,
    timestamp_ms: int,
    encode: Callable[[Any], B] = as_it_is,
) -> Sequence[B | Rejected]:
    """Return a processor's outputs, encoded; close it if it raises: it goes on in no half-changed state.

    All outputs of the record are encoded before any is returned: one that does not encode, or fits no record
    of its topic, closes the stream as well, and none of them is sent. What is no fault of the stream is
    raised (``ENVIRONMENTAL``); then the state may be changed by half.
    """
    try:
        outputs = processor.handle(record, offset, timestamp_ms)
        return [o if isinstance(o, Rejected) else encode(o) for o in outputs] if outputs else ()
    except ENVIRONMENTAL:
        raise
    except Exception as error:  # a stream that fails must not stop the others
        return failed(processor, error, closed, record, offset, timestamp_ms, encode)


def failed(
    processor: StreamProcessor[A, Any],
    error: Exception,
    closed: bool,
    record: A,
    offset: int,
    timestamp_ms: int,
    encode: Callable[[Any], B] = as_it_is,
) -> Sequence[B | Rejected]:
    """Return what closes a stream at a record, for what its processor raised there or before, and why."""
    reason = reason_of(error)
    told = () if closed else processor.fail(reason, record, offset, timestamp_ms)
    return [*map(encode, told), Rejected(reason, str(error), error)]
