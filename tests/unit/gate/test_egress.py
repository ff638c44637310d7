"""Addresses that requests may go to."""

from __future__ import annotations

import ipaddress

import pytest

from orchestrator.engine.egress import EgressRefused, GuardedResolver, check_literal, is_permitted

PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"]
PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.5.4", "192.168.1.1", "::1", "fd12::1",
    "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "192.0.2.1", "240.0.0.1",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
    "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("allow_private", [True, False])
def test_public_addresses(address: str, allow_private: bool) -> None:
    assert is_permitted(ipaddress.ip_address(address), allow_private=allow_private)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_only_where_allowed(address: str) -> None:
    assert not is_permitted(ipaddress.ip_address(address), allow_private=False)
    assert is_permitted(ipaddress.ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allow_private", [True, False])
def test_metadata_and_link_local_never(address: str, allow_private: bool) -> None:
    assert not is_permitted(ipaddress.ip_address(address), allow_private=allow_private)


def test_shared_address_space_is_not_public() -> None:
    assert not is_permitted(ipaddress.ip_address("100.64.0.1"), allow_private=False)


def test_a_host_that_is_an_address_is_checked_as_it_is() -> None:
    check_literal("api.example", allow_private=False)
    check_literal("93.184.215.14", allow_private=False)
    with pytest.raises(EgressRefused, match="no request may go"):
        check_literal("[::1]", allow_private=False)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433"])
async def test_names_and_odd_spellings_are_checked_where_they_lead(host: str) -> None:
    guarded = GuardedResolver(allow_private=False, timeout_seconds=5)
    with pytest.raises((EgressRefused, OSError)):
        await guarded.resolve(host, 80)
    await guarded.close()


async def test_a_permitted_name_resolves() -> None:
    resolver = GuardedResolver(allow_private=True, timeout_seconds=5)
    assert [found["host"] for found in await resolver.resolve("localhost", 80)] == ["127.0.0.1"]
    await resolver.close()
