"""Whose address a request comes from, as far as that can be believed."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Networks = tuple[Network, ...]
_MOST_HOPS = 50
_IPV6_SHARE = 64  # what one customer has at least (RFC 6177): more addresses than can be counted
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5}")


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Networks) -> str | None:
    """The nearest address that is none of the trusted proxies'; None: it cannot be told.

    `peer` is the connection's other end, `forwarded_for` the lines of `X-Forwarded-For`: each proxy
    adds at the right whom it was asked by, so they are read from there, and what stands left of
    the first that is not trusted may be anybody's invention. Of IPv6 it is the /64.
    """
    if not _is_trusted(_address(peer), trusted):
        return None
    hops = [hop for line in forwarded_for for hop in line.split(",")]
    for hop in reversed(hops[-_MOST_HOPS:]):
        address = _address(hop.strip())
        if address is None:
            return None
        if not _is_trusted(address, trusted):
            return _named(address)
    return None


def _is_trusted(address: IPv4Address | IPv6Address | None, trusted: Networks) -> bool:
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    with_port = _WITH_PORT.fullmatch(text)
    try:
        found = ip_address((with_port[1] or with_port[2]) if with_port else text)
    except ValueError:
        return None
    # A proxy that listens on both families sees IPv4 as a part of IPv6.
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _named(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((int(address), _IPV6_SHARE), strict=False))
