"""A WebSocket connection that holds little for its peer, whatever that sends and however little it reads.

websockets bounds a message, and pauses a socket that sends faster than it is read. What it leaves open is
bounded here: the bytes of a handshake, what one read of the socket inflates to, and what is written to a peer
that does not read.
"""

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection

#: The bytes of an opening handshake, in all: Apache and nginx take about as many.
HANDSHAKE_BYTES = 16 * 1024
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

    def __init__(self, *args: Any, slice_bytes: int, stall_s: float, **kwargs: Any) -> None:
        """``stall_s``: how long a peer may leave unread what does not fit its socket any more."""
        super().__init__(*args, max_queue=QUEUED_FRAMES, close_timeout=CLOSE_S, **kwargs)
        self._slice_bytes = slice_bytes
        self._stall_s = stall_s
        self._handshake_left = HANDSHAKE_BYTES
        self._held = bytearray()
        """What was read and not given to the protocol yet."""
        self._is_queueing = False
        """Whether messages wait to be taken."""
        self._is_reading = True
        self._stalled: asyncio.TimerHandle | None = None
        self._is_lost = False

    def refuse_handshake(self) -> None:
        """Answer a handshake that is too large."""
        raise NotImplementedError

    def report_stall(self) -> None:
        """Say that a peer does not read."""

    async def end(self, code: int, reason: str) -> None:
        """Close the connection; abort it when the peer takes no notice for long."""
        try:
            async with asyncio.timeout(CLOSE_S + 0.5):
                await self.close(code, reason)
        except TimeoutError:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.recv_messages.pause = self._queueing
        self.recv_messages.resume = self._all_taken

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and let go of everything at once: what is held in a cycle waits for the garbage collector."""
        self._is_lost = True
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self._held.clear()
        super().connection_lost(exc)
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
        if not self._held and not self._is_queueing and len(data) <= self._slice_bytes:
            if data:
                super().data_received(data)
        else:
            self._held += data
            self._feed()
        self._pace()

    def _handshake_received(self, data: bytes) -> bytes:
        """Give the protocol what there is of a handshake; return what is behind it."""
        head, rest = data[: self._handshake_left], data[self._handshake_left :]
        self._handshake_left -= len(head)
        if head:
            super().data_received(head)
        if self.request is None:
            if rest and self.protocol.handshake_exc is None:
                self.refuse_handshake()
            return b""  # it has been answered, and what else comes is dropped
        return rest

    def _feed(self) -> None:
        while self._held and not self._is_queueing:
            piece = bytes(self._held[: self._slice_bytes])
            del self._held[: self._slice_bytes]
            super().data_received(piece)

    def _queueing(self) -> None:
        self._is_queueing = True

    def _all_taken(self) -> None:
        self._is_queueing = False
        # Not from within: who takes a message is in the middle of that.
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._is_lost:
            self._feed()
            self._pace()

    def _pace(self) -> None:
        """Read the socket, unless something waits for its turn or the peer does not read itself."""
        should_read = not (self._held or self._is_queueing or self.paused)
        if should_read is not self._is_reading and not self._is_lost:
            self._is_reading = should_read
            if should_read:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # What goes -------------------------------------------------------------------------------------

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
