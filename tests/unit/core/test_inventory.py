"""The inventory: its shape, its stamps, and what it never carries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleetctl.core.inventory import (
    MOST_NFS_THREADS,
    Context,
    image_key,
    inventory,
    max_clients,
    max_connections,
    nfs_threads,
)
from fleetctl.core.layout import layout
from fleetctl.model import Host
from fleetctl.spec.models import FleetSpec
from tests.unit.core.conftest import SHARED, STATIC, spec

APPS = {"nfs", "worker-1", "worker-2"}


def build(asked: FleetSpec, context: Context, **addresses: str) -> dict[str, Any]:
    wanted = layout(asked)
    hosts = [Host(host.name, host.name, addresses.get(host.name, f"10.9.0.{n}")) for n, host in enumerate(wanted, 2)]
    return inventory(asked, wanted, hosts, context)


def stamps(built: dict[str, Any]) -> dict[str, str]:
    return {name: hostvars["fleet_stamp"] for name, hostvars in built["_meta"]["hostvars"].items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after.get(name)}


def test_groups_hold_the_hosts_and_workers_their_units(context: Context) -> None:
    built = build(spec(), context)
    groups = {name: group["hosts"] for name, group in built.items() if name not in ("all", "apps", "_meta")}
    assert groups == {
        "nfs": ["nfs"], "postgres": ["postgres"], "redis": ["redis"], "clients": ["nfs"],
        "workers": ["worker-1", "worker-2"],
        "pool_worker": ["worker-1", "worker-2"],
    }  # fmt: skip
    assert built["_meta"]["hostvars"]["worker-2"]["fleet_units"] == ["worker-2"]
    assert built["apps"]["children"] == ["clients", "workers"]
    assert built["workers"]["vars"]["fleet_redis_url"] == "redis://worker@10.9.0.4:6379/0"
    assert built["clients"]["vars"]["fleet_redis_url"] == "redis://producer@10.9.0.4:6379/0"


def test_ansible_gets_only_fleet_variables_and_its_own(context: Context) -> None:
    built = build(spec(), context)
    names = {key for group in built.values() for key in group.get("vars", {})}
    names |= {key for hostvars in built["_meta"]["hostvars"].values() for key in hostvars}
    assert all(name.startswith(("fleet_", "ansible_")) for name in names)


def test_a_second_build_has_the_same_stamps(context: Context) -> None:
    assert stamps(build(spec(), context)) == stamps(build(spec(), context))


def test_another_place_of_the_controllers_files_changes_no_stamp(context: Context) -> None:
    moved = replace(context, secrets_file="/e/s.yml", bundle="/e/b", wheelhouse_cache="/e/w", known_hosts="/e/k")
    assert changed(stamps(build(spec(), context)), stamps(build(spec(), moved))) == set()


@pytest.mark.parametrize(
    ("asked", "hosts"),
    [
        pytest.param(
            spec(pools={"worker": {"count": 3, "concurrency": 4}}), set(), id="one more worker touches no other"
        ),
        pytest.param(
            spec(pools={"worker": {"count": 2, "concurrency": 5}}), {"worker-1", "worker-2"}, id="concurrency: workers"
        ),
        pytest.param(spec(services={"redis": {"host": "redis", "appendfsync": "always"}}), {"redis"}, id="redis alone"),
        pytest.param(spec(app={"environment": {"A": "b"}}), APPS, id="app environment: who has the app"),
        pytest.param(
            spec(pools={"worker": {"count": 200, "concurrency": 4}}), {"postgres", "redis"}, id="ceilings pass a step"
        ),
    ],
)
def test_a_change_restamps_exactly_the_hosts_that_it_concerns(
    asked: FleetSpec, hosts: set[str], context: Context
) -> None:
    assert changed(stamps(build(spec(), context)), stamps(build(asked, context))) == hosts


@pytest.mark.parametrize(
    ("changes", "hosts"),
    [
        ({"secrets_digest": "t" * 32}, {"postgres", "redis", *APPS}),
        ({"bundle_digest": "c" * 32}, APPS),
        ({"networks": ("10.8.0.0/24",)}, {"postgres", "redis"}),
    ],
)
def test_secrets_app_and_networks_are_in_the_stamps_of_those_who_use_them(
    changes: dict[str, Any], hosts: set[str], context: Context
) -> None:
    after = build(spec(), replace(context, **changes))
    assert changed(stamps(build(spec(), context)), stamps(after)) == hosts


def test_a_role_is_in_the_stamps_of_its_hosts_only(context: Context) -> None:
    edited = replace(context, role_digests={**context.role_digests, "redis": "edited"})
    assert changed(stamps(build(spec(), context)), stamps(build(spec(), edited))) == {"redis"}


UML = {"kind": "local", "machines": "uml"}


def workers(count: int, concurrency: int = 4) -> dict[str, Any]:
    return {"worker": {"count": count, "concurrency": concurrency}}


def uml(**changes: Any) -> FleetSpec:
    return spec(provider=UML, **changes)


def own_nfs(**settings: Any) -> dict[str, Any]:
    return {"nfs": {"host": "nfs", **settings}}


@pytest.fixture
def exported(context: Context) -> Context:
    return replace(context, storage_kind="nfs")


def test_the_storage_is_exported_to_those_who_mount_it(exported: Context) -> None:
    asked = uml(clients=["nfs", "api"])
    variables = build(asked, exported)["nfs"]["vars"]
    where = {host.name: f"10.9.0.{n}" for n, host in enumerate(layout(asked), 2)}
    assert variables["fleet_nfs_clients"] == [where[name] for name in ("api", "worker-1", "worker-2")]
    assert variables["fleet_nfs"] == {"device": None, "threads": 16, "lease_seconds": 90}


@pytest.mark.parametrize(
    ("before", "after", "hosts"),
    [
        pytest.param(uml(), uml(pools=workers(3)), {"nfs"}, id="a worker comes"),
        pytest.param(uml(pools=workers(3)), uml(), {"nfs", "worker-3"}, id="a worker goes"),
        pytest.param(uml(), uml(clients=["nfs", "api"]), {"nfs"}, id="a client comes"),
        pytest.param(uml(clients=["nfs", "api"]), uml(), {"nfs", "api"}, id="a client goes"),
        pytest.param(uml(), uml(services=own_nfs(device="/dev/ubdc")), {"nfs"}, id="device"),
        pytest.param(uml(), uml(services=own_nfs(threads=24)), {"nfs"}, id="threads"),
        pytest.param(uml(), uml(services=own_nfs(lease_seconds=15)), {"nfs"}, id="lease"),
    ],
)
def test_who_mounts_and_how_it_is_served_restamp_the_server_alone(
    before: FleetSpec, after: FleetSpec, hosts: set[str], exported: Context
) -> None:
    # Each host has its address whoever else is there.
    where = {
        host.name: f"10.9.0.{n}" for n, host in enumerate(layout(uml(pools=workers(3), clients=["nfs", "api"])), 2)
    }
    first, then = build(before, exported, **where), build(after, exported, **where)
    assert changed(stamps(first), stamps(then)) == hosts


def test_another_address_of_a_worker_renews_the_exports(exported: Context) -> None:
    first, then = build(uml(), exported), build(uml(), exported, **{"worker-2": "10.9.0.99"})
    assert changed(stamps(first), stamps(then)) == {"nfs", "worker-2"}


def test_two_hosts_on_one_address_are_one_client(exported: Context) -> None:
    asked = spec(provider=STATIC, services=SHARED)
    built = build(asked, exported, beta="10.0.0.2", gamma="10.0.0.2")
    assert built["nfs"]["vars"]["fleet_nfs_clients"] == ["10.0.0.2"]


def test_the_version_is_for_those_who_mount(exported: Context) -> None:
    url = "nfs://files/export"
    hosts = [{**host, "user": "root", "become": False} for host in STATIC["hosts"]]  # type: ignore[attr-defined]
    new, old = (
        spec(provider={**STATIC, "hosts": hosts}, services={**SHARED, "nfs": {"url": url, "version": version}})
        for version in ("4.2", "4.1")
    )
    assert build(old, exported)["apps"]["vars"]["fleet_nfs_version"] == "4.1"
    assert changed(stamps(build(new, exported)), stamps(build(old, exported))) == {"beta", "gamma"}


def test_where_nothing_is_exported_slots_do_not_concern_the_storage(context: Context) -> None:
    assert build(spec(pools=workers(200)), context)["nfs"]["vars"]["fleet_nfs"]["threads"] is None


@pytest.mark.parametrize(
    ("pools", "threads"),
    [
        pytest.param(workers(1, 1), 16, id="least"),
        pytest.param(workers(2, 64), 16, id="just enough"),
        pytest.param(workers(1, 129), 24, id="one slot more"),
        pytest.param(workers(10, 60), 80, id="the default fleet"),
        pytest.param({"a": {"count": 4, "concurrency": 100}, "b": {"count": 2, "concurrency": 50}}, 64, id="all pools"),
        pytest.param(
            {f"p{n}": {"count": 16000, "per_host": 64, "concurrency": 1000} for n in range(9)},
            MOST_NFS_THREADS,
            id="no more than the memory bears",
        ),
    ],
)
def test_nfs_threads_follow_the_slots(pools: dict[str, Any], threads: int) -> None:
    assert nfs_threads(uml(pools=pools)) == threads


@pytest.mark.parametrize("threads", [1, 5000])
def test_nfs_threads_that_are_given_are_taken(threads: int) -> None:
    assert nfs_threads(uml(services=own_nfs(threads=threads))) == threads


@pytest.mark.parametrize(
    ("groups", "differs"),
    [(("clients", "nfs"), True), (("nfs",), True), (("workers",), True), (("postgres",), False), (("redis",), False)],
)
def test_images_with_nfs_are_not_those_without(
    groups: tuple[str, ...], differs: bool, context: Context, exported: Context
) -> None:
    keys = [image_key("r", groups, build(spec(), of), of) for of in (context, exported)]
    assert (keys[0] != keys[1]) is differs
    mounted = replace(context, storage_kind="mounted")  # installs what "bind" installs
    assert image_key("r", groups, build(spec(), mounted), mounted) == keys[0]


def test_image_keys_depend_on_what_the_install_phase_uses_and_nothing_else(context: Context) -> None:
    def key(asked: FleetSpec, of: Context, groups: tuple[str, ...] = ("workers",), recipe: str = "r") -> str:
        return image_key(recipe, groups, build(asked, of), of)

    first = key(spec(), context)
    assert first == key(spec(pools={"worker": {"count": 9, "concurrency": 9, "queues": ["x"]}}), context)
    assert first == key(spec(), replace(context, secrets_digest="t" * 32, networks=()))
    assert first != key(spec(), replace(context, bundle_digest="c" * 32))
    assert first != key(spec(), context, recipe="another base image")
    assert first != key(spec(storage={"path": "/srv/other"}), context)
    assert key(spec(), context, ("redis",)) == key(spec(), replace(context, bundle_digest="c" * 32), ("redis",))


def test_static_hosts_are_reached_as_they_say_and_unknown_keys_are_refused(context: Context) -> None:
    asked = spec(provider=STATIC, services=SHARED)
    hosts = [
        Host("alpha", "a", "10.0.0.1", host_keys=("ssh-ed25519 AAAA",)),
        Host("beta", "b", "10.0.0.2", user="ops", become=True, port=2222),
        Host("gamma", "c", "10.0.0.3", jump="ops@10.0.0.9"),
    ]
    variables = inventory(asked, layout(asked), hosts, replace(context, storage_kind="nfs"))["_meta"]["hostvars"]
    assert all("StrictHostKeyChecking=yes" in of["ansible_ssh_common_args"] for of in variables.values())
    assert "GlobalKnownHostsFile=/dev/null" in variables["alpha"]["ansible_ssh_common_args"]
    assert "GlobalKnownHostsFile=~/.ssh/known_hosts" in variables["beta"]["ansible_ssh_common_args"]
    assert (variables["beta"]["ansible_user"], variables["beta"]["ansible_become"]) == ("ops", True)
    assert "-p 22 ops@10.0.0.9" in variables["gamma"]["ansible_ssh_common_args"]


def test_hosts_without_an_address_are_left_out(context: Context) -> None:
    asked = spec()
    built = inventory(asked, layout(asked), [Host("nfs", "1", "10.9.0.2"), Host("redis", "2", "")], context)
    assert list(built["_meta"]["hostvars"]) == ["nfs"]
    assert built["redis"]["hosts"] == []


def test_the_inventory_is_json_without_a_password(context: Context) -> None:
    text = json.dumps(build(spec(), context))
    assert "password" not in text.lower()


@pytest.mark.parametrize(
    ("count", "concurrency", "connections", "clients"), [(10, 60, 768, 2048), (1, 1, 256, 1024), (12, 60, 1024, 2048)]
)
def test_ceilings_cover_the_slots_in_steps(count: int, concurrency: int, connections: int, clients: int) -> None:
    asked = spec(pools={"worker": {"count": count, "concurrency": concurrency}})
    assert (max_connections(asked), max_clients(asked)) == (connections, clients)
