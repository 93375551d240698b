"""Admission control: who may open a connection, and what everybody else is told. Pure.

A refusal is a status for the caller, a reason for the metric and the log, and a text. It never says which
part of a secret was wrong.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from ingest.address import Network, address_of, client_address, is_in
from ingest.auth import Token, given_tokens, split_target, valid_token
from ingest.limits import ConnectionCounts, Place


@dataclass(frozen=True, slots=True)
class Handshake:
    """What an opening handshake says (RFC 6455, section 4.2.1), and where it came from."""

    peer: str
    """The address of the socket's other end."""
    target: str
    """The request's path and query, as sent."""
    authorizations: Sequence[str] = ()
    """The values of Authorization."""
    forwarded_for: Sequence[str] = ()
    """The values of X-Forwarded-For."""
    trusted_proxies: Sequence[Network] = ()
    origins: Sequence[str] = ()
    """The values of Origin: a browser says by it which web page is calling (RFC 6454, section 7)."""

    @property
    def address(self) -> str:
        """The client's address, behind trusted proxies too."""
        return client_address(self.peer, self.forwarded_for, self.trusted_proxies)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The handshake may go on."""

    sender: str | None
    """Whose token was given; None where no token is asked for."""
    token: Token | None = field(default=None, compare=False)
    """The token."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The handshake ends here."""

    status: HTTPStatus
    reason: str
    """The metric's label."""
    text: str
    headers: tuple[tuple[str, str], ...] = ()
    """What the response carries beside websockets' own headers."""

    def to_http(self) -> bytes:
        """Return the whole HTTP/1.1 response, for a caller that websockets leaves without one."""
        return (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(self.text)}\r\n\r\n{self.text}"
        ).encode()


TOO_MANY_CONNECTIONS = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", "too many connections\n"
)
TOO_MANY_OF_ADDRESS = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_connections_of_address",
    "too many connections of this address\n",
)
TOO_MANY_OF_SENDER = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_connections_of_sender",
    "too many connections of this sender\n",
)
FOREIGN_ORIGIN = Refusal(
    HTTPStatus.FORBIDDEN, "foreign_origin", "web pages may not call this gateway (TAPELINE_ORIGINS)\n"
)
WRONG_PATH = Refusal(HTTPStatus.NOT_FOUND, "wrong_path", "nothing is here\n")
UNAUTHORIZED = Refusal(
    HTTPStatus.UNAUTHORIZED,
    "unauthorized",
    "a valid token is needed\n",
    (("WWW-Authenticate", 'Basic realm="tapeline"'),),
)
HANDSHAKE_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "handshake_too_large",
    "a handshake may have 16 KiB in all\n",
)
HANDSHAKE_TIMEOUT = Refusal(HTTPStatus.REQUEST_TIMEOUT, "handshake_timeout", "no handshake came in time\n")
NOT_HTTP = Refusal(HTTPStatus.BAD_REQUEST, "not_http", "this is no WebSocket handshake\n")


def accept(peer: str, counts: ConnectionCounts, trusted_proxies: Sequence[Network]) -> Place | Refusal:
    """Decide on a connection of which nothing but the other end's address is known; count it if it may go on.

    Those of a trusted proxy are limited by its clients' addresses, once it has told them.
    """
    if counts.full():
        return TOO_MANY_CONNECTIONS
    address = None if is_in(peer, trusted_proxies) else address_of(peer)
    if counts.full_from(address):
        return TOO_MANY_OF_ADDRESS
    return Place(counts, address)


def admit(
    handshake: Handshake,
    *,
    closed: str | None,
    place: Place,
    path: str,
    origins: Collection[str],
    tokens: Iterable[Token] | None,
    now_s: float,
) -> Admitted | Refusal:
    """Decide on an opening handshake; the first check that fails is the reason.

    ``closed`` says why nobody is admitted now (the metric's label), None otherwise. ``path`` is the one
    served. ``origins``: of which pages a browser may call, `*` of any. ``tokens`` are those in force, None
    where none is asked for; ``now_s`` is seconds since the epoch, by which they expire.
    """
    if closed is not None:
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, closed, "not now, try again\n")
    if not place.may_move(handshake.address):
        return TOO_MANY_OF_ADDRESS
    if not _is_served(handshake.target, path.rstrip("/")):
        return WRONG_PATH
    if "*" not in origins and any(origin not in origins for origin in handshake.origins):
        return FOREIGN_ORIGIN
    if tokens is None:
        return Admitted(None)
    token = valid_token(tokens, given_tokens(handshake.target, handshake.authorizations), now_s)
    if token is None:
        return UNAUTHORIZED
    return Admitted(token.sender, token) if place.may_be_of(token.sender) else TOO_MANY_OF_SENDER


def fault_of(status: int) -> str:
    """Return the reason for a status with which the WebSocket protocol itself refused a handshake."""
    match status:
        case HTTPStatus.UPGRADE_REQUIRED:
            return "not_websocket"
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return "stopping"
        case _:
            return "bad_handshake"


def _is_served(target: str, served: str) -> bool:
    """Return whether a target is the path served, or one part below it: a token."""
    try:
        path = split_target(target).path.rstrip("/")
    except ValueError:
        return False
    return path == served or path.rpartition("/")[0] == served
