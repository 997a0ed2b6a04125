"""What healthy hosts and brokers say, for tests that make one thing of it bad."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleetctl.core.health_values import Answer, Ground, Look
from fleetctl.core.inventory import Context, Inventory, inventory
from fleetctl.core.layout import WantedHost, layout
from fleetctl.core.survey import parse
from fleetctl.model import Host
from fleetctl.spec.models import FleetSpec
from tests.unit.core.surveys import NOW, answer, beat

GIB = 2**30
PATH = "/shared/fleet"


def machine_id(name: str) -> str:
    return f"{sum(map(ord, name)):032x}"


def hosts_of(spec: FleetSpec) -> dict[str, Host]:
    return {
        of.name: Host(of.name, f"i-{of.name}", f"10.0.0.{number}", machine_id=machine_id(of.name))
        for number, of in enumerate(layout(spec), 10)
    }


def ground_of(spec: FleetSpec, context: Context, *, kind: str = "nfs") -> Ground:
    return Ground(spec, made(spec, replace(context, storage_kind=kind)))


def made(spec: FleetSpec, context: Context) -> Inventory:
    return inventory(spec, layout(spec), tuple(hosts_of(spec).values()), context)


def facts_of(of: WantedHost, ground: Ground) -> dict[str, Any]:
    """Return what the probe says of a host that is well."""
    nfs, source = ground.group("nfs"), f"{hosts_of(ground.spec)['nfs'].address}:{PATH}"
    facts: dict[str, Any] = {
        "host": {
            "machine_id": machine_id(of.name), "boot_id": "b", "hostname": of.name, "fleet": "demo",
            "fleet_host": of.name if of.has_app else None, "stamp": ground.stamp(of.name), "is_guest": False,
            "uptime_seconds": 9e5, "needs_reboot": False,
        },
        "load": {"one": 1.0, "five": 1.0, "cpus": 2, "stalled_percent": 0.0, "source": "kernel"},
        "memory": {"total": 8 * GIB, "available": 6 * GIB, "swap_total": GIB, "swap_free": GIB, "source": "kernel"},
        "pids": {"used": 200, "limit": 32768, "source": "kernel"},
        "files": {"used": 2000, "limit": 800000, "source": "kernel"},
        "oom": {"kills": 0, "last_seconds": None, "source": "kernel"},
        "clock": {"is_synchronized": True},
        "disk": {"total": 40 * GIB, "available": 30 * GIB, "inodes": 1000000, "inodes_free": 900000},
        "units": {unit.name: unit_of(unit.concurrency) for unit in of.units},
        "services": {},
        "failed": [],
    }  # fmt: skip
    services = {"nfs": "nfs-server", "redis": "redis-server", "postgres": "postgresql@15-main"}
    for group in of.groups:
        if group in services:
            facts["services"][services[group]] = {"state": "active", "sub": "running", "is_enabled": True}
    if "nfs" in of.groups:
        facts["exports"] = {
            "exports": [[PATH, client] for client in nfs["fleet_nfs_clients"]],
            "threads": nfs["fleet_nfs"]["threads"],
        }
    if of.has_app or "nfs" in of.groups:
        mount = {"type": "nfs4", "source": source, "is_read_only": False} if "nfs" not in of.groups else None
        size = {"total": 40 * GIB, "available": 30 * GIB, "inodes": 1000000, "inodes_free": 900000}
        facts["storage"] = {"path": PATH, "seconds": 0.004, "space": size, "error": None, "kind": None, "mount": mount}
    if of.has_app:
        reached = {"seconds": 0.01, "reply_seconds": 0.001, "error": None, "kind": None}
        facts["redis"], facts["postgres"] = (
            {"server": "10.0.0.12:6379"} | reached,
            {"server": "10.0.0.11:5432"} | reached,
        )
    return copy.deepcopy(facts)


def unit_of(slots: int) -> dict[str, Any]:
    return {
        "load": "loaded", "state": "active", "sub": "running", "result": "success", "is_enabled": True, "restarts": 0,
        "pid": 77, "process": "S", "children": slots, "memory": 2**28, "memory_limit": 2**30, "oom_kills": 0,
        "tasks": 9, "tasks_limit": 100, "active_seconds": 90000.0,
    }  # fmt: skip


def answers_of(spec: FleetSpec, ground: Ground) -> dict[str, Answer]:
    """Return the answers of hosts that are well, each on its way for 2 ms beside the 10 that it took."""
    return {of.name: answered(facts_of(of, ground)) for of in layout(spec)}


def answered(facts: Mapping[str, Any], **changes: Any) -> Answer:
    return replace(Answer(facts=facts, time=NOW + 0.011, took=0.01, sent=NOW, received=NOW + 0.012), **changes)


def survey_answer(spec: FleetSpec, **changes: Any) -> dict[str, Any]:
    """Return what an agent says of a broker that is well, all units idle."""
    beats = [
        beat(unit.name, host=of.name, slots=unit.concurrency, queues=list(unit.queues), machine=machine_id(of.name))
        for of in layout(spec)
        for unit in of.units
    ]
    redis = {
        "used_memory": 2**26, "maxmemory": 2**30, "maxmemory_policy": "noeviction", "connected_clients": 20,
        "maxclients": 1024, "blocked_clients": 2, "aof_enabled": 1, "aof_last_write_status": "ok",
        "rdb_last_bgsave_status": "ok", "loading": 0, "uptime_in_seconds": 9000,
    }  # fmt: skip
    return answer(*beats, redis=redis) | changes


SERVICES = {
    "postgres": {"connections": 9, "max_connections": 256, "longest_transaction_seconds": 0.1, "error": None},
    "redis": {"latency_seconds": 0.001, "error": None},
}


def look_of(spec: FleetSpec, **changes: Any) -> Look:
    seen = parse(survey_answer(spec))
    canary = {unit.name: 0.01 for unit in seen.units}
    return replace(Look(survey=seen, strays={}, canary=canary, services=SERVICES, helper="nfs"), **changes)
