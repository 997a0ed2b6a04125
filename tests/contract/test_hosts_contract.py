"""What every provider of hosts guarantees, over the fake and over real machines on this computer."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Protocol

import pytest

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.providers.local.paths import ROOT
from fleetctl.errors import ProviderError
from fleetctl.model import Event, Host, HostRequest, HostState
from fleetctl.ports import Baker
from tests.fakes import FakeProvider


class Stoppable(Baker, Protocol):
    """A provider whose hosts a test can stop."""

    def stop(self, name: str) -> None: ...


CAPACITY = 13  # of a /28


@pytest.fixture(params=["fake", *(pytest.param(kind, marks=pytest.mark.fleet) for kind in ("nspawn", "uml"))])
def provider(request: pytest.FixtureRequest) -> Iterator[Stoppable]:
    """A provider without hosts, with room for 13."""
    if request.param == "fake":
        yield FakeProvider(capacity=CAPACITY)
        return
    third = secrets.randbelow(256)
    subnet = f"10.159.{third}.0/28"
    local = LocalProvider(f"t-{secrets.token_hex(3)}", subnet=subnet, machines=request.param, memory_mib=256)
    try:
        yield local
    finally:
        local.destroy(ignore)


def ignore(event: Event) -> None:
    del event


def up(provider: Baker, *names: str, image: str | None = None, draft: bool = False) -> tuple[Host, ...]:
    return provider.launch([HostRequest(name, ("workers",), image=image, draft=draft) for name in names], ignore)


def names(hosts: Sequence[Host]) -> list[str]:
    return [host.name for host in hosts]


def test_launch_returns_a_running_host_for_each_request_in_order(provider: Stoppable) -> None:
    hosts = up(provider, "beta", "alpha")
    assert names(hosts) == ["beta", "alpha"]
    assert {host.state for host in hosts} == {HostState.RUNNING}
    assert len({host.address for host in hosts}) == len({host.id for host in hosts}) == 2
    assert all(ip_address(host.address) in ip_network(provider.networks[0]) for host in hosts)
    assert all(host.host_keys and host.machine_id for host in hosts)


def test_hosts_are_sorted_by_name_and_include_stopped_ones(provider: Stoppable) -> None:
    assert provider.hosts() == ()
    up(provider, "beta", "alpha")
    provider.stop("beta")
    assert [(host.name, host.state) for host in provider.hosts()] == [
        ("alpha", HostState.RUNNING),
        ("beta", HostState.STOPPED),
    ]


def test_a_second_launch_makes_nothing_twice_and_starts_what_is_stopped(provider: Stoppable) -> None:
    first = up(provider, "alpha", "beta")
    provider.stop("beta")
    assert up(provider, "alpha", "beta") == first
    assert provider.hosts() == first


def test_launch_tells_of_each_host(provider: Stoppable) -> None:
    events: list[Event] = []
    provider.launch([HostRequest("alpha", ("workers",)), HostRequest("beta", ("redis",))], events.append)
    assert {event.host for event in events if event.kind == "step" and event.phase == "launch"} == {"alpha", "beta"}


def test_terminate_removes_what_it_names_and_ignores_what_is_gone(provider: Stoppable) -> None:
    up(provider, "alpha", "beta")
    provider.terminate(["alpha", "never-was"])
    provider.terminate(["alpha"])
    assert names(provider.hosts()) == ["beta"]


def test_a_host_of_a_known_name_is_a_new_machine(provider: Stoppable) -> None:
    (first,) = up(provider, "alpha")
    provider.terminate(["alpha"])
    (second,) = up(provider, "alpha")
    assert second.id != first.id
    assert second.machine_id != first.machine_id
    assert second.host_keys != first.host_keys


def test_destroy_removes_every_host_and_may_be_called_again(provider: Stoppable) -> None:
    provider.destroy(ignore)
    up(provider, "alpha", "beta")
    provider.stop("alpha")
    provider.destroy(ignore)
    assert provider.hosts() == ()
    provider.destroy(ignore)


def test_a_launch_beyond_the_ceiling_is_refused_before_anything_is_made(provider: Stoppable) -> None:
    with pytest.raises(ProviderError, match="too many") as caught:
        up(provider, *(f"w{number}" for number in range(CAPACITY + 1)))
    assert caught.value.hint
    assert provider.hosts() == ()


def test_the_recipe_s_digest_is_stable(provider: Stoppable) -> None:
    assert provider.prepare(ignore) == provider.prepare(ignore) != ""


@pytest.fixture
def key() -> Iterator[str]:
    """The key of an image that this computer does not keep."""
    key = f"t-{secrets.token_hex(4)}"
    yield key
    shutil.rmtree(ROOT / "images" / "baked" / key, ignore_errors=True)


def test_a_sealed_host_is_gone_and_others_start_from_its_image(key: str, provider: Stoppable) -> None:
    assert key not in provider.images()
    up(provider, "bake", draft=True)
    provider.seal("bake", key)
    assert key in provider.images()
    assert provider.hosts() == ()
    assert [host.image for host in up(provider, "alpha", "beta", image=key)] == [key, key]


def test_an_unknown_image_is_refused(provider: Stoppable) -> None:
    with pytest.raises(ProviderError, match="no image") as caught:
        up(provider, "alpha", image="never-sealed")
    assert caught.value.hint


def test_an_unknown_host_cannot_be_sealed(provider: Stoppable) -> None:
    with pytest.raises(ProviderError, match="no host"):
        provider.seal("never-was", "key")
