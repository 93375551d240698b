"""A batch's records through their partition: what its streams put out, and what cannot be used. Pure."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from processors.core.partition import Partition
from processors.core.processor import Rejected, reason_of
from schemas.errors import ENVIRONMENTAL, SchemaError
from schemas.skip import REASON

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that cannot be used, why, and of which stream it is; None if that cannot be told."""

    record: Any
    rejected: Rejected
    stream: str | None = None


def fed(
    streams: Partition[A, B],
    records: Iterable[Any],
    decoded: Callable[[bytes], tuple[str, A]],
    skipped: Collection[int] = (),
) -> tuple[list[tuple[str, B]], list[Fault]]:
    """Feed records (aiokafka's) to a partition; return the outputs, each with its stream, and the faults.

    ``decoded`` gives the stream of a value and what its processor takes. Whatever it raises, and whatever a
    processor does, is the record's fault. What is not (``ENVIRONMENTAL``) is raised: then some are fed of
    which nobody has the outputs, and the partition must be dropped. A record at a ``skipped`` offset is a
    fault as well: it is set aside, and not even decoded.
    """
    outputs: list[tuple[str, B]] = []
    faults: list[Fault] = []
    for record in records:
        if skipped and record.offset in skipped:
            if record.offset >= streams.next_offset:
                faults.append(Fault(record, Rejected(REASON, "an operator set it aside")))
            streams.set_aside(record.offset, record.offset + 1, record.key)
            continue
        try:
            name, value = decoded(record.value or b"")
            for output in streams.feed(name, value, record.offset, record.timestamp):
                if isinstance(output, Rejected):
                    faults.append(Fault(record, output, name))
                else:
                    outputs.append((name, output))
        except ENVIRONMENTAL:
            raise
        except Exception as error:  # nothing that can be fed: what is no contract of ours is a defect, too
            unexpected = None if isinstance(error, SchemaError) else error
            faults.append(Fault(record, Rejected(reason_of(error), str(error), unexpected)))
            streams.skip(record.offset)
    return outputs, faults
