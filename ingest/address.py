"""Whose address a connection has, behind proxies too. Pure."""

import ipaddress
import re
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Parse a comma-separated list of addresses and CIDR ranges. Raise ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def client_address(peer: str, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str:
    """Return the address nearest to us that no trusted proxy has.

    ``forwarded_for``: the values of X-Forwarded-For, to which each proxy adds whom it heard from, so
    it is read from its end. What an unknown client wrote there is never believed: reading stops at the
    first address that is no proxy of ours, or is no address. Empty hops say nothing, and are passed over.
    """
    address = address_of(peer)
    chain = [part.strip() for value in forwarded_for for part in value.split(",")]
    chain = [part for part in chain if part]
    while chain and is_in(address, trusted):
        claimed = _parsed(chain.pop())
        if claimed is None:
            break
        address = str(claimed)
    return address


def address_of(text: str) -> str:
    """Return an address in its one spelling: no port, brackets or scope, IPv4 for what is mapped to IPv6.

    What is no address is returned as it is.
    """
    parsed = _parsed(text)
    return text if parsed is None else str(parsed)


def is_in(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is in one of the networks."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


#: ``[2001:db8::1]:443``, ``[2001:db8::1]``, ``192.0.2.1:443``: the address in it.
_WITH_PORT = re.compile(r"\[([^\[\]]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with_port = _WITH_PORT.fullmatch(text.strip())
    bare = text.strip() if with_port is None else with_port[1] or with_port[2]
    try:
        # A scope (RFC 4007) means something on the machine alone that wrote it.
        parsed = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def is_loopback(host: str) -> bool:
    """Return whether a host to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
