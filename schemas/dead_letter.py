"""A dead letter's headers, under the names of Kafka Connect's dead-letter queue (KIP-298).

Tools that read Connect's dead letters read these. The value is the original bytes; the headers say where
they came from and what was wrong.
"""

from dataclasses import dataclass

Headers = list[tuple[str, bytes]]

_PREFIX = "__connect.errors."
#: The component of what is no dead letter, but notes that one was published again: its topic, partition and
#: offset are those of what it was published as.
REPUBLISHER = "dead-letters"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was wrong with a value, and where it was found."""

    reason: str
    """A short class name, such as ``InvalidJson``."""
    detail: str
    """The fault in words, with the value at fault."""
    component: str
    """Who refused it: ``gateway``, ``assemble``, …"""
    stage: str = "VALUE_CONVERTER"
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    connection: str | None = None
    sender: str | None = None
    topic_id: str | None = None
    """Kafka's id of the topic: of one that was made anew, the place is another record's."""

    def headers(self) -> Headers:
        """Return the Kafka headers of the dead letter."""
        named = {
            "stage": self.stage,
            "exception.class.name": self.reason,
            "exception.message": self.detail,
            "connector.name": f"tapeline-{self.component}",
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
        }
        headers = [
            (_PREFIX + name, str(value).encode(errors="replace"))
            for name, value in named.items()
            if value is not None
        ]
        if self.connection is not None:
            headers.append(("tapeline.connection", self.connection.encode()))
        if self.sender is not None:
            headers.append(("tapeline.sender", self.sender.encode()))
        if self.topic_id is not None:
            headers.append(("tapeline.topic-id", self.topic_id.encode()))
        return headers


def parse_headers(headers: Headers) -> DeadLetter:
    """Return the dead letter that headers describe, whoever wrote them; what they lack is empty."""
    found = {name.removeprefix(_PREFIX): (value or b"").decode(errors="replace") for name, value in headers}

    def number(name: str) -> int | None:
        try:
            return int(found.get(name, ""))
        except ValueError:
            return None

    return DeadLetter(
        reason=found.get("exception.class.name", ""),
        detail=found.get("exception.message", ""),
        component=found.get("connector.name", "").removeprefix("tapeline-"),
        stage=found.get("stage", ""),
        topic=found.get("topic"),
        partition=number("partition"),
        offset=number("offset"),
        connection=found.get("tapeline.connection"),
        sender=found.get("tapeline.sender"),
        topic_id=found.get("tapeline.topic-id"),
    )
