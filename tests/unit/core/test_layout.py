"""Which hosts and units a spec asks for."""

from __future__ import annotations

import pytest

from fleetctl.core.layout import WantedHost, fit, layout, roles_of
from fleetctl.model import Host, Unit
from fleetctl.spec.models import FleetSpec
from tests.unit.core.conftest import SHARED, STATIC, spec


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(
            spec(),
            {"nfs": "nfs", "postgres": "postgres", "redis": "redis", "worker-1": "workers", "worker-2": "workers"},
            id="each service has a host of its own",
        ),
        pytest.param(
            spec(services={"nfs": {"host": "one"}, "postgres": {"host": "one"}, "redis": {"host": "one"}}),
            {"one": "nfs postgres redis", "worker-1": "workers", "worker-2": "workers"},
            id="services share a host",
        ),
        pytest.param(
            spec(services={"redis": {"url": "redis://u@r/0", "password": "env:P"}}),
            {"nfs": "nfs", "postgres": "postgres", "worker-1": "workers", "worker-2": "workers"},
            id="an external service has no host",
        ),
        pytest.param(
            spec(provider=STATIC, services=SHARED),
            {"alpha": "nfs postgres redis", "beta": "workers", "gamma": "workers"},
            id="a static pool takes the hosts that name it",
        ),
        pytest.param(
            spec(provider=STATIC, services=SHARED | {"redis": {"host": "beta"}}),
            {"alpha": "nfs postgres", "beta": "redis workers", "gamma": "workers"},
            id="a host serves and works",
        ),
    ],
)
def test_hosts_carry_the_groups_that_the_spec_gives_them(asked: FleetSpec, expected: dict[str, str]) -> None:
    assert {host.name: " ".join(host.groups) for host in layout(asked)} == expected


def units(wanted: tuple[WantedHost, ...]) -> list[Unit]:
    return [unit for host in wanted for unit in host.units]


def test_units_fill_one_host_after_the_other_and_are_numbered_through_the_pool() -> None:
    asked = spec(pools={"w": {"count": 5, "per_host": 2, "concurrency": 3, "queues": ["a", "b"]}})
    assert [(unit.name, unit.host) for unit in units(layout(asked))] == [
        ("w-1", "w-1"), ("w-2", "w-1"), ("w-3", "w-2"), ("w-4", "w-2"), ("w-5", "w-3"),
    ]  # fmt: skip
    assert {unit.queues for unit in units(layout(asked))} == {("a", "b")}


def test_roles_of_a_shared_host_come_once_and_base_first() -> None:
    assert roles_of(("nfs", "postgres", "redis")) == ("base", "nfs_server", "postgres", "redis")


def hosts(*names: str) -> list[Host]:
    return [Host(name, name, "10.0.0.1") for name in names]


@pytest.mark.parametrize(
    ("existing", "count"),
    [
        ((), 2),
        (("nfs", "worker-1", "worker-2"), 2),
        (("nfs", "worker-1"), 1),
        (("worker-1", "worker-2", "worker-3"), 3),
        (("worker-1", "worker-3"), 3),
        (("nfs",), 2),
    ],
)
def test_a_spec_fitted_to_what_exists_counts_up_to_the_highest_host(existing: tuple[str, ...], count: int) -> None:
    assert fit(spec(), hosts(*existing)).pools["worker"].count == count


def test_fitting_keeps_a_count_that_does_not_fill_its_last_host() -> None:
    asked = spec(pools={"w": {"count": 3, "per_host": 2, "concurrency": 1}})
    assert fit(asked, hosts("w-1", "w-2")).pools["w"].count == 3
    assert fit(asked, hosts("w-1")).pools["w"].count == 2


def test_a_static_fleet_is_what_its_spec_says() -> None:
    asked = spec(provider=STATIC, services=SHARED)
    assert fit(asked, hosts("alpha")) is asked
