"""Who may open a connection, and what everybody else is told."""

import base64
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import token_of

from ingest.address import networks
from ingest.admission import (
    FOREIGN_ORIGIN,
    HANDSHAKE_TIMEOUT,
    HANDSHAKE_TOO_LARGE,
    NOT_HTTP,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_OF_ADDRESS,
    UNAUTHORIZED,
    WRONG_PATH,
    Admitted,
    Handshake,
    Refusal,
    accept,
    admit,
    fault_of,
)
from ingest.auth import parse_tokens
from ingest.config import Limits
from ingest.limits import ConnectionCounts, Place

WEST, WEST_ENTRY = token_of("west")
EAST, EAST_ENTRY = token_of("east")
OLD, OLD_ENTRY = token_of("west", 1)
#: One second after the old token.
NOW_S = 1_767_225_601.0
TOKENS = parse_tokens(WEST_ENTRY + EAST_ENTRY + OLD_ENTRY + "expires = 2026-01-01T00:00:00Z\n")
LIMITS = Limits(max_connections=3, max_connections_per_address=2)
PLAIN = Handshake("203.0.113.9", "/")
PROXIED = Handshake("10.0.0.1", "/", forwarded_for=["198.51.100.1"], trusted_proxies=networks("10.0.0.0/8"))
CLOSED = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "full", "not now, try again\n")


def counts(*addresses: str) -> ConnectionCounts:
    made = ConnectionCounts(LIMITS)
    for address in addresses:
        made.enter(address)
    return made


def place(*others: str, address: str | None = None) -> Place:
    """Return the place of a connection among others; without an address, of a trusted proxy's."""
    return Place(counts(*others), address)


def decide(handshake: Handshake = PLAIN, **changes: Any) -> Admitted | Refusal:
    facts: dict[str, Any] = {"closed": None, "place": place(), "path": "/", "tokens": None, "now_s": NOW_S}
    return admit(handshake, **({"origins": ()} | facts | changes))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# Refusals --------------------------------------------------------------------------------------

#: Each fault alone, in the order of the checks: the facts of it, and what is said.
FAULTS: list[tuple[dict[str, Any], Refusal]] = [
    ({"closed": "full"}, CLOSED),
    ({"place": place(PLAIN.peer, PLAIN.peer)}, TOO_MANY_OF_ADDRESS),
    ({"path": "/calls"}, WRONG_PATH),
    ({"handshake": replace(PLAIN, origins=["https://example.com"])}, FOREIGN_ORIGIN),
    ({"tokens": TOKENS}, UNAUTHORIZED),
]


@pytest.mark.parametrize(("facts", "refusal"), FAULTS, ids=[refusal.reason for _, refusal in FAULTS])
def test_each_fault_is_a_refusal(facts: dict[str, Any], refusal: Refusal) -> None:
    assert decide(**facts) == refusal


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_the_first_fault_is_the_reason(first: int) -> None:
    facts: dict[str, Any] = {}
    for fault, _ in reversed(FAULTS[first:]):
        facts |= fault
    assert decide(**facts) == FAULTS[first][1]


@pytest.mark.parametrize(
    ("refusal", "status", "reason", "text"),
    [
        (CLOSED, 503, "full", "not now, try again\n"),
        (TOO_MANY_CONNECTIONS, 503, "too_many_connections", "too many connections\n"),
        (
            TOO_MANY_OF_ADDRESS,
            429,
            "too_many_connections_of_address",
            "too many connections of this address\n",
        ),
        (WRONG_PATH, 404, "wrong_path", "nothing is here\n"),
        (UNAUTHORIZED, 401, "unauthorized", "a valid token is needed\n"),
        (HANDSHAKE_TIMEOUT, 408, "handshake_timeout", "no handshake came in time\n"),
        (NOT_HTTP, 400, "not_http", "this is no WebSocket handshake\n"),
        (FOREIGN_ORIGIN, 403, "foreign_origin", "web pages may not call this gateway (TAPELINE_ORIGINS)\n"),
        (HANDSHAKE_TOO_LARGE, 431, "handshake_too_large", "a handshake may have 16 KiB in all\n"),
    ],
)
def test_what_a_refusal_says(refusal: Refusal, status: int, reason: str, text: str) -> None:
    """Callers see the status and text, operators the reason: both are relied on."""
    assert (refusal.status, refusal.reason, refusal.text) == (status, reason, text)


def test_only_who_needs_a_token_is_asked_for_one() -> None:
    assert UNAUTHORIZED.headers == (("WWW-Authenticate", 'Basic realm="tapeline"'),)
    others = (CLOSED, TOO_MANY_CONNECTIONS, TOO_MANY_OF_ADDRESS, WRONG_PATH, HANDSHAKE_TIMEOUT, NOT_HTTP)
    assert not any(refusal.headers for refusal in others)


def test_a_refusal_as_a_whole_response() -> None:
    assert NOT_HTTP.to_http() == (
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\n\r\n"
        b"this is no WebSocket handshake\n"
    )


@pytest.mark.parametrize(
    ("status", "reason"), [(426, "not_websocket"), (503, "stopping"), (400, "bad_handshake")]
)
def test_the_reason_for_a_status_of_the_protocol(status: int, reason: str) -> None:
    assert fault_of(status) == reason


# Paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/calls", "/calls/"])
@pytest.mark.parametrize(
    ("target", "served"),
    [
        ("/calls", True),
        ("/calls/", True),
        ("/calls?token=x", True),
        ("/calls/x", True),
        ("/calls/x/", True),
        ("/calls/x/y", False),
        ("/", False),
        ("/x", False),
        ("/callsx", False),
        ("/Calls", False),
        ("/other/x", False),
        ("", False),
        ("//[bad", False),
    ],
)
def test_the_path_is_served_and_one_part_below_it(path: str, target: str, served: bool) -> None:
    assert decide(Handshake("a", target), path=path) == (Admitted(None) if served else WRONG_PATH)


@pytest.mark.parametrize(
    ("target", "served"), [("/", True), ("", True), ("/x", True), ("/x/y", False), ("/?token=x", True)]
)
def test_the_root_is_served_and_one_part_below_it(target: str, served: bool) -> None:
    assert decide(Handshake("a", target)) == (Admitted(None) if served else WRONG_PATH)


# Limits, and whose they are --------------------------------------------------------------------


def test_connections_are_bounded_before_anything_is_known_of_them() -> None:
    assert isinstance(accept("c", counts("a", "b"), ()), Place)
    assert accept("d", counts("a", "b", "c"), ()) == TOO_MANY_CONNECTIONS
    assert isinstance(accept("a", counts("a", "b"), ()), Place)
    assert accept("a", counts("a", "a"), ()) == TOO_MANY_OF_ADDRESS
    assert accept("::ffff:192.0.2.1", counts("192.0.2.1", "192.0.2.1"), ()) == TOO_MANY_OF_ADDRESS


def test_those_of_a_trusted_proxy_are_bounded_by_its_clients() -> None:
    trusted = networks("10.0.0.0/8")
    assert isinstance(accept("10.0.0.1", counts("10.0.0.1", "10.0.0.1"), trusted), Place)
    assert accept("10.0.0.1", counts("10.0.0.1", "10.0.0.1"), ()) == TOO_MANY_OF_ADDRESS
    assert accept("10.0.0.1", counts("a", "b", "c"), trusted) == TOO_MANY_CONNECTIONS


def test_a_connection_does_not_stand_in_its_own_way() -> None:
    taken = accept(PLAIN.peer, counts("a", PLAIN.peer), ())
    assert isinstance(taken, Place)
    assert decide(place=taken) == Admitted(None)


def test_an_address_behind_a_trusted_proxy_has_its_own_limit() -> None:
    assert PROXIED.address == "198.51.100.1"
    assert decide(PROXIED, place=place("10.0.0.1", "10.0.0.1")) == Admitted(None)
    assert decide(PROXIED, place=place("198.51.100.1", "198.51.100.1")) == TOO_MANY_OF_ADDRESS


def test_a_proxy_that_nobody_trusts_is_the_client() -> None:
    assert replace(PROXIED, trusted_proxies=()).address == "10.0.0.1"


# Web pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "configured", "admitted"),
    [
        ([], (), True),
        (["https://example.com"], (), False),
        (["null"], (), False),
        ([""], (), False),
        (["https://example.com"], ("https://example.com",), True),
        (["https://example.com.evil.net"], ("https://example.com",), False),
        (["https://example.com", "https://evil.net"], ("https://example.com",), False),
        (["https://evil.net"], ("*",), True),
    ],
)
def test_a_web_page_may_call_only_where_it_is_named(
    said: list[str], configured: tuple[str, ...], admitted: bool
) -> None:
    for tokens, target in ((None, "/"), (TOKENS, f"/{WEST}")):
        decision = decide(Handshake("a", target, origins=said), origins=configured, tokens=tokens)
        assert isinstance(decision, Admitted) if admitted else decision == FOREIGN_ORIGIN


# Tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "authorizations", "sender"),
    [
        (f"/?token={WEST}", [], "west"),
        (f"/?x=1&token={EAST}", [], "east"),
        (f"/{WEST}", [], "west"),
        (f"/{WEST}/", [], "west"),
        (f"//{WEST}", [], "west"),
        (f"//?token={WEST}", [], "west"),
        (f"http://gateway/{WEST}", [], "west"),
        ("/", [basic("anybody", WEST)], "west"),
        ("/", [basic("", EAST)], "east"),
        ("/", [f"Bearer {WEST}"], "west"),
        ("/", [f"bearer {EAST}"], "east"),
        ("/", ["Bearer wrong", f"Bearer {WEST}"], "west"),
        (f"/wrong?token={WEST}", [f"Bearer {OLD}"], "west"),
        ("/", [], None),
        ("/?token=wrong", [], None),
        ("/wrong", [], None),
        ("/", ["Bearer wrong"], None),
        ("/", [basic(WEST, "")], None),
        ("/", ["Basic %%%"], None),
        ("/", [f"Digest {WEST}"], None),
        (f"/?token={WEST[:-1]}", [], None),
        (f"/?token={OLD}", [], None),
        (f"/{OLD}", [], None),
        ("/", [basic("x", OLD)], None),
        ("/", [f"Bearer {OLD}"], None),
    ],
)
def test_a_token_admits_its_sender(target: str, authorizations: list[str], sender: str | None) -> None:
    decision = decide(Handshake("a", target, authorizations), tokens=TOKENS)
    assert decision == (UNAUTHORIZED if sender is None else Admitted(sender))


def test_a_token_admits_until_it_expires() -> None:
    handshake = Handshake("a", "/", [f"Bearer {OLD}"])
    assert decide(handshake, tokens=TOKENS, now_s=NOW_S - 2) == Admitted("west")
    assert decide(handshake, tokens=TOKENS, now_s=NOW_S - 1) == UNAUTHORIZED


def test_a_token_below_the_path() -> None:
    assert decide(Handshake("a", f"/calls/{EAST}"), path="/calls", tokens=TOKENS) == Admitted("east")
    assert decide(Handshake("a", f"//calls/{EAST}"), path="/calls", tokens=TOKENS) == Admitted("east")
    for target in (f"/other/{EAST}", f"//host/calls/{EAST}", f"/calls/more/{EAST}", f"/callsign/{EAST}"):
        assert decide(Handshake("a", target), path="/calls", tokens=TOKENS) == WRONG_PATH


def test_where_no_token_is_asked_for_everybody_is_admitted_without_a_name() -> None:
    assert decide(Handshake("a", f"/{WEST}")) == Admitted(None)


def test_where_no_token_is_in_force_nobody_is_admitted() -> None:
    assert decide(Handshake("a", f"/{WEST}"), tokens=[]) == UNAUTHORIZED


@given(st.text(), st.text(), st.lists(st.text(), max_size=2), st.lists(st.text(), max_size=2))
def test_no_handshake_breaks_it_or_gets_in_without_a_token(
    peer: str, target: str, authorizations: list[str], forwarded: list[str]
) -> None:
    handshake = Handshake(peer, target, authorizations, forwarded, networks("0.0.0.0/0"))
    assert decide(handshake, tokens=TOKENS) in (WRONG_PATH, UNAUTHORIZED)
