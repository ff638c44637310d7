"""Addresses that requests may go to, and those that they may not, each by its name."""

from __future__ import annotations

import ipaddress

import pytest

from orchestrator.engine.addresses import address_of, is_permitted, refusal

PUBLIC = {
    "IPv4": "93.184.215.14",
    "IPv6": "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
    "beside private ones": "172.32.0.1",
    "beside a provider's shared ones": "100.128.0.1",
    "beside loopback": "128.0.0.1",
    "IPv4 mapped to IPv6": "::ffff:93.184.215.14",
    "IPv4 behind NAT64": "64:ff9b::5db8:d70e",
    "IPv4 behind 6to4": "2002:5db8:d70e::1",
    "IPv4 behind ISATAP": "2606:2800::5efe:93.184.215.14",
}
PRIVATE = {
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.255.254",
    "loopback in IPv6": "::1",
    "class A": "10.0.0.1",
    "class B": "172.16.5.4",
    "the end of class B": "172.31.255.255",
    "class C": "192.168.1.1",
    "unique local": "fd12::1",
    "site-local": "fec0::1",
    "shared by a provider's customers": "100.64.0.1",
    "the end of what is shared": "100.127.255.255",
    "benchmarks": "198.18.0.1",
    "the end of benchmarks": "198.19.255.255",
    "benchmarks in IPv6": "2001:2::1",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "documentation in IPv6": "2001:db8::1",
    "new documentation in IPv6": "3fff::1",
    "protocols": "192.0.0.8",
    "protocols in IPv6": "2001:10::1",
    "relays of 6to4": "192.88.99.1",
    "reserved": "240.0.0.1",
    "private mapped to IPv6": "::ffff:10.0.0.1",
    "loopback mapped to IPv6": "::ffff:127.0.0.1",
    "shared mapped to IPv6": "::ffff:100.64.0.1",
    "private behind NAT64": "64:ff9b::a00:1",
    "private behind 6to4": "2002:a00:1::",
    "private behind Teredo": "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "a private server of Teredo": "2001:0:a00:1:8000:63bf:a247:28f1",
    "private behind ISATAP": "2606:2800::5efe:10.0.0.1",
    "private behind global ISATAP": "2606:2800::200:5efe:10.0.0.1",
}
NEVER = {
    "metadata of most clouds": "169.254.169.254",
    "credentials of ECS": "169.254.170.2",
    "link-local": "169.254.1.1",
    "link-local in IPv6": "fe80::1",
    "link-local with a zone": "fe80::1%eth0",
    "metadata of Azure": "168.63.129.16",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Oracle": "192.0.0.192",
    "metadata of AWS in IPv6": "fd00:ec2::254",
    "credentials of EKS in IPv6": "fd00:ec2::23",
    "metadata of Google in IPv6": "fd20:ce::254",
    "metadata of Scaleway in IPv6": "fd00:42::42",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "unspecified in IPv6": "::",
    "multicast": "224.0.0.1",
    "the end of multicast": "239.255.255.255",
    "multicast in IPv6": "ff02::1",
    "broadcast": "255.255.255.255",
    "IPv4-compatible": "::93.184.215.14",
    "IPv4-compatible loopback": "::127.0.0.1",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "local NAT64": "64:ff9b:1::a9fe:a9fe",
    "local NAT64 of any length": "64:ff9b:1:a9fe:a9:fe00::",
    "discarded": "100::1",
    "assigned to nobody": "4000::1",
    "segment routing": "5f00::1",
    "metadata mapped to IPv6": "::ffff:169.254.169.254",
    "metadata behind NAT64": "64:ff9b::a9fe:a9fe",
    "metadata behind 6to4": "2002:a9fe:a9fe::",
    "metadata behind Teredo": "2001:0:4136:e378:8000:63bf:5601:5601",
    "metadata behind ISATAP": "2606:2800::5efe:169.254.169.254",
    "broadcast mapped to IPv6": "::ffff:255.255.255.255",
}


@pytest.mark.parametrize("allow_private", [True, False])
@pytest.mark.parametrize("name", PUBLIC)
def test_public(name: str, allow_private: bool) -> None:
    assert is_permitted(ipaddress.ip_address(PUBLIC[name]), allow_private=allow_private)


@pytest.mark.parametrize("name", PRIVATE)
def test_only_where_allowed(name: str) -> None:
    address = ipaddress.ip_address(PRIVATE[name])
    assert not is_permitted(address, allow_private=False)
    assert is_permitted(address, allow_private=True)


@pytest.mark.parametrize("allow_private", [True, False])
@pytest.mark.parametrize("name", NEVER)
def test_never(name: str, allow_private: bool) -> None:
    assert not is_permitted(address_of(NEVER[name]), allow_private=allow_private)


@pytest.mark.parametrize(
    ("host", "addresses", "allow_private", "text"),
    [
        ("10.0.0.1", ["10.0.0.1"], False,
         "10.0.0.1 is private, where no request may go without allow_private_addresses: true"),
        ("169.254.169.254", ["169.254.169.254"], False,
         "169.254.169.254 is link-local, where no request may go"),
        ("a.example", ["127.0.0.1", "169.254.1.1"], False,
         ("a.example is at 127.0.0.1 (loopback), 169.254.1.1 (link-local), "
          "where no request may go without allow_private_addresses: true")),
        ("a.example", ["169.254.1.1"], True,
         "a.example is at 169.254.1.1 (link-local), where no request may go"),
        ("a.example", ["2606:2800::5efe:169.254.169.254"], False,
         "a.example is at 2606:2800::5efe:169.254.169.254 (link-local), where no request may go"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_found_and_what_would_help(
    host: str, addresses: list[str], *, allow_private: bool, text: str
) -> None:
    assert refusal(host, addresses, allow_private=allow_private) == text
