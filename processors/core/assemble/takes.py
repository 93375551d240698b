"""The messages of one track's name into its takes. Pure.

A sender that reconnects, or transfers a call, may count a track's numbers from 1 again. Each time it does, a
take begins: a track of its own, of the same name. Which take a message is of, its number and its content
tell, and the start that came before: never a clock, nor ``stream_sequence_number``.

- A number that an open take waits for is its own: of several, that take's whose numbers it follows most
  closely. If another take had the same content under that number, it is used only if no other comes.
- One that is known, with the same content, is a duplicate. One that was declared lost is late.
- Anything else begins a take. A start that came before it, or comes in time, is the take's.
- A start of a name that has takes waits for the audio behind it. If what comes within the reorder window only
  goes on with an open take, or repeats what is known, the start is a duplicate: the sender announced its
  track again.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from processors.core.assemble.arrivals import REMEMBERED_ARRIVALS, Arrivals, digest
from processors.core.assemble.instant import Instant
from processors.core.assemble.state import CHUNK, START, STOP, Message, NameState
from processors.core.assemble.track import TrackAssembler
from processors.core.assemble.waiting import Waiting, window_is_over
from processors.core.assemble.which_take import expecting, is_contested, lost_of
from schemas.errors import TapelineError
from schemas.events import Payload, StreamSettings

_NEVER_MS = 2**63


class TooManyTracksError(TapelineError):
    """More tracks, or takes of them, than a call has."""


class Takes:
    """The messages of one name in, the events of its takes out."""

    def __init__(
        self,
        state: NameState,
        settings: StreamSettings,
        begin: Callable[[str, int], TrackAssembler],
        takes: Iterable[TrackAssembler] = (),
    ) -> None:
        """``begin``: make the take of a name and number, of a stream; raise TooManyTracksError."""
        self.state = state
        self._settings = settings
        self._begin = begin
        self._takes = list(takes)
        self._arrivals = Arrivals(state)
        self._waiting = Waiting(state, settings)
        self._open: list[TrackAssembler] = []
        """The takes that have not ended."""
        self._only: TrackAssembler | None = None
        """The one that is open, when there is nothing else to decide."""
        self.undecided = False
        """Whether the time that passes decides anything."""
        self.look_ms = 0
        """Kafka's timestamp before which ``advance`` decides nothing, unless a message of the name comes."""
        self._waiting_bytes: int | None = None
        self._settle()

    def snapshot(self) -> NameState:
        """Return the state as a checkpoint holds it."""
        return self._arrivals.packed()

    # A message -------------------------------------------------------------------------------

    def receive(self, message: Message, connection: str) -> list[Payload]:
        """Take a message that came over a connection.

        Raise TooManyTracksError for one that begins a take too many: it is in none.
        """
        if self._arrivals.is_republished(message, connection):
            self._takes[-1].state.stats.duplicate += 1
            return []
        only = self._only
        if only is not None and message.sequence_number == only.state.next_seq and message.kind is CHUNK:
            only.add(message)  # mostly
            only.state.connection = self.state.connection
            self._arrivals.remember(message)
            if not self.undecided:
                return only.taken()
        else:
            self.state.messages += 1
            for take in self._takes:
                take.state.others += 1
            known = message.kind is not START and self._arrivals.knows(message)
            in_take = self._route(message, known=known)
            if self.state.fresh_seq != message.sequence_number:
                self.state.fresh_seq = 0
            self._arrivals.remember(message, in_take=in_take)
        return self._settled()

    def _route(self, message: Message, *, known: bool) -> bool:
        """Return whether a take has it, a start aside."""
        if message.kind is START:
            self._start(message)
            return False
        number = message.sequence_number
        connection, start = self._arrivals.connection, self.state.start
        take = expecting(self._takes, message, connection)
        if take is not None and start is not None and number == start.sequence_number + 1:
            take.use_spares_if_whole()  # then it is the first chunk behind the start that waits
            take = expecting(self._takes, message, connection)
        if take is not None:
            take.state.contested |= is_contested(self._takes, take, message)
            self._add(take, message, known=known)
        elif known:
            self._takes[-1].state.stats.duplicate += 1
            self._waiting.put_repeat(message)
            if self._open:
                self._waiting.is_explained()
            elif self._arrivals.knows(message, connection):
                self._waiting.put_anew(message, connection)
            return False
        elif start is None and (late := lost_of(self._takes, number)) is not None:
            late.state.stats.late += 1
        else:
            self._begin_take(message)
        return True

    def _add(self, take: TrackAssembler, message: Message, *, known: bool = False) -> None:
        take.state.last, take.state.others = message.at, 0
        self._waiting.note(message)
        if known and not self._is_own_stop(take, message):
            take.spare(message)
        else:
            self._add_new(take, message)
        take.state.connection = self._arrivals.connection

    def _is_own_stop(self, take: TrackAssembler, message: Message) -> bool:
        """Tell whether a stop is a take's own, though another's is alike: it comes right behind its audio."""
        if message.kind is not STOP or message.sequence_number != take.state.next_seq:
            return False
        before = self.state.before
        if before is None:
            return False
        own = self.state.fresh_seq > 0 or (before.sequence_number, before.digest) == take.state.last_chunk
        return own and before.connection == self._arrivals.connection

    def _add_new(self, take: TrackAssembler, message: Message) -> None:
        """Add a message that no other take had the like of; so are those that it came right behind."""
        number, before = message.sequence_number, self.state.before
        if not take.state.begun:
            self._give_start(take, number)
        if (
            number - 1 in take.state.spares
            and before is not None
            and before.sequence_number == number - 1 != self.state.fresh_seq
        ):
            take.use_spares(number)
        take.add(message)
        if message.kind is CHUNK:
            take.state.last_chunk = (number, digest(message))
        self.state.fresh_seq = number

    # Starts ----------------------------------------------------------------------------------

    def _start(self, message: Message) -> None:
        number = message.sequence_number
        if not self._takes:
            self._begin_take(message)
            return
        if self._waiting.is_anew():
            self._begin_anew()
        if self._takes[-1].state.next_seq == number - 1:
            self._takes[-1].use_spare_stop()
        self._takes[-1].use_spares_if_whole(number)
        if self._takes[-1].wants(number) and not self._takes[-1].awaits_start(number):
            self._add(self._takes[-1], message)  # it has a number of its own in the middle of a take
        else:
            last = next((t.state.start_seq for t in reversed(self._takes) if t.state.started), 0)
            self._waiting.put_start(message, last, len(self._takes), self._arrivals.connection)
            self._takes[-1].state.stats.duplicate += 1
            for take in self._open:
                self._give_start(take)

    def _give_start(self, take: TrackAssembler, *numbers: int, overdue: bool = False) -> None:
        """Give the start that waits to a take that has none, if its numbers, and these, can be behind it.

        Where they go on behind a stop, a start of a lower number announces the take before once more, unless
        no other comes.
        """
        start, state = self.state.start, take.state
        if start is None or not take.awaits_start(start.sequence_number):
            return
        lowest = min([*numbers, *state.pending], default=0)
        behind = start.sequence_number < lowest
        if behind and (overdue or start.sequence_number >= state.goes_on_at or lowest < state.goes_on_at):
            self._waiting.take_start()
            self._takes[self.state.start_take - 1].state.stats.duplicate -= 1
            state.began_us = min(state.began_us, start.received_us)
            take.start(start)

    def _begin_take(self, message: Message) -> None:
        """Begin a take, with the start that waits if it is behind it, and what has waited with it."""
        take = self._begin(self.state.name, len(self._takes) + 1)
        before = self._takes[-1].state if self._takes else None
        for earlier in self._open:
            earlier.use_spare_stop()
            earlier.state.last, earlier.state.others = message.at, 0
        self._takes.append(take)
        self._open.append(take)
        take.state.began_us, take.state.last = message.received_us, message.at
        take.state.connection = self._arrivals.connection
        if before is not None and before.finished:
            take.state.goes_on_at = before.next_seq
        if message.kind is START:
            (take.start if message.sequence_number == 1 or before else take.add)(message)
            return
        for repeat in self._waiting.take_repeats():
            take.spare(repeat)
            self._arrivals.keep(repeat)
            self._takes[-2].state.stats.duplicate -= 1
        self._add_new(take, message)

    def _begin_anew(self) -> None:
        """Begin a take with what waits, though it repeats another; if there are too many, it is late."""
        start, repeats = self._waiting.take_start(), self._waiting.take_repeats()
        if start is None:
            return
        earlier = self._takes[-1].state.stats
        self._takes[self.state.start_take - 1].state.stats.duplicate -= 1
        earlier.duplicate -= len(repeats)
        try:
            self._begin_take(start)
        except TooManyTracksError:
            earlier.late += 1 + len(repeats)
            return
        take = self._takes[-1]
        for repeat in sorted(repeats, key=lambda one: one.sequence_number):
            if not take.wants(repeat.sequence_number):
                earlier.duplicate += 1
                continue
            self._arrivals.keep(repeat)
            take.add(repeat)
            if repeat.kind is CHUNK:
                take.state.last_chunk = (repeat.sequence_number, digest(repeat))

    # The window ------------------------------------------------------------------------------

    def advance(self, now: Instant) -> list[Payload]:
        """Decide what has been waited for long enough, by the log's time."""
        if self._waiting.is_over(now):
            self._give_up()
        for take in self._open:
            if take.is_overdue(now):
                self._give_start(take, overdue=True)
            take.advance(now)
            last, others = take.state.last, take.state.others
            if take is not self._takes[-1] and window_is_over(self._settings, last, others, now):
                take.close()
        payloads = self._settled()
        self.look_ms = min(self._waiting_since_ms(), default=_NEVER_MS) + self._settings.window_ms
        return payloads

    def _waiting_since_ms(self) -> Iterator[int]:
        """Yield what the windows are measured from, by Kafka's clock, or something earlier."""
        if self.state.since is not None:
            yield self.state.since.kafka_ms
        for take in self._open:
            yield from take.waiting_since_ms()
            if take is not self._takes[-1]:
                yield take.state.last.kafka_ms

    def _give_up(self) -> None:
        """Drop what began nothing; what goes on in another format than before is a take, though."""
        if self._waiting.is_anew():
            self._begin_anew()
            return
        self._waiting.take_repeats()
        start = self._waiting.take_start()
        if start is None:
            return
        last = self._takes[-1]
        if last.state.closed or last.has_format_of(start):
            return
        self._takes[self.state.start_take - 1].state.stats.duplicate -= 1
        last.close()
        number = last.state.next_seq - 1
        self._leave(last, msgspec.structs.replace(start, sequence_number=number))

    # The end ---------------------------------------------------------------------------------

    def close(self) -> list[Payload]:
        """End the takes with what there is."""
        while self._open or self._waiting.is_anew():
            if not self._open:
                self._begin_anew()
            for take in self._open:
                self._give_start(take, overdue=True)
                take.close()
            self._route_beyond()
            self._settle()
        self._give_up()
        return self._settled()

    # What waits takes memory -----------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """What waits adds to a checkpoint, at most."""
        if self._waiting_bytes is None:
            self._waiting_bytes = sum([take.waiting_bytes for take in self._open]) + self._waiting.size
        return self._waiting_bytes

    @property
    def waits_since(self) -> int:
        """Where in the log the first message that waits lies. Only if one waits."""
        since = [self._waiting.since, *(take.waits_since for take in self._open)]
        return min([one for one in since if one is not None])

    def wait_no_longer(self) -> list[Payload]:
        """Decide what the first message that waits is. Only if one waits."""
        since = self.waits_since
        take = next((take for take in self._open if take.waits_since == since), None)
        if take is not None:
            self._give_start(take, overdue=True)
            take.wait_no_longer()
        else:
            self._give_up()
        return self._settled()

    # What a take leaves ----------------------------------------------------------------------

    def _settled(self) -> list[Payload]:
        self._route_beyond()
        self._settle()
        return [payload for take in self._takes for payload in take.taken()]

    def _route_beyond(self) -> None:
        """Find takes for what waited in those that have ended meanwhile."""
        for take in self._takes:
            for message in take.beyond():
                self._leave(take, message)

    def _leave(self, take: TrackAssembler, message: Message) -> None:
        """Find another take for a message; if there are too many, it is late."""
        try:
            self._route(message, known=False)
        except TooManyTracksError:
            take.state.stats.late += 1

    def _settle(self) -> None:
        """Note what there is to decide."""
        self.look_ms, self._waiting_bytes = 0, None
        self._open = [take for take in self._takes if not take.state.closed]
        self._only = None
        if len(self._open) == 1 and not self._waiting:
            take = self._open[0]
            # As long as messages of another take are remembered, content decides too.
            alone = len(self._takes) == 1 or take.state.stats.received >= REMEMBERED_ARRIVALS
            if take.state.begun and alone:
                self._only = take
                take.drop_spares()
        waits = self._only.state.pending if self._only is not None else self._open
        self.undecided = bool(self._waiting) or bool(waits)
