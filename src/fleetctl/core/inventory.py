"""The Ansible inventory of a fleet: spec and hosts to JSON. Pure.

Ansible gets only `fleet_*` and its own connection variables; inventory/group_vars/ maps them to role variables.
The shape is that of `ansible-inventory --list`. Values that only some hosts need are variables of their group, so that
a change to one service leaves the stamps of all other hosts as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fleetctl.core import ssh
from fleetctl.core.digest import digest
from fleetctl.core.layout import APP_GROUPS, WantedHost, roles_of
from fleetctl.model import Host
from fleetctl.spec.models import FleetSpec, Pool

USER = "fleet"
UID = 6000
POSTGRES_PORT = 5432
REDIS_PORT = 6379

# Each keeps room for one request of the largest size, 1/4,096 of the memory or less (nfsd_get_default_max_blksize in
# Linux's fs/nfsd/nfssvc.c): together a quarter of it.
MOST_NFS_THREADS = 1024

# Paths on the computer that runs fleetctl: they say where, not what, and stay out of stamps.
CONTROLLER_PATHS = frozenset({"fleet_secrets_file", "fleet_bundle", "fleet_wheelhouse_cache"})

Inventory = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What the inventory needs beside spec and hosts."""

    secrets_file: str
    secrets_digest: str
    bundle: str
    bundle_digest: str
    wheelhouse_cache: str
    known_hosts: str
    storage_kind: str  # "nfs"; "bind": one directory of this computer, by the provider; "mounted": by something else
    networks: tuple[str, ...]  # who may reach the services, CIDR
    ca: str | None  # certificates (PEM) by which external services are trusted
    role_digests: Mapping[str, str]  # role -> digest of its files; "playbooks" -> of playbooks and group_vars


def inventory(spec: FleetSpec, wanted: Sequence[WantedHost], hosts: Sequence[Host], context: Context) -> Inventory:
    """Return the inventory of those wanted hosts that exist. Hosts without an address yet are left out."""
    present = {host.name: host for host in hosts if host.address}
    result: Inventory = {
        "all": {"vars": _all_vars(spec, present, context)},
        "nfs": _group(
            wanted,
            present,
            "nfs",
            {"fleet_nfs": _nfs(spec, context), "fleet_nfs_clients": _nfs_clients(wanted, present, context)},
        ),
        "postgres": _group(wanted, present, "postgres", {"fleet_postgres": _postgres(spec, context)}),
        "redis": _group(wanted, present, "redis", {"fleet_redis": _redis(spec, context)}),
        "clients": _group(wanted, present, "clients", {"fleet_redis_url": _redis_url(spec, present, "producer")}),
        "workers": _group(wanted, present, "workers", {"fleet_redis_url": _redis_url(spec, present, "worker")}),
        "apps": {"children": ["clients", "workers"], "vars": _app_vars(spec, present, context)},
    }
    for name, pool in spec.pools.items():
        members = [host.name for host in wanted if host.pool == name and host.name in present]
        result[f"pool_{name}".replace("-", "_")] = {"hosts": members, "vars": {"fleet_pool": _pool(name, pool)}}
    result["_meta"] = {
        "hostvars": {
            host.name: _host_vars(host, present[host.name], context) for host in wanted if host.name in present
        }
    }
    for host in wanted:
        if host.name in present:
            result["_meta"]["hostvars"][host.name]["fleet_stamp"] = stamp(result, host, context)
    return result


def leaving(hosts: Sequence[Host], context: Context) -> Inventory:
    """Return an inventory of hosts that leave the fleet: how to reach them, in no group."""
    variables = {host.name: _connection(host, context) for host in hosts}
    return {"all": {"hosts": list(variables)}, "_meta": {"hostvars": variables}}


def stamp(inventory: Inventory, host: WantedHost, context: Context) -> str:
    """Return the digest of all that decides how this host is set up: roles, variables, app and secrets.

    The secrets file holds generated passwords of high entropy, so its share in the digest tells nothing about them.
    """
    groups = ["all", *host.groups, *(["apps"] if host.has_app else [])]
    groups += [f"pool_{host.pool}".replace("-", "_")] if host.pool else []
    hostvars = inventory["_meta"]["hostvars"][host.name]
    return digest(
        {
            "vars": {
                group: {key: value for key, value in inventory[group]["vars"].items() if key not in CONTROLLER_PATHS}
                for group in groups
            },
            "host": {"name": host.name} | {key: value for key, value in hostvars.items() if key.startswith("fleet_")},
            "roles": {role: context.role_digests[role] for role in (*roles_of(host.groups), "playbooks")},
            "secrets": context.secrets_digest if set(host.groups) - {"nfs"} else "",
        }
    )


def image_key(recipe: str, groups: tuple[str, ...], inventory: Inventory, context: Context) -> str:
    """Return the key of the image that hosts in `groups` start from: all that the install phase depends on."""
    variables = inventory["all"]["vars"]
    roles = roles_of(groups)
    return digest(
        {
            "recipe": recipe,
            "groups": groups,
            "roles": {role: context.role_digests[role] for role in (*roles, "playbooks")},
            "nfs": context.storage_kind == "nfs" and not {"nfs_server", "nfs_client"}.isdisjoint(roles),
            "user": [variables["fleet_user"], variables["fleet_uid"]],
            "storage": variables["fleet_storage"]["path"],
            "bundle": context.bundle_digest if APP_GROUPS.intersection(groups) else "",
        }
    )


def max_connections(spec: FleetSpec) -> int:
    """Return Postgres's limit: a connection for each slot and a reserve, in steps of 256: a new value restarts it."""
    return spec.services.postgres.max_connections or _round_up(spec.slots + spec.services.postgres.reserve, 256)


def max_clients(spec: FleetSpec) -> int:
    """Return Redis's limit: 2 x (units x (slots + 12)), in steps of 1,024, since a new value restarts it."""
    return _round_up(2 * sum(pool.count * (pool.concurrency + 12) for pool in spec.pools.values()) + 256, 1024)


def nfs_threads(spec: FleetSpec) -> int:
    """Return the NFS server's threads: one for 8 slots, 16 at least, in steps of 8."""
    computed = min(max(16, _round_up(-(-spec.slots // 8), 8)), MOST_NFS_THREADS)
    return spec.services.nfs.threads or computed


def key_prefix(spec: FleetSpec) -> str:
    """Return what every Redis key of the fleet begins with."""
    return f"{spec.name}:"


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _group(
    wanted: Sequence[WantedHost], present: Mapping[str, Host], group: str, variables: dict[str, Any]
) -> dict[str, Any]:
    return {
        "hosts": [host.name for host in wanted if group in host.groups and host.name in present],
        "vars": variables,
    }


def _all_vars(spec: FleetSpec, present: Mapping[str, Host], context: Context) -> dict[str, Any]:
    server, export = None, None
    if context.storage_kind == "nfs":
        if spec.services.nfs.url is not None:
            url = urlsplit(spec.services.nfs.url)
            server, export = url.hostname, url.path
        else:
            server, export = _address_of(spec.services.nfs.host, present), spec.storage.path
    return {
        "fleet_name": spec.name,
        "fleet_user": USER,
        "fleet_uid": UID,
        "fleet_secrets_file": context.secrets_file,
        "fleet_storage": {
            "kind": context.storage_kind,
            "path": spec.storage.path,
            "jobs_dir": spec.storage.jobs_dir,
            "uploads_dir": spec.storage.uploads_dir,
            "server": server,
            "export": export,
        },
    }


def _nfs(spec: FleetSpec, context: Context) -> dict[str, Any]:
    nfs = spec.services.nfs
    return {
        "device": nfs.device,
        "threads": nfs_threads(spec) if context.storage_kind == "nfs" else None,
        "lease_seconds": nfs.lease_seconds,
    }


def _nfs_clients(wanted: Sequence[WantedHost], present: Mapping[str, Host], context: Context) -> list[str]:
    if context.storage_kind != "nfs":
        return []
    mounting = [host for host in wanted if host.has_app and "nfs" not in host.groups]
    # Two static hosts may share an address, on two ports.
    return list(dict.fromkeys(present[host.name].address for host in mounting if host.name in present))


def _postgres(spec: FleetSpec, context: Context) -> dict[str, Any]:
    return {
        "max_connections": max_connections(spec),
        "networks": list(context.networks),
        "database": spec.services.postgres.database,
        "user": USER,
        "port": POSTGRES_PORT,
    }


def _redis(spec: FleetSpec, context: Context) -> dict[str, Any]:
    return {
        "key_prefix": key_prefix(spec),
        "max_clients": max_clients(spec),
        "appendfsync": spec.services.redis.appendfsync,
        "max_memory_mib": spec.services.redis.max_memory,
        "networks": list(context.networks),
        "port": REDIS_PORT,
    }


def _redis_url(spec: FleetSpec, present: Mapping[str, Host], user: str) -> str:
    redis = spec.services.redis
    return redis.url or f"redis://{user}@{_address_of(redis.host, present)}:{REDIS_PORT}/0"


def _app_vars(spec: FleetSpec, present: Mapping[str, Host], context: Context) -> dict[str, Any]:
    postgres = spec.services.postgres
    return {
        "fleet_nfs_version": spec.services.nfs.version,
        "fleet_key_prefix": key_prefix(spec),
        "fleet_visibility_timeout_seconds": spec.visibility_timeout_seconds,
        "fleet_postgres_url": postgres.url
        or f"postgresql://{USER}@{_address_of(postgres.host, present)}:{POSTGRES_PORT}/{postgres.database}",
        "fleet_app": {
            "module": spec.app.module,
            "routes": dict(spec.app.routes),
            "environment": dict(spec.app.environment),
        },
        "fleet_default_queue": spec.default_queue,
        "fleet_ca": context.ca,
        "fleet_bundle": context.bundle,
        "fleet_bundle_digest": context.bundle_digest,
        "fleet_wheelhouse_cache": context.wheelhouse_cache,
    }


def _pool(name: str, pool: Pool) -> dict[str, Any]:
    return {
        "name": name,
        "concurrency": pool.concurrency,
        "queues": list(pool.queues),
        "celery_pool": pool.celery_pool,
        "cpus": pool.cpus,
        "memory_mib": pool.memory,
        "time_limit_seconds": pool.time_limit,
        "soft_time_limit_seconds": pool.soft_time_limit,
        "stop_seconds": pool.stop_seconds,
        "recycle_jobs": pool.recycle.jobs,
        "recycle_memory_mib": pool.recycle.memory,
        "environment": dict(pool.environment),
    }


def _host_vars(wanted: WantedHost, host: Host, context: Context) -> dict[str, Any]:
    variables = _connection(host, context) | {"fleet_address": host.address, "fleet_machine_id": host.machine_id}
    if "workers" in wanted.groups:
        variables["fleet_units"] = [unit.name for unit in wanted.units]
    return variables


def _connection(host: Host, context: Context) -> dict[str, Any]:
    variables: dict[str, Any] = {
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": host.user,
        "ansible_become": host.become,
        "ansible_ssh_common_args": shlex.join(ssh.options(host, context.known_hosts)),
    }
    if host.key_file is not None:
        variables["ansible_ssh_private_key_file"] = str(host.key_file)
    return variables


def _address_of(name: str | None, present: Mapping[str, Host]) -> str | None:
    return present[name].address if name is not None and name in present else None
