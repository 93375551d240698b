"""What the gateway leans on in websockets is there, and is missed when it is not."""

from types import ModuleType
from typing import Any

import pytest
from websockets.asyncio.messages import Assembler, SimpleQueue
from websockets.asyncio.server import ServerConnection
from websockets.server import ServerProtocol

from ingest.websockets_internals import EXCEPTIONS, UnsupportedWebsocketsError, check_websockets


async def test_the_installed_websockets_has_it_all() -> None:
    await check_websockets()


class ReceivesElsewhere(ServerConnection):
    """One that gives events to something else."""

    def data_received(self, data: bytes) -> None:
        self.send_data()


class CannotRespond(ServerConnection):
    """One without a method that is called."""

    respond = None  # type: ignore[assignment]


class ForgetsItsRequest(ServerConnection):
    """One without an attribute that is read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.request


class TakesMore(ServerConnection):
    """One that is made otherwise."""

    def __init__(self, protocol: ServerProtocol, server: Any, settings: object) -> None:
        super().__init__(protocol, server)


class OtherQueue(SimpleQueue[Any]):
    """One that keeps its waiter under another name."""

    def __getattribute__(self, name: str) -> Any:
        if name == "get_waiter":
            raise AttributeError(name)
        return super().__getattribute__(name)


class QueuesOtherwise(ServerConnection):
    """One whose queue is another."""

    @property
    def recv_messages(self) -> Assembler:  # type: ignore[override]
        return self._messages

    @recv_messages.setter
    def recv_messages(self, made: Assembler) -> None:
        self._messages = made
        self._messages.frames = OtherQueue()


class ForgetsItsFault(ServerProtocol):
    """A protocol that does not say what ended the handshake."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        del self.handshake_exc


class ServesElsewhere(ServerConnection):
    """One that knows its server by other names."""

    def connection_made(self, transport: Any) -> None:
        self.server.begin(self)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"connection": ReceivesElsewhere}, "a call of process_event in data_received"),
        ({"connection": CannotRespond}, "ServerConnection.respond"),
        ({"connection": ForgetsItsRequest}, "ServerConnection.request"),
        ({"connection": TakesMore}, "ServerConnection(protocol, server)"),
        ({"connection": QueuesOtherwise}, "ServerConnection.recv_messages.frames.get_waiter"),
        ({"protocol": ForgetsItsFault}, "ServerConnection.protocol.handshake_exc"),
        (
            {"connection": ServesElsewhere},
            "a call of handler in connection_made, a call of handler_tasks in connection_made",
        ),
    ],
)
async def test_what_is_missing_is_named_with_what_to_do(changes: dict[str, Any], missing: str) -> None:
    with pytest.raises(UnsupportedWebsocketsError) as error:
        await check_websockets(**changes, found="18.0")
    assert str(error.value) == (
        f"the gateway cannot run on websockets 18.0, which lacks {missing}: install websockets>=17,<18"
    )


async def test_all_that_is_missing_is_named() -> None:
    with pytest.raises(UnsupportedWebsocketsError) as error:
        await check_websockets(connection=ServesElsewhere, errors=ModuleType("exceptions"))
    for name in ("handler_tasks", *EXCEPTIONS):
        assert name in str(error.value)
