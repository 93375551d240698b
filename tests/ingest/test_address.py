"""Whose address a connection has."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.address import client_address, is_loopback, networks

TRUSTED = networks("10.0.0.0/8, 192.168.1.1, 2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "10.2.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", ["2001:db9::5"], "2001:db9::5"),
        ("unknown", ["198.51.100.1"], "unknown"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711, 10.2.3.4:80"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db9::5]"], "2001:db9::5"),
        ("10.0.0.1", ["[2001:db9::5]:4711"], "2001:db9::5"),
        ("10.0.0.1", ["[2001:DB9:0::5%eth0]:4711"], "2001:db9::5"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [" 198.51.100.1 ,, 10.2.3.4 , ", "", " , "], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:99999999"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:x"], "10.0.0.1"),
        ("10.0.0.1", ["[198.51.100.1"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.2.3.4"], "10.2.3.4"),
        ("fe80::1%eth0", ["198.51.100.1"], "fe80::1"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == address


@given(
    st.ip_addresses(),
    st.sampled_from(["{}", " {} ", "{}, ,", ",{}"]),
    st.sampled_from(["", ":1", ":65535"]),
    st.sampled_from(["", "%eth0", "%1"]),
)
def test_an_address_has_one_spelling(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, around: str, port: str, scope: str
) -> None:
    written = str(address) if address.version == 4 else f"{address.exploded.upper()}{scope}"
    if port:
        written = (f"[{written}]" if address.version == 6 else written) + port
    expected = getattr(address, "ipv4_mapped", None) or address
    if not any(expected in network for network in TRUSTED):
        assert client_address("10.0.0.1", [around.format(written)], TRUSTED) == str(expected)


@given(st.text(), st.lists(st.text()))
def test_whatever_is_said_an_address_comes_of_it(peer: str, forwarded: list[str]) -> None:
    assert isinstance(client_address(peer, forwarded, TRUSTED), str)


def test_without_proxies_nobody_is_believed() -> None:
    assert client_address("127.0.0.1", ["198.51.100.1"], networks("")) == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.com", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
