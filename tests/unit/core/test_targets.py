"""What names mean: hosts, pools and units, and never two things at once."""

from __future__ import annotations

import pytest

from fleetctl.core.layout import layout
from fleetctl.core.targets import chosen_hosts, meant_keys, resolve, units_of
from fleetctl.errors import UsageError
from tests.unit.core.conftest import spec

ONE = layout(spec())
TWO = layout(spec(pools={"worker": {"count": 4, "concurrency": 4, "per_host": 2}}))


def names(*asked: str, of: object = ONE) -> list[tuple[str, list[str]]]:
    found = resolve(asked, TWO if of is TWO else ONE)
    return [(target.key, [unit.name for unit in target.units]) for target in found]


def test_a_host_a_pool_and_a_unit_are_found() -> None:
    assert names("worker-1") == [("host:worker-1", ["worker-1"])]
    assert names("worker") == [("pool:worker", ["worker-1", "worker-2"])]
    assert names("worker-3", of=TWO) == [("unit:worker-3@worker-2", ["worker-3"])]
    assert names("worker-3@worker-2", of=TWO) == [("unit:worker-3@worker-2", ["worker-3"])]


def test_a_name_that_is_a_host_and_the_unit_of_another_is_refused_until_its_kind_is_said() -> None:
    with pytest.raises(UsageError, match="worker-2 may mean more than one thing") as caught:
        resolve(["worker-2"], TWO)
    assert caught.value.hint == "say host:worker-2 or unit:worker-2"
    assert names("host:worker-2", of=TWO) == [("host:worker-2", ["worker-3", "worker-4"])]
    assert names("unit:worker-2", of=TWO) == [("unit:worker-2@worker-1", ["worker-2"])]


@pytest.mark.parametrize("name", ["worker-9", "host:worker-9", "pool:light", "unit:redis", "nobody:worker-1"])
def test_what_the_fleet_does_not_have_is_named_beside_what_it_has(name: str) -> None:
    with pytest.raises(UsageError, match=f"no host, pool or unit {name}") as caught:
        resolve([name], ONE)
    assert caught.value.hint == "one of: worker, worker-1, worker-2"


def test_a_host_without_units_cannot_be_drained() -> None:
    with pytest.raises(UsageError, match="redis has no units"):
        resolve(["redis"], ONE)


def test_units_and_hosts_come_once_in_the_fleets_order() -> None:
    found = resolve(["worker-2", "worker", "worker-2"], ONE)
    assert len(found) == 2
    assert [unit.name for unit in units_of(found, ONE)] == ["worker-1", "worker-2"]
    assert [host.name for host in chosen_hosts(["worker-2", "nfs"], ONE)] == ["nfs", "worker-2"]


def test_a_drain_of_a_host_that_left_is_found_by_its_name() -> None:
    keys = ("host:worker-9", "unit:worker-9@worker-9", "pool:worker")
    assert meant_keys("worker-9", keys) == ("host:worker-9", "unit:worker-9@worker-9")
    assert meant_keys("unit:worker-9", keys) == ("unit:worker-9@worker-9",)
    assert meant_keys("worker", keys) == ("pool:worker",)
    assert meant_keys("worker-1", keys) == ()
