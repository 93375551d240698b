"""What is set aside of a topic is set aside in that log alone."""

from runtime.log_identity import log_identities
from runtime.skips import read_skips, write_skip
from schemas.skip import Skip
from schemas.topics import MESSAGES, TRACKS
from tapeline.local.stack import Stack

#: Beyond what any test writes.
FAR = 10**12


async def test_a_skip_of_a_topic_that_was_made_anew_since_sets_nothing_aside(broker: Stack) -> None:
    logs = await log_identities(broker.cluster, (MESSAGES, TRACKS))
    assert logs[MESSAGES.name] != logs[TRACKS.name]
    of_now, of_before = Skip(MESSAGES.name, 0, FAR), Skip(MESSAGES.name, 0, FAR + 1)
    await write_skip(broker.cluster, of_now, logs[MESSAGES.name].topic_id)
    await write_skip(broker.cluster, of_before, "the-topic-before")
    found = await read_skips(broker.cluster, [0], logs)
    assert of_now in found
    assert of_before not in found
    assert of_now not in await read_skips(broker.cluster, [0], {TRACKS.name: logs[TRACKS.name]})
