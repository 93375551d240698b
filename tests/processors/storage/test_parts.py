"""The bytes of a part."""

from support import call_events

from processors.storage.parts import encode_part
from schemas.codec import Reader, Writer
from schemas.events import Event
from schemas.topics import TRACKS


def test_parts_are_the_same_bytes_every_time() -> None:
    events, _ = call_events()
    assert encode_part("p", events) == encode_part("p", events)


def test_parts_are_the_same_bytes_of_events_as_made_and_as_read() -> None:
    read, _ = call_events()
    made = [Event.from_record(Reader().decode(Writer(TRACKS).encode(e.to_record()))) for e in read]
    assert encode_part("p", read) == encode_part("p", made)
