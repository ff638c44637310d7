"""Which addresses requests may go to, and what to call the others.

Three sorts: public ones; those of this machine, network or nobody in particular, which an API's
configuration may allow; and those that no request may ever go to. The blocks are those of IANA's
registries of special-purpose addresses, written out: what the standard library calls private has
changed between patch releases of Python, and it takes IPv6 blocks that nobody has been given for
public ones.

An IPv6 address may stand for an IPv4 one, and that is where the packets end, so that one is judged.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses that are not public, for one reason."""

    kind: str  # for people: "link-local"
    network: Network
    allowable: bool  # a configuration may allow them


def _blocks(kind: str, *networks: str, allowable: bool = False) -> Iterator[Block]:
    for text in networks:
        yield Block(kind, ipaddress.ip_network(text), allowable)


# The first that holds an address is its reason: narrower blocks stand before wider ones.
_BLOCKS: Sequence[Block] = (
    *_blocks(
        "cloud metadata",
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # AWS: metadata, credentials of pods, time, names
        "fd20:ce::254/128",  # Google
        "fd00:42::42/128",  # Scaleway
    ),
    *_blocks("link-local", "169.254.0.0/16", "fe80::/10"),  # metadata of nearly all clouds, too
    *_blocks("unspecified", "0.0.0.0/8", "::/128"),  # they reach this machine
    *_blocks("multicast", "224.0.0.0/4", "ff00::/8"),
    *_blocks("broadcast", "255.255.255.255/32"),
    *_blocks("loopback", "127.0.0.0/8", "::1/128", allowable=True),
    *_blocks("private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", allowable=True),
    *_blocks("private", "fc00::/7", "fec0::/10", allowable=True),
    *_blocks("shared by a provider's customers", "100.64.0.0/10", allowable=True),
    *_blocks("for benchmarks", "198.18.0.0/15", "2001:2::/48", allowable=True),
    *_blocks("for documentation", "192.0.2.0/24", "198.51.100.0/24", allowable=True),
    *_blocks("for documentation", "203.0.113.0/24", "2001:db8::/32", "3fff::/20", allowable=True),
    *_blocks("reserved", "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", allowable=True),
    *_blocks("reserved", "2001::/23", allowable=True),
    # Only the translator knows which IPv4 address these lead to.
    *_blocks("local NAT64", "64:ff9b:1::/48"),
    *_blocks("IPv4-compatible", "::/96"),
)
_UNASSIGNED = "not assigned to anybody"
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
_LOW_32 = 0xFFFF_FFFF


def is_permitted(address: Address, *, allow_private: bool) -> bool:
    """Whether a connection to this address may be made."""
    return all(
        block is None or (block.allowable and allow_private)
        for block in map(_block_of, _ends(address))
    )


def refusal(host: str, addresses: Iterable[str], *, allow_private: bool) -> str:
    """For people: why no request may go to a host that is at these addresses."""
    found = {text: _blocks_of(text) for text in sorted(addresses)}
    if list(found) == [host]:
        places = f"{host} is {_kind(found[host])}"
    else:
        listed = ", ".join(f"{text} ({_kind(blocks)})" for text, blocks in found.items())
        places = f"{host} is at {listed}"
    curable = not allow_private and any(_is_allowable(blocks) for blocks in found.values())
    unless = " without allow_private_addresses: true" if curable else ""
    return f"{places}, where no request may go{unless}"


def address_of(text: str) -> Address:
    """An address as resolvers and sockets write it. Raises ValueError.

    The zone of a link-local address says which interface, not where to.
    """
    return ipaddress.ip_address(text.partition("%")[0])


def _ends(address: Address) -> tuple[Address, ...]:
    """Where packets to this address end, as far as it says so itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (_low_ipv4(address),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo  # the server, and the client behind it
    if int(address) >> 32 & _LOW_32 in _ISATAP:
        return address, _low_ipv4(address)
    return (address,)


def _low_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & _LOW_32)


def _block_of(address: Address) -> Block | None:
    """The block that keeps an address from being public; None: it is."""
    found = next((block for block in _BLOCKS if address in block.network), None)
    if found is None and address.version == 6 and address not in _GLOBAL_UNICAST:
        return Block(_UNASSIGNED, ipaddress.ip_network(address), allowable=False)
    return found


def _blocks_of(text: str) -> list[Block]:
    return [block for end in _ends(address_of(text)) if (block := _block_of(end)) is not None]


def _is_allowable(blocks: Sequence[Block]) -> bool:
    return bool(blocks) and all(block.allowable for block in blocks)


def _kind(blocks: Sequence[Block]) -> str:
    """What to call an address: the worst that is true of it."""
    worst = sorted(blocks, key=lambda block: block.allowable)
    return worst[0].kind if worst else "public"
