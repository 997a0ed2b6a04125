"""Limits of the fleet as a whole: its slots and hosts, and the services that all units share. Pure.

Redis sees at most 2 x (slots + 12) connections of a unit.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.core.ceilings.ground import Ceiling, Ground, ceiling
from fleetctl.core.hostfacts import HostFacts
from fleetctl.core.inventory import max_clients, max_connections, nfs_threads
from fleetctl.spec.models import FleetSpec, StaticProvider
from fleetctl.spec.rules.hosts import LOCAL_CEILING
from fleetctl.spec.rules.services import SPARE_CONNECTIONS

ASKED = "slots of fleet.yml"
SLOTS_PER_NFS_THREAD = 8


def _slots(ground: Ground) -> Iterator[Ceiling]:
    counts = [f"pools.{name}.count: {pool.count}" for name, pool in ground.then.pools.items()]
    fix = f"write {', '.join(counts)} in fleet.yml, then: fleetctl deploy"
    yield ceiling(ASKED, "fleet", ground.now.slots, ground.slots, "slots", fix)


def _hosts(ground: Ground) -> Iterator[Ceiling]:
    provider = ground.then.provider
    if isinstance(provider, StaticProvider):
        for name, pool in ground.then.pools.items():
            listed = sum(host.pool == name for host in provider.hosts)
            fix = f"list more hosts with `pool: {name}` in fleet.yml, or raise pools.{name}.per_host or concurrency"
            most = listed * pool.per_host * pool.concurrency if len(ground.then.pools) == 1 else None
            yield ceiling("hosts", f"pool {name}", listed, pool.hosts, "hosts", fix, most_slots=most)
        return
    services = sum(not host.units for host in ground.wanted)
    need = services + sum(pool.hosts for pool in ground.then.pools.values())
    yield ceiling("hosts", "fleet", LOCAL_CEILING, need, "hosts", "raise per_host, or use `kind: static`")


def _postgres(ground: Ground) -> Iterator[Ceiling]:
    postgres, need = ground.now.services.postgres, ground.slots + SPARE_CONNECTIONS
    is_own = postgres.host is not None
    limit = ground.max_connections or (max_connections(ground.then) if is_own else None)
    if not is_own:
        fix = f"set max_connections of the external server to {need}, or put a connection pooler before it"
    elif postgres.max_connections:
        value = ground.slots + postgres.reserve
        fix = f"write `services.postgres.max_connections: {value}` in fleet.yml, then: fleetctl deploy"
    else:
        fix = "fleetctl deploy, which sets it by the slots of fleet.yml"
    most = None if limit is None else max(limit - SPARE_CONNECTIONS, 0)
    yield ceiling("Postgres connections", "fleet", limit, need, "connections", fix, most_slots=most)


def redis_connections(spec: FleetSpec) -> int:
    """Return how many connections the units of a fleet may hold."""
    return 2 * sum(pool.count * (pool.concurrency + 12) for pool in spec.pools.values())


def _redis(ground: Ground) -> Iterator[Ceiling]:
    is_own = ground.now.services.redis.host is not None
    limit, need = ground.max_clients or (max_clients(ground.then) if is_own else None), redis_connections(ground.then)
    fix = "fleetctl deploy, which sets it by the slots of fleet.yml"
    if not is_own:
        fix = f"set maxclients of the external server to {need} or more"
    most = None if limit is None else int(limit * ground.slots / need)
    yield ceiling("Redis clients", "fleet", limit, need, "clients", fix, most_slots=most)


def _nfs(ground: Ground) -> Iterator[Ceiling]:
    nfs = ground.now.services.nfs
    if nfs.host is None or ground.shares_kernel:
        return
    known = ground.facts.get(nfs.host, HostFacts()).nfsd_threads
    limit, need = known or nfs_threads(ground.then), -(-ground.slots // SLOTS_PER_NFS_THREAD)
    fix = "fleetctl deploy, which sets them by the slots of fleet.yml"
    if nfs.threads:
        fix = f"write `services.nfs.threads: {need}` in fleet.yml, then: fleetctl deploy"
    most = limit * SLOTS_PER_NFS_THREAD
    yield ceiling("NFS server threads", nfs.host, limit, need, "threads", fix, most_slots=most)


def _tracked(ground: Ground) -> Iterator[Ceiling]:
    redis, postgres = ground.now.services.redis.host, ground.now.services.postgres.host
    need: dict[str, int] = {}
    if redis is not None:
        need[redis] = need.get(redis, 0) + redis_connections(ground.then)
    if postgres is not None:
        need[postgres] = need.get(postgres, 0) + ground.slots
    for host, connections in need.items():
        limit = ground.facts[host].conntrack_max if host in ground.facts else None
        if host in ground.facts and limit is None:
            continue  # its kernel tracks no connections
        fix = f"on {host}: sysctl -w net.netfilter.nf_conntrack_max={4 * connections}"
        yield ceiling("tracked connections (conntrack)", host, limit, connections, "connections", fix)


def of_services(ground: Ground) -> tuple[Ceiling, ...]:
    """Return the ceilings of what all units share."""
    return tuple(ceiling for source in (_postgres, _redis, _nfs) for ceiling in source(ground))


SOURCES = (_slots, _hosts, _postgres, _redis, _nfs, _tracked)
