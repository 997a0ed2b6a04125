"""Which hosts and units a spec asks for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetctl.model import Host, Unit
from fleetctl.spec.models import FleetSpec, StaticProvider

# The roles that each group's hosts carry, in order. `base` is on every host.
GROUP_ROLES: dict[str, tuple[str, ...]] = {
    "nfs": ("base", "nfs_server"),
    "postgres": ("base", "postgres"),
    "redis": ("base", "redis"),
    "workers": ("base", "nfs_client", "celery_worker"),
}


MOST_HOSTS = 1000  # numbers of a pool's hosts that are looked for


@dataclass(frozen=True)
class WantedHost:
    """A host that the spec asks for. `groups` are keys of GROUP_ROLES, sorted; `units` is empty off the workers."""

    name: str
    groups: tuple[str, ...]
    pool: str | None = None
    units: tuple[Unit, ...] = ()


def layout(spec: FleetSpec) -> tuple[WantedHost, ...]:
    """Return the wanted hosts: services first, then each pool's in the order of their numbers.

    Units are numbered through their pool from 1 and fill one host after the other. On a static provider the hosts of
    a pool are the first of those that name it; elsewhere they are called <pool>-<number>.
    """
    groups: dict[str, set[str]] = {}
    for group, service in (
        ("nfs", spec.services.nfs),
        ("postgres", spec.services.postgres),
        ("redis", spec.services.redis),
    ):
        if service.host is not None:
            groups.setdefault(service.host, set()).add(group)
    pools: dict[str, tuple[str, tuple[Unit, ...]]] = {}
    for pool_name, pool in spec.pools.items():
        for index, host in enumerate(_pool_hosts(spec, pool_name, pool.hosts)):
            numbers = range(index * pool.per_host + 1, min((index + 1) * pool.per_host, pool.count) + 1)
            units = tuple(Unit(f"{pool_name}-{n}", pool_name, host, pool.concurrency, pool.queues) for n in numbers)
            pools[host] = (pool_name, units)
            groups.setdefault(host, set()).add("workers")
    return tuple(WantedHost(name, tuple(sorted(of)), *pools.get(name, (None, ()))) for name, of in groups.items())


def fit(spec: FleetSpec, hosts: Sequence[Host]) -> FleetSpec:
    """Return the spec with each pool's count at what exists, for commands that act on the fleet as it was deployed.

    `deploy --workers 3` leaves fleet.yml at its own count; what was deployed is what the provider's hosts say. A static
    provider's hosts say nothing of it, and a fleet without hosts keeps its spec.
    """
    if isinstance(spec.provider, StaticProvider) or not hosts:
        return spec
    names = {host.name for host in hosts}
    pools = {}
    for name, pool in spec.pools.items():
        numbers = [n for n in range(1, MOST_HOSTS + 1) if f"{name}-{n}" in names]
        highest = max(numbers, default=pool.hosts)
        pools[name] = pool if highest == pool.hosts else pool.model_copy(update={"count": highest * pool.per_host})
    return spec.model_copy(update={"pools": pools})


def roles_of(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the roles of a host in these groups, each once, in order."""
    return tuple(dict.fromkeys(role for group in groups for role in GROUP_ROLES[group]))


def _pool_hosts(spec: FleetSpec, pool: str, count: int) -> tuple[str, ...]:
    if isinstance(spec.provider, StaticProvider):
        return tuple(host.name for host in spec.provider.hosts if host.pool == pool)[:count]
    return tuple(f"{pool}-{number}" for number in range(1, count + 1))
