"""One take of a track: its messages, in any order, into their order. Pure.

A take's start, chunks and stop share one sequence n, n + 1, …, from 1 mostly (the platform's document,
example messages 2 to 7). What arrives ahead of its turn waits in the reorder buffer. When what is missing
before it has been waited for long enough, it is declared lost.
"""

from collections.abc import Iterator

from processors.core.assemble.gap_limit import GapLimit
from processors.core.assemble.instant import Instant
from processors.core.assemble.reorder_buffer import ReorderBuffer, size
from processors.core.assemble.state import CHUNK, START, STOP, Message, TrackState
from processors.core.assemble.track_audio import TrackAudio
from schemas.events import StreamSettings

#: How many ranges declared lost are remembered, to tell a late message from another take's.
_REMEMBERED_LOSSES = 64
#: Messages that are kept though another take had the same: not more than are remembered of it.
_MOST_SPARES = 66


class TrackAssembler:
    """The messages of one take in, its events out."""

    def __init__(self, state: TrackState, settings: StreamSettings, limit: GapLimit) -> None:
        self.state = state
        self._settings = settings
        self._audio = TrackAudio(state, settings, limit)
        self._reorder = ReorderBuffer(state.pending, settings.window_chunks, settings.window_ms)
        self._beyond: list[Message] = []
        self.taken = self._audio.taken
        """Return the events since this was last called."""

    def snapshot(self) -> TrackState:
        """Return the state as a checkpoint holds it."""
        return self._audio.packed()

    # Any order -------------------------------------------------------------------------------

    def wants(self, number: int) -> bool:
        """Tell whether a number is still to come."""
        state = self.state
        return not state.closed and number >= state.next_seq and number not in state.pending

    def number_before(self, number: int) -> int:
        """Return the last number before one that it wants which has come, or is waited for no longer."""
        return max([self.state.next_seq - 1, *(other for other in self.state.pending if other < number)])

    def lost(self, number: int) -> bool:
        """Tell whether a number was declared lost."""
        return any(first <= number < end for first, end in self.state.lost_ranges)

    def awaits_start(self, number: int) -> bool:
        """Tell whether a start of this number can be what has been missing: 1, in the first take."""
        state = self.state
        if state.begun or state.closed or (state.take == 1 and number > 1):
            return False
        return all(number < other for other in state.pending)

    def has_format_of(self, start: Message) -> bool:
        """Tell whether a start declares the take's own format."""
        return self._audio.has_format_of(start)

    def start(self, message: Message) -> None:
        """Take the start: its number tells where the take's numbers begin."""
        self.state.next_seq = self.state.start_seq = message.sequence_number
        self.add(message)

    def add(self, message: Message) -> None:
        """Take a message that it wants."""
        state, number = self.state, message.sequence_number
        if message.kind is CHUNK:
            state.stats.arrived(message.received_us)
            if number == state.next_seq and state.opened and not state.pending:
                self._audio.chunk(message)  # mostly
                state.next_seq += 1
                return
        if number == state.next_seq and not state.pending and (state.begun or message.kind is START):
            self._deliver(message)
            state.next_seq += 1
        else:
            state.stats.reordered += number < self._reorder.last
            self._reorder.add(message)
            self._drain()

    def spare(self, message: Message) -> None:
        """Keep a message that it wants, but another take had the like of: it is used if no other comes."""
        state = self.state
        state.stats.duplicate += 1
        if message.sequence_number in state.spares or len(state.spares) < _MOST_SPARES:
            state.spares[message.sequence_number] = message  # the last is the likeliest

    def is_overdue(self, now: Instant) -> bool:
        """Tell whether the wait for what is missing is over."""
        return self._reorder.is_overdue(now)

    def advance(self, now: Instant) -> None:
        """Decide what has been waited for long enough, by the log's time."""
        while self._reorder.is_overdue(now):
            self.wait_no_longer()
        while (spare := self._next_spare()) is not None:
            if min(now.ms_since(spare.at), now.ms_since(self.state.last)) < self._settings.window_ms:
                break
            self.add(self._unspared(spare.sequence_number))

    @property
    def waiting_bytes(self) -> int:
        """What waits adds to a checkpoint, at most."""
        return self._reorder.size + sum(map(size, self.state.spares.values()))

    def waiting_since_ms(self) -> Iterator[int]:
        """Yield when what waits came, by Kafka's clock; of what is in the reorder buffer, the first."""
        if self.state.pending:
            yield self._reorder.oldest.kafka_ms
        for message in self.state.spares.values():
            yield message.timestamp_ms

    @property
    def waits_since(self) -> int | None:
        """Where in the log the first message that waits lies."""
        waiting = (*self.state.pending.values(), *self.state.spares.values())
        return min((message.offset for message in waiting), default=None)

    def wait_no_longer(self) -> None:
        """Declare lost what is missing before the first message that waits."""
        state = self.state
        if state.pending:
            first = self._reorder.first
            if usable := [number for number in state.spares if state.next_seq <= number < first]:
                self._reorder.add(self._unspared(min(usable)))
            self._declare_lost()
            self._drain(headless=True)
        elif spare := self._next_spare():
            self.add(self._unspared(spare.sequence_number))
        else:
            self.drop_spares()

    def close(self) -> None:
        """End the take with what there is."""
        while self.state.pending or self._next_spare():
            self.wait_no_longer()
        if not self.state.closed:
            self._finish(None)

    def beyond(self) -> list[Message]:
        """Return the messages that turned out to be none of this take's, since this was last called."""
        beyond, self._beyond = self._beyond, []
        return beyond

    # Spares ----------------------------------------------------------------------------------

    def use_spares(self, before: int) -> None:
        """Use those that the take waits for, up to a number that shows that they are its own."""
        state = self.state
        while state.next_seq < before and state.next_seq in state.spares:
            self.add(self._unspared(state.next_seq))

    def use_spare_stop(self) -> None:
        """Use a stop that only another take's like casts doubt on: another start came behind it."""
        spare = self.state.spares.get(self.state.next_seq)
        if spare is not None and spare.kind is STOP:
            self.use_spares(spare.sequence_number + 1)

    def use_spares_if_whole(self, behind: int = 0) -> None:
        """Use those that the take waits for, if they are all that is missing up to its stop.

        ``behind``: only if that is the number behind the stop; 0: whatever it is.
        """
        state = self.state
        stop = next((one.sequence_number for one in state.pending.values() if one.kind is STOP), 0)
        if behind not in (0, stop + 1):
            return
        if 0 < stop - state.next_seq <= len(state.pending) + len(state.spares) and all(
            number in state.pending or number in state.spares for number in range(state.next_seq, stop)
        ):
            self.use_spares(stop)

    def _next_spare(self) -> Message | None:
        """Return the message that may be the next, if there is nothing else to go by."""
        state = self.state
        return None if state.closed or state.pending else state.spares.get(state.next_seq)

    def _unspared(self, number: int) -> Message:
        """Take a message out of the spares: it is no duplicate."""
        self.state.stats.duplicate -= 1
        return self.state.spares.pop(number)

    def drop_spares(self) -> None:
        """Drop what another take had the like of."""
        self.state.spares.clear()

    # In order --------------------------------------------------------------------------------

    def _drain(self, *, headless: bool = False) -> None:
        """Deliver what waits and has its turn; the first only if it is a start, or none is expected."""
        state = self.state
        while not state.closed and (found := state.pending.get(state.next_seq)) is not None:
            if not (state.begun or headless or found.kind is START):
                return
            self._reorder.pop(state.next_seq)
            self._deliver(found)
            state.next_seq += 1

    def _deliver(self, message: Message) -> None:
        if message.kind is CHUNK:
            self._audio.chunk(message)
        elif message.kind is STOP:
            self._finish(message)
        elif self.state.begun and not self._audio.has_format_of(message):
            self._beyond.append(message)  # a take's of its own
            self._finish(None)
        else:
            self._audio.start(message)

    def _declare_lost(self) -> None:
        """Fill up to the first message that waits: its place is the next."""
        state, first = self.state, self._reorder.first
        head = not state.begun
        if head and state.next_seq == 1 and state.take > 1:
            # No start told where the numbers begin: behind a stop's, or at 1.
            if 0 < state.goes_on_at <= first:
                state.next_seq = state.goes_on_at
            else:
                state.reused = True
        # The first number is the start's, which has no audio.
        chunks = first - state.next_seq - head
        if chunks > 0:
            self._audio.lose(chunks, state.pending[first])
        if first > state.next_seq:
            state.lost_ranges.append((state.next_seq, first))
            del state.lost_ranges[:-_REMEMBERED_LOSSES]
        state.next_seq = first

    def _finish(self, stop: Message | None) -> None:
        self.drop_spares()
        self._beyond += self.state.pending.values()
        self._reorder.clear()
        self._audio.end(stop)
