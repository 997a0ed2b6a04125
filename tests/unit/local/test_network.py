"""Subnets that are free, and names that follow from a fleet's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.adapters.providers.local.firewall import rules
from fleetctl.adapters.providers.local.network import HOST_LIMIT, Network, check_subnet, choose_subnet
from fleetctl.errors import ProviderError

fleets = st.from_regex(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)


def test_the_same_fleet_gets_the_same_subnet_while_it_is_free() -> None:
    first = choose_subnet("demo", [])
    assert choose_subnet("demo", []) == first
    assert not choose_subnet("demo", [first]).overlaps(first)


@given(fleets, st.sets(st.integers(0, 2**14 - 1), max_size=50))
def test_a_chosen_subnet_overlaps_nothing_that_is_taken(fleet: str, offsets: set[int]) -> None:
    taken = [IPv4Network(((10 << 24) + (160 << 16) + (offset << 8), 24)) for offset in offsets]
    taken += [IPv4Network("10.192.0.0/12"), IPv4Network("10.160.7.9/32")]
    subnet = choose_subnet(fleet, taken)
    assert subnet.prefixlen == 24
    assert not any(subnet.overlaps(other) for other in taken)


def test_no_free_subnet_is_an_error_with_a_hint() -> None:
    with pytest.raises(ProviderError, match="no free") as caught:
        choose_subnet("demo", [IPv4Network("10.0.0.0/8")])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.99.0.0/24", None),
        ("10.99.0.1/24", "host bits set"),
        ("here", "Expected 4 octets"),
        ("10.0.0.0/8", "not from /16 to /28"),
        ("10.99.0.0/29", "not from /16 to /28"),
        ("192.0.2.0/25", "overlaps 192.0.2.0/24"),
    ],
)
def test_a_subnet_of_the_user_s_is_checked(text: str, problem: str | None) -> None:
    taken = [IPv4Network("192.0.2.0/24")]
    if problem is None:
        assert check_subnet(text, taken) == IPv4Network(text)
        return
    with pytest.raises(ProviderError, match=problem) as caught:
        check_subnet(text, taken)
    assert caught.value.hint


@given(fleets)
def test_names_fit_where_the_kernel_binds_them(fleet: str) -> None:
    network = Network(fleet, IPv4Network("10.160.0.0/24"))
    names = [network.bridge, *(network.link(number) for number in (1, HOST_LIMIT))]
    assert all(len(name) <= 15 for name in names)
    assert len({*names}) == 3
    assert int(network.mac(HOST_LIMIT)[:2], 16) & 0b11 == 0b10  # locally administered, not multicast


def test_addresses_stay_inside_the_subnet() -> None:
    for prefix in (24, 28):
        network = Network("demo", IPv4Network(f"10.160.0.0/{prefix}"))
        addresses = [network.gateway, *(network.address(number + 1) for number in range(network.capacity))]
        assert len(set(addresses)) == network.capacity + 1
        assert all(address in network.subnet.hosts() for address in (addresses[0], addresses[-1]))


def test_the_filter_drops_link_local_before_it_accepts_anything() -> None:
    text = rules(Network("my-fleet", IPv4Network("10.160.0.0/24")))
    assert "table inet fleetctl_my_fleet {" in text
    forward = text.partition("chain forward")[2].partition("chain postrouting")[0]
    assert forward.index("169.254.0.0/16 drop") < forward.index(" accept\n")
    assert forward.index('oifname "flt*" drop') < forward.index("established,related accept")


def test_a_link_local_name_server_can_be_asked_for_names_and_nothing_else() -> None:
    text = rules(Network("demo", IPv4Network("10.160.0.0/24")), [IPv4Address("169.254.169.254")])
    accepted = "ip daddr 169.254.169.254 meta l4proto { tcp, udp } th dport 53 accept\n"
    for chain in ("chain input", "chain forward"):
        part = text.partition(chain)[2].partition("}\n    chain")[0]
        assert part.index("ip saddr != 10.160.0.0/24 drop") < part.index(accepted) < part.index("169.254.0.0/16 drop")
