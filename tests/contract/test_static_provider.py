"""The static provider: what it says of machines that somebody else made."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.adapters.providers.static import StaticProvider
from fleetctl.errors import ProviderError
from fleetctl.model import Host, HostState
from fleetctl.ports import Elastic, HostSource
from fleetctl.spec import models

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"


def provider(*hosts: dict[str, object], **more: object) -> StaticProvider:
    return StaticProvider(models.StaticProvider.model_validate({"kind": "static", "hosts": list(hosts), **more}))


def test_it_is_a_source_of_hosts_and_not_elastic() -> None:
    source = provider({"name": "alpha", "address": "10.0.0.1"})
    assert isinstance(source, HostSource)
    assert not isinstance(source, Elastic)
    assert source.kind == "static"


def test_hosts_are_running_and_sorted_by_name() -> None:
    source = provider({"name": "beta", "address": "10.0.0.2"}, {"name": "alpha", "address": "10.0.0.3"})
    assert [(host.name, host.state) for host in source.hosts()] == [
        ("alpha", HostState.RUNNING),
        ("beta", HostState.RUNNING),
    ]
    assert source.hosts() == source.hosts()


def test_a_host_carries_all_that_ssh_needs(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    listed = {
        "name": "alpha",
        "address": "10.0.0.1",
        "port": 2222,
        "user": "ops",
        "key": str(tmp_path / "key"),
        "become": True,
        "jump": "ops@203.0.113.5:2200",
        "host_key": KEY,
        "pool": "worker",
        "price": 0.0864,
    }
    assert provider(listed).hosts() == (
        Host(
            name="alpha",
            id="10.0.0.1:2222",
            address="10.0.0.1",
            port=2222,
            user="ops",
            key_file=tmp_path / "key",
            become=True,
            jump="ops@203.0.113.5:2200",
            host_keys=(KEY,),
            machine_id=None,
            price=0.0864,
        ),
    )


def test_a_host_without_a_host_key_is_left_to_the_users_known_hosts() -> None:
    (host,) = provider({"name": "alpha", "address": "10.0.0.1"}).hosts()
    assert host.host_keys == ()
    assert (host.user, host.become, host.key_file) == ("root", False, None)


def test_a_host_whose_price_is_not_said_has_none() -> None:
    (host,) = provider({"name": "alpha", "address": "10.0.0.1"}).hosts()
    assert host.price is None


def test_a_whole_number_is_a_price_too() -> None:
    (host,) = provider({"name": "alpha", "address": "10.0.0.1", "price": 2}).hosts()
    assert host.price == 2


def test_ids_differ_where_addresses_or_ports_do() -> None:
    source = provider(
        {"name": "a", "address": "10.0.0.1"},
        {"name": "b", "address": "10.0.0.1", "port": 2222},
        {"name": "c", "address": "10.0.0.2"},
    )
    assert len({host.id for host in source.hosts()}) == 3


def test_without_networks_each_host_alone_may_reach_the_services() -> None:
    source = provider(
        {"name": "b", "address": "10.0.0.2"},
        {"name": "a", "address": "10.0.0.1"},
        {"name": "c", "address": "10.0.0.1", "port": 2222},
    )
    assert source.networks == ("10.0.0.1/32", "10.0.0.2/32")


def test_networks_that_are_given_are_taken() -> None:
    assert provider({"name": "a", "address": "10.0.0.1"}, networks=["10.0.0.0/24"]).networks == ("10.0.0.0/24",)


def test_private_keys_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    source = provider(
        {"name": "a", "address": "10.0.0.1", "key": str(tmp_path / "a.key")},
        {"name": "b", "address": "10.0.0.2", "key": str(tmp_path / "b.key")},
    )
    with pytest.raises(ProviderError) as caught:
        source.hosts()
    assert f"{tmp_path}/a.key (a), {tmp_path}/b.key (b)" in caught.value.message
