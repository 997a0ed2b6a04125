"""The inventory: its shape, its stamps, and what it never carries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleetctl.core.inventory import Context, image_key, inventory, max_clients, max_connections
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
