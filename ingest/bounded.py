"""A WebSocket connection that holds little for its peer, whatever that sends and however little it reads.

websockets bounds a message, and pauses a socket that sends faster than it is read. What it leaves open is
bounded here: the bytes of a handshake, what one read of the socket inflates to, frames that are no messages,
and what is written to a peer that does not read.
"""

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from ingest.limits import TokenBucket

#: The bytes of an opening handshake, in all: Apache and nginx take about as many.
HANDSHAKE_BYTES = 16 * 1024
#: What it ends with.
HANDSHAKE_END = b"\r\n\r\n"
#: How much of what was read is given to the protocol at once; then its messages are taken first.
SLICE_BYTES = 16 * 1024
#: The same with compression: deflate makes at most 1032 bytes of one.
COMPRESSED_SLICE_BYTES = 1024
#: Frames that wait in websockets' queue before nothing more is given to it: none.
QUEUED_FRAMES = 0
#: How long a close waits for the peer, before the connection is aborted.
CLOSE_S = 2.5


class BoundedConnection(ServerConnection):
    """A server connection with bounds on what is held for it."""

    def __init__(
        self, *args: Any, slice_bytes: int, stall_s: float, frames_per_s: int, **kwargs: Any
    ) -> None:
        """``stall_s``: how long a peer may leave unread what does not fit its socket any more.

        ``frames_per_s``: how many frames may come that are no whole messages: pings, pongs, fragments.
        """
        super().__init__(*args, max_queue=QUEUED_FRAMES, close_timeout=CLOSE_S, **kwargs)
        self._slice_bytes = slice_bytes
        self._stall_s = stall_s
        self._frames = TokenBucket(frames_per_s, self.loop.time())
        self._resting: asyncio.TimerHandle | None = None
        """Runs while there were too many frames."""
        self._handshake_left = HANDSHAKE_BYTES
        self._handshake_tail = b""
        self._is_answered = False
        """Whether the handshake has been answered. What came behind it waits for that."""
        self._held = bytearray()
        """What was read and not given to the protocol yet."""
        self._is_queueing = False
        """Whether messages wait to be taken."""
        self._is_reading = True
        self._stalled: asyncio.TimerHandle | None = None
        self._is_lost = False
        """Whether there is no socket any more."""
        self._lost_by: Exception | None = None
        self._is_released = False

    def refuse_handshake(self) -> None:
        """Answer a handshake that is too large."""
        raise NotImplementedError

    def report_stall(self) -> None:
        """Say that a peer does not read."""

    def report_rest(self, seconds: float) -> None:
        """Say that a peer is read no further for so long: it sent too many frames."""

    async def end(self, code: int, reason: str) -> None:
        """Close the connection; abort it when the peer takes no notice for long."""
        try:
            async with asyncio.timeout(CLOSE_S + 0.5):
                await self.close(code, reason)
        except TimeoutError:
            self.drop()

    def drop(self) -> None:
        """Abort the connection. What was read and not taken is lost."""
        self._held.clear()
        if self._is_lost:
            self.release()
        else:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.recv_messages.pause = self._queueing
        self.recv_messages.resume = self._all_taken

    def eof_received(self) -> None:
        """Tell the protocol that the peer has ended, unless it is still to be given what came before."""
        if not self._held:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, when what was read before has been taken."""
        self._is_lost = True
        self._lost_by = exc
        if self.keepalive_task is not None:
            self.keepalive_task.cancel()
        if not self._held or not self._is_answered:
            self.release()

    def release(self) -> None:
        """Let go of everything at once: what is held in a cycle waits for the garbage collector."""
        if self._is_released:
            return
        self._is_released = True
        for timer in (self._stalled, self._resting):
            if timer is not None:
                timer.cancel()
        self._stalled = self._resting = None
        self._held.clear()
        super().connection_lost(self._lost_by)
        self._lost_by = None
        self.recv_messages.pause = self.recv_messages.resume = _nothing
        self.protocol.parser.close()
        self.protocol.reader.buffer.clear()
        _forget_frames(self.protocol.handshake_exc)
        _forget_frames(self.protocol.parser_exc)

    def set_connection_exc(self, exc: BaseException | None) -> None:
        """Keep what broke the connection, without the frames that it broke in."""
        _forget_frames(exc)
        super().set_connection_exc(exc)

    # What comes ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Give the protocol what was read, a slice at a time, and no more while messages wait."""
        if self.request is None:
            data = self._handshake_received(data)
        if self._may_give() and not self._held and len(data) <= self._slice_bytes:
            if data:
                self._give(data)
        else:
            self._held += data
            self._feed()
        self._pace()

    def _handshake_received(self, data: bytes) -> bytes:
        """Give the protocol what there is of a handshake; return what is behind it."""
        known = len(self._handshake_tail)
        end = (self._handshake_tail + data).find(HANDSHAKE_END)
        size = len(data) if end < 0 else end + len(HANDSHAKE_END) - known
        size = min(size, self._handshake_left)
        head, rest = data[:size], data[size:]
        self._handshake_left -= size
        self._handshake_tail = (self._handshake_tail + head)[1 - len(HANDSHAKE_END) :]
        if head:
            super().data_received(head)
        if self.request is None:
            if rest and self.protocol.handshake_exc is None:
                self.refuse_handshake()
            return b""  # it has been answered, and what else comes is dropped
        return rest

    async def handshake(self, *args: Any) -> None:
        """Do the opening handshake, then take what came behind it.

        A client may send nothing before it has its answer (RFC 6455, section 4.1). From one that does,
        websockets would answer a ping before the handshake, and a strange frame instead of it.
        """
        await super().handshake(*args)
        self._is_answered = True
        self._go_on()

    def process_event(self, event: Event) -> None:
        """Count a frame that is no whole message: messages are counted by who takes them."""
        if isinstance(event, Frame) and not (event.fin and event.opcode in (Opcode.TEXT, Opcode.BINARY)):
            self._frames.left -= 1
        super().process_event(event)

    def _may_give(self) -> bool:
        return self._is_answered and not self._is_queueing and self._resting is None

    def _give(self, data: bytes) -> None:
        super().data_received(data)
        if self._frames.left <= 0 and self._resting is None:
            self._rest()

    def _rest(self) -> None:
        """Take nothing more, if there were too many frames, until it is time for the next."""
        seconds = self._frames.wait_s(self.loop.time())
        self._resting = self.loop.call_later(seconds, self._rested) if seconds else None
        if seconds:
            self.report_rest(seconds)

    def _rested(self) -> None:
        self._rest()
        self._go_on()

    def _feed(self) -> None:
        """Give a slice, and the next when others have had their turn."""
        if self._held and self._may_give():
            piece = bytes(self._held[: self._slice_bytes])
            del self._held[: self._slice_bytes]
            self._give(piece)
            if self._held and self._may_give():
                self.loop.call_soon(self._go_on)

    def _queueing(self) -> None:
        self._is_queueing = True

    def _all_taken(self) -> None:
        self._is_queueing = False
        # Not from within: who takes a message is in the middle of that.
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._is_released:
            return
        self._feed()
        self._pace()
        if self._is_lost and not self._held:
            self.release()

    def _pace(self) -> None:
        """Read the socket, unless something waits for its turn or the peer does not read itself."""
        should_read = not (self._held or self._is_queueing or self._resting or self.paused)
        if should_read is not self._is_reading and not self._is_lost:
            self._is_reading = should_read
            if should_read:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # What goes -------------------------------------------------------------------------------------

    def send_data(self) -> None:
        """Send what the protocol wants sent, while there is somebody to send it to."""
        if self._is_lost:
            self.protocol.data_to_send()
        else:
            super().send_data()

    def pause_writing(self) -> None:
        """Note that the peer does not read: nothing is read of it either, and it has so long to change."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._stall_s, self._give_up)
        self._pace()

    def resume_writing(self) -> None:
        """Note that the peer reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self._pace()

    def _give_up(self) -> None:
        self.report_stall()
        self.transport.abort()


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that an exception was raised through, which hold its own holder too."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _nothing() -> None:
    pass
