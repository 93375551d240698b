"""How often workers that took a partition died without a word, and at which record. Pure.

A worker that is killed by the kernel raises nothing, so nothing tells which record was too much for it; nor
is it sure that one was. So deaths are counted, by a small value that each worker leaves where the next one
finds it: when it takes a partition, and when it gives it up in good order. After ``MAX_DEATHS`` that
brought the commit no further, each record is noted before it is taken. Who dies then has left the place;
one that dies at the same place again has confirmed it, and no worker takes that record any more. While all
is well this costs one record at each assignment, and nothing between.
"""

import msgspec

#: Deaths without progress after which each record is noted before it is taken.
MAX_DEATHS = 3
#: Deaths at one noted record after which it is taken no more. One may be a coincidence: whoever kills workers
#: while they go on carefully kills them at some record.
MAX_DEATHS_AT_RECORD = 2


class Attempt(msgspec.Struct, array_like=True, frozen=True):
    """A worker's attempt at a partition, as it is noted for the next one."""

    offset: int
    """What the group had committed when the partition was taken."""
    deaths: int = 0
    """Workers before it that took the partition from the same offset on, and died."""
    taking: int = -1
    """The record that is being taken; -1 where that is not noted."""
    suspect: int = -1
    """The record that an earlier worker died at; -1 for none."""
    deaths_at_suspect: int = 0
    ended: bool = False
    """The partition was given up in good order."""

    @property
    def careful(self) -> bool:
        """Whether each record is to be noted before it is taken."""
        return self.deaths >= MAX_DEATHS

    def refuses(self, offset: int) -> bool:
        """Return whether a record is not to be taken: it has killed too many workers."""
        return offset == self.suspect and self.deaths_at_suspect >= MAX_DEATHS_AT_RECORD

    def take(self, offset: int) -> "Attempt":
        """Return it while it takes the record at an offset; -1: none."""
        return msgspec.structs.replace(self, taking=offset)

    def end(self) -> "Attempt":
        """Return it when the partition is given up."""
        return msgspec.structs.replace(self, taking=-1, ended=True)

    def after(self, next_offset: int, committable_offset: int) -> "Attempt":
        """Return it when all below an offset has been taken: anew, if that is past what workers died at."""
        passed = committable_offset > self.offset and next_offset > self.suspect
        return Attempt(committable_offset) if passed else self


def begun(before: Attempt | None, committed_offset: int) -> Attempt:
    """Return the attempt that begins at what the group has committed; ``before``: the last one's note."""
    if before is None:
        return Attempt(committed_offset)
    suspect, deaths_at = before.suspect, before.deaths_at_suspect
    if before.taking >= 0 and not before.ended:
        deaths_at = deaths_at + 1 if before.taking == suspect else 1
        suspect = before.taking
    if suspect >= committed_offset:  # it was not passed, whatever was committed below it
        return Attempt(committed_offset, max(before.deaths, MAX_DEATHS), -1, suspect, deaths_at)
    if before.offset != committed_offset:
        return Attempt(committed_offset)
    return Attempt(committed_offset, before.deaths + (not before.ended))
