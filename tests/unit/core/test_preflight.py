"""Ceilings: each seen too low for its own reason, and what is not known said to be so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core import preflight as core
from fleetctl.core.ceilings.ground import Ceiling, scaled
from fleetctl.core.hostfacts import HostFacts
from fleetctl.core.instances import INSTANCES, InstanceType
from fleetctl.core.layout import layout
from fleetctl.core.preflight import Preflight, preflight
from fleetctl.spec.models import FleetSpec, Pool
from tests.unit.core.conftest import SHARED, STATIC, spec

GOOD = HostFacts(
    memory_mib=16384, cpus=8, pid_max=4_194_304, conntrack_max=262_144, inotify_instances=8192, nfsd_threads=64,
    open_files=16384, tasks=4096,
)  # fmt: skip


def static(**pool: Any) -> FleetSpec:
    value = {"count": 2, "concurrency": 60, "memory": "2GiB", "cpus": 4} | pool
    return spec(provider=STATIC, services=SHARED, pools={"worker": value})


def look(of: FleetSpec, slots: int | None = None, facts: HostFacts | None = GOOD, **more: Any) -> Preflight:
    wanted = layout(of)
    known = {host.name: facts for host in wanted} if facts is not None else {}
    return preflight(of, slots or of.slots, wanted=wanted, facts=known, unknown={}, **more)


def low(value: Preflight) -> dict[str, Ceiling]:
    return {ceiling.name: ceiling for ceiling in value.ceilings if not ceiling.is_ok}


def named(value: Preflight) -> dict[str, Ceiling]:
    return {ceiling.name: ceiling for ceiling in value.ceilings}


def test_a_fleet_with_room_everywhere_is_fine_and_names_what_binds_first() -> None:
    found = look(static())
    assert found.is_ok
    assert found.binding is not None
    others = [ceiling for ceiling in found.ceilings if ceiling.name != "slots of fleet.yml"]
    assert found.binding.share == max(ceiling.share or 0.0 for ceiling in others)
    assert [ceiling.share is None for ceiling in found.ceilings] == sorted(c.share is None for c in found.ceilings)


def test_fleet_ymls_own_number_binds_only_when_more_is_asked() -> None:
    assert "slots of fleet.yml" in named(look(static()))
    binding = look(spec(), 9).binding
    assert binding is not None
    assert binding.name == "slots of fleet.yml"


FACTS: dict[str, tuple[HostFacts, str]] = {
    "memory": (replace(GOOD, memory_mib=1024), "memory of a host"),
    "processors": (replace(GOOD, cpus=2), "processors of a host"),
    "open files": (replace(GOOD, open_files=256), "open files of a unit (LimitNOFILE)"),
    "tasks": (replace(GOOD, tasks=64), "processes of a unit (TasksMax)"),
    "pids": (replace(GOOD, pid_max=1024), "processes of the kernel (pid_max)"),
    "inotify": (replace(GOOD, inotify_instances=100), "inotify instances"),
    "conntrack": (replace(GOOD, conntrack_max=300), "tracked connections (conntrack)"),
    "nfsd": (replace(GOOD, nfsd_threads=8), "NFS server threads"),
    "Docker": (replace(GOOD, has_docker=True, docker_networks=31), "Docker networks, one for each job"),
}


@pytest.mark.parametrize(("facts", "name"), FACTS.values(), ids=FACTS)
def test_what_a_host_lacks_is_the_one_ceiling_that_is_too_low(facts: HostFacts, name: str) -> None:
    found = look(static(), facts=facts)
    assert list(low(found)) == [name]
    assert found.binding is not None
    assert found.binding.name == name
    assert not found.is_ok
    assert found.binding.fix


def test_a_bridge_of_docker_has_1024_ports() -> None:
    facts = replace(GOOD, has_docker=True, docker_networks=16384, memory_mib=65536, open_files=65536, tasks=65536)
    found = look(static(count=2, concurrency=1000, memory="64GiB"), facts=facts)
    assert named(found)["ports of a Docker bridge"].share == 1000 / 1024
    assert "ports of a Docker bridge" not in named(look(static()))


SPECS: dict[str, tuple[FleetSpec, int, str, str]] = {
    "slots": (spec(), 100, "slots of fleet.yml", "write pools.worker.count: 25 in fleet.yml, then: fleetctl deploy"),
    "machines of this computer": (spec(), 4 * 300, "hosts", "raise per_host, or use `kind: static`"),
    "listed machines": (static(), 180, "hosts", "list more hosts with `pool: worker` in fleet.yml"),
    "memory of a unit": (
        static(memory="1GiB"), 120, "memory of a unit", "write `pools.worker.memory: 1568MiB` in fleet.yml",
    ),
    "Postgres": (
        spec(services={"postgres": {"host": "postgres", "max_connections": 20}}), 16, "Postgres connections",
        "write `services.postgres.max_connections: 66` in fleet.yml",
    ),
    "NFS": (
        spec(provider={"kind": "local", "machines": "uml"}, services={"nfs": {"host": "nfs", "threads": 1}}), 16,
        "NFS server threads", "write `services.nfs.threads: 2` in fleet.yml",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("of", "slots", "name", "fix"), SPECS.values(), ids=SPECS)
def test_what_fleet_yml_lacks_is_known_before_a_deploy(of: FleetSpec, slots: int, name: str, fix: str) -> None:
    found = low(look(of, slots, facts=None))
    assert name in found
    assert found[name].fix.startswith(fix)


def test_before_a_deploy_what_only_hosts_know_is_not_known() -> None:
    found = look(static(), facts=None)
    assert found.is_ok
    assert not found.is_deployed
    unknown = {ceiling.name for ceiling in found.ceilings if ceiling.limit is None}
    assert unknown == {"memory of a host", "processors of a host", "tracked connections (conntrack)"}
    assert any("not known before a deploy" in note for note in found.notes)


def test_a_host_that_tracks_no_connections_has_no_such_ceiling() -> None:
    assert "tracked connections (conntrack)" in named(look(static()))
    assert "tracked connections (conntrack)" not in named(look(static(), facts=replace(GOOD, conntrack_max=None)))


def test_external_services_say_their_limits_themselves() -> None:
    services = {
        "postgres": {"url": "postgresql://fleet@db.example.com/fleet", "password": "env:A"},
        "redis": {"url": "redis://fleet@cache.example.com/0", "password": "env:B"},
        "nfs": {"host": "alpha"},
    }
    of = spec(provider=STATIC, services=services)
    unknown = named(look(of))
    assert (unknown["Postgres connections"].limit, unknown["Redis clients"].limit) == (None, None)
    known = low(look(of, max_connections=17, max_clients=10))
    assert set(known) == {"Postgres connections", "Redis clients"}
    assert "external server" in known["Postgres connections"].fix


def test_redis_needs_two_connections_for_each_slot_and_twelve_more_slots_of_each_unit() -> None:
    assert named(look(static()))["Redis clients"].need == 2 * 2 * (60 + 12)


def test_what_the_running_services_say_goes_before_what_a_deploy_would_set() -> None:
    found = named(look(static(), max_connections=100))["Postgres connections"]
    assert (found.limit, found.need, found.is_ok, found.most_slots) == (100, 130, False, 90)
    assert found.fix.startswith("fleetctl deploy")


def test_machines_that_share_this_computer_share_its_memory_and_its_kernel() -> None:
    facts = replace(GOOD, memory_mib=512, pid_max=400)
    found = low(look(spec(), facts=facts))
    assert set(found) == {"memory of this computer", "processes of the kernel (pid_max)"}
    assert found["memory of this computer"].need == 256 + 2 * (4 * 24 + 128)
    assert "NFS server threads" not in named(look(spec()))


def test_the_tightest_host_of_a_pool_stands_for_it() -> None:
    of = static()
    facts = {"alpha": GOOD, "beta": GOOD, "gamma": replace(GOOD, memory_mib=2000)}
    found = preflight(of, 120, wanted=layout(of), facts=facts, unknown={})
    assert named(found)["memory of a host"].where == "gamma"


def test_a_pool_without_limits_is_told_what_would_bound_it() -> None:
    notes = " ".join(look(static(memory=None, cpus=None)).notes)
    assert "up to 7.5 slots for each processor" in notes
    assert "pools.worker.cpus" in notes
    assert "pools.worker.memory" in notes


def test_a_type_of_machine_carries_as_many_slots_as_its_memory_or_its_processors_do() -> None:
    pool = Pool.model_validate({"count": 10, "concurrency": 60, "slot_memory": "100MiB", "cpus": 6})
    fit = core.fit(pool, 600, InstanceType("x", 4, 16384, 0.5))
    assert (fit.slots_by_memory, fit.slots_by_cpu, fit.slots) == (160, 40, 40)
    assert (fit.hosts, fit.usd_per_hour) == (15, 7.5)


def test_guidance_is_for_all_slots_of_a_pool_the_cheapest_first() -> None:
    (guide,) = look(static()).guidance
    prices = [fit.usd_per_hour for fit in guide.fits]
    assert guide.slots == 120
    assert prices == sorted(prices)
    assert {fit.instance for fit in guide.fits} <= {machine.name for machine in INSTANCES}


@given(st.integers(1, 50), st.integers(1, 200), st.integers(1, 50_000))
def test_a_scaled_fleet_has_the_slots_that_were_asked_and_not_a_unit_more(count: int, each: int, slots: int) -> None:
    found = scaled(spec(pools={"worker": {"count": count, "concurrency": each}}), slots)
    assert slots <= found.slots < slots + each


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_more_slots_never_need_less(some: int, more: int) -> None:
    less, most = (named(look(spec(), slots)) for slots in (some, some + more))
    assert all(most[name].need >= ceiling.need for name, ceiling in less.items())


@given(st.integers(20, 2000), st.integers(1, 3000))
def test_the_most_slots_of_a_ceiling_are_those_that_it_lets_pass(connections: int, slots: int) -> None:
    found = named(look(spec(), slots, max_connections=connections))["Postgres connections"]
    assert found.is_ok == (slots <= (found.most_slots or 0))


def test_ceilings_are_plain_values() -> None:
    found = look(static())
    assert found == look(static())
    assert isinstance(found.unknown, Mapping)
