"""Whose address a connection has, behind proxies too. Pure."""

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Parse a comma-separated list of addresses and CIDR ranges. Raise ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def client_address(peer: str, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str:
    """Return the address nearest to us that no trusted proxy has.

    ``forwarded_for``: the values of X-Forwarded-For, to which each proxy adds whom it heard from, so
    it is read from its end. What an unknown client wrote there is never believed: reading stops at the
    first address that is no proxy of ours, or is no address.
    """
    address = peer
    chain = [part.strip() for value in forwarded_for for part in value.split(",")]
    while chain and _is_in(address, trusted):
        claimed = chain.pop()
        try:
            address = str(ipaddress.ip_address(claimed))
        except ValueError:
            break
    return address


def _is_in(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in trusted)


def is_loopback(host: str) -> bool:
    """Return whether a host to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
