"""Which hosts and units a spec asks for."""

from __future__ import annotations

import pytest

from fleetctl.core.layout import WantedHost, choose, fit, layout, roles_of
from fleetctl.model import Host, HostState, Unit
from fleetctl.spec.models import FleetSpec
from tests.unit.core.conftest import SHARED, STATIC, spec


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(
            spec(),
            {
                "nfs": "clients nfs",
                "postgres": "postgres",
                "redis": "redis",
                "worker-1": "workers",
                "worker-2": "workers",
            },
            id="each service has a host of its own",
        ),
        pytest.param(
            spec(services={"nfs": {"host": "one"}, "postgres": {"host": "one"}, "redis": {"host": "one"}}),
            {"one": "clients nfs postgres redis", "worker-1": "workers", "worker-2": "workers"},
            id="services share a host",
        ),
        pytest.param(
            spec(services={"redis": {"url": "redis://u@r/0", "password": "env:P"}}),
            {"nfs": "clients nfs", "postgres": "postgres", "worker-1": "workers", "worker-2": "workers"},
            id="an external service has no host",
        ),
        pytest.param(
            spec(provider=STATIC, services=SHARED),
            {"alpha": "clients nfs postgres redis", "beta": "workers", "gamma": "workers"},
            id="a static pool takes the hosts that name it",
        ),
        pytest.param(
            spec(provider=STATIC, services=SHARED | {"redis": {"host": "beta"}}),
            {"alpha": "clients nfs postgres", "beta": "redis workers", "gamma": "workers"},
            id="a host serves and works",
        ),
        pytest.param(
            spec(clients=["api"]),
            {"nfs": "nfs", "postgres": "postgres", "redis": "redis", "api": "clients"}
            | {"worker-1": "workers", "worker-2": "workers"},
            id="clients have hosts of their own",
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
    ("existing", "workers"),
    [
        ((), ["worker-1", "worker-2"]),
        (("nfs", "worker-1", "worker-2"), ["worker-1", "worker-2"]),
        (("nfs", "worker-1"), ["worker-1"]),
        (("worker-1", "worker-2", "worker-3"), ["worker-1", "worker-2", "worker-3"]),
        (("worker-1", "worker-3"), ["worker-1", "worker-3"]),
        (("nfs",), ["worker-1", "worker-2"]),
    ],
)
def test_a_spec_fitted_to_what_exists_has_those_workers(existing: tuple[str, ...], workers: list[str]) -> None:
    fitted, wanted = fit(spec(), hosts(*existing))
    assert [host.name for host in wanted if host.units] == workers
    assert [unit.name for unit in units(wanted)] == workers
    assert fitted.pools["worker"].count == len(workers)


def test_fitting_keeps_a_count_that_does_not_fill_its_last_host() -> None:
    asked = spec(pools={"w": {"count": 3, "per_host": 2, "concurrency": 1}})
    assert fit(asked, hosts("w-1", "w-2"))[0].pools["w"].count == 3
    assert fit(asked, hosts("w-1"))[0].pools["w"].count == 2


def test_a_static_fleet_is_what_its_spec_says() -> None:
    asked = spec(provider=STATIC, services=SHARED)
    assert fit(asked, hosts("alpha")) == (asked, layout(asked))


@pytest.mark.parametrize(
    ("existing", "count", "jobs", "numbers"),
    [
        pytest.param((), 2, {}, (1, 2), id="a new pool"),
        pytest.param((1, 2), 4, {}, (1, 2, 3, 4), id="more are added"),
        pytest.param((1, 3), 3, {}, (1, 2, 3), id="the lowest free number is taken"),
        pytest.param((1, 2, 3), 1, {}, (1,), id="of idle ones the highest numbers go"),
        pytest.param((1, 2, 3), 1, {"worker-2": 1}, (2,), id="idle ones go first"),
        pytest.param((1, 2, 3), 2, {"worker-1": 9, "worker-2": 3, "worker-3": 5}, (1, 3), id="then the least busy"),
        pytest.param((2, 3), 2, {}, (2, 3), id="what is there stays"),
    ],
)
def test_the_hosts_of_a_pool_are_chosen(
    existing: tuple[int, ...], count: int, jobs: dict[str, int], numbers: tuple[int, ...]
) -> None:
    asked = spec(pools={"worker": {"count": count, "concurrency": 4}})
    have = hosts(*(f"worker-{number}" for number in existing))
    assert choose(asked, have, jobs) == {"worker": numbers}


def test_a_host_that_does_not_run_goes_before_an_idle_one() -> None:
    asked = spec(pools={"worker": {"count": 1, "concurrency": 4}})
    stopped = Host("worker-1", "1", "10.0.0.1", state=HostState.STOPPED)
    assert choose(asked, [stopped, *hosts("worker-2")], {}) == {"worker": (2,)}


def test_units_of_chosen_hosts_keep_the_names_of_their_numbers() -> None:
    asked = spec(pools={"w": {"count": 3, "per_host": 2, "concurrency": 1}})
    assert [unit.name for unit in units(layout(asked, {"w": (2, 5)}))] == ["w-3", "w-4", "w-9"]
