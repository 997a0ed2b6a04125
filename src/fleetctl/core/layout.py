"""Which hosts and units a spec asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetctl.model import Host, HostState, Unit
from fleetctl.spec.models import FleetSpec, Pool, StaticProvider

# The roles that each group's hosts carry, in order. `base` is on every host.
GROUP_ROLES: dict[str, tuple[str, ...]] = {
    "nfs": ("base", "nfs_server"),
    "postgres": ("base", "postgres"),
    "redis": ("base", "redis"),
    "clients": ("base", "nfs_client", "celery_worker"),
    "workers": ("base", "nfs_client", "celery_worker"),
}
APP_GROUPS = frozenset({"clients", "workers"})  # whose hosts carry the app, and mount the storage

MOST_HOSTS = 1000  # numbers of a pool's hosts that are looked for

Numbers = Mapping[str, tuple[int, ...]]  # pool -> numbers of its hosts, rising


@dataclass(frozen=True)
class WantedHost:
    """A host that the spec asks for. `groups` are keys of GROUP_ROLES, sorted; `units` is empty off the workers."""

    name: str
    groups: tuple[str, ...]
    pool: str | None = None
    units: tuple[Unit, ...] = ()

    @property
    def has_app(self) -> bool:
        return bool(APP_GROUPS.intersection(self.groups))


def layout(spec: FleetSpec, numbers: Numbers | None = None) -> tuple[WantedHost, ...]:
    """Return the wanted hosts: services and clients first, then each pool's in the order of their numbers.

    Host <pool>-<number> has per_host units, numbered on through the pool: (number - 1) x per_host + 1 and on, as far as
    the pool's count goes. `numbers` are those of the hosts to use; 1, 2, ... when absent. On a static provider a pool
    has the first hosts of those that name it.
    """
    groups: dict[str, set[str]] = {}
    services = spec.services
    named = [("nfs", services.nfs.host), ("postgres", services.postgres.host), ("redis", services.redis.host)]
    for group, host in [*named, *(("clients", host) for host in spec.client_hosts)]:
        if host is not None:
            groups.setdefault(host, set()).add(group)
    pools: dict[str, tuple[str, tuple[Unit, ...]]] = {}
    for pool_name, pool in spec.pools.items():
        left = pool.count
        for number, host in _pool_hosts(spec, pool_name, pool, numbers or {}):
            first = (number - 1) * pool.per_host + 1
            taken = range(first, first + min(pool.per_host, left))
            left -= len(taken)
            units = tuple(Unit(f"{pool_name}-{n}", pool_name, host, pool.concurrency, pool.queues) for n in taken)
            pools[host] = (pool_name, units)
            groups.setdefault(host, set()).add("workers")
    return tuple(WantedHost(name, tuple(sorted(of)), *pools.get(name, (None, ()))) for name, of in groups.items())


def existing(spec: FleetSpec, hosts: Sequence[Host]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of each pool's hosts that exist; none on a static provider, whose hosts say nothing of it."""
    if isinstance(spec.provider, StaticProvider):
        return {}
    names = {host.name for host in hosts}
    return {pool: tuple(n for n in range(1, MOST_HOSTS + 1) if f"{pool}-{n}" in names) for pool in spec.pools}


def choose(spec: FleetSpec, hosts: Sequence[Host], running_jobs: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the hosts that each pool shall have: those that it has, and the lowest free ones.

    Of too many, those go first that do not run, then those with the fewest `running_jobs` (host -> jobs), then the
    highest numbers.
    """
    states = {host.name: host.state for host in hosts}
    chosen = {}
    for name, have in existing(spec, hosts).items():

        def worth(number: int, pool: str = name) -> tuple[bool, int, int]:
            host = f"{pool}-{number}"
            return (states[host] is not HostState.STOPPED, running_jobs.get(host, 0), -number)

        wanted = spec.pools[name].hosts
        kept = sorted(have, key=worth, reverse=True)[:wanted]
        free = [number for number in range(1, wanted + len(have) + 1) if number not in have]
        chosen[name] = tuple(sorted([*kept, *free[: wanted - len(kept)]]))
    return chosen


def fit(spec: FleetSpec, hosts: Sequence[Host]) -> tuple[FleetSpec, tuple[WantedHost, ...]]:
    """Return the spec with each pool's count at what exists, and its layout: the fleet as it was deployed.

    `deploy --workers 3` leaves fleet.yml at its own count; what was deployed is what the provider's hosts say. A static
    provider's hosts say nothing of it; a fleet without hosts, and a pool without any, keep their spec.
    """
    numbers = {pool: of for pool, of in existing(spec, hosts).items() if of}
    pools = {
        name: pool.model_copy(update={"count": len(numbers[name]) * pool.per_host})
        if name in numbers and len(numbers[name]) != pool.hosts
        else pool
        for name, pool in spec.pools.items()
    }
    fitted = spec.model_copy(update={"pools": pools}) if pools != spec.pools else spec
    return fitted, layout(fitted, numbers)


def roles_of(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the roles of a host in these groups, each once, in order."""
    return tuple(dict.fromkeys(role for group in groups for role in GROUP_ROLES[group]))


def _pool_hosts(spec: FleetSpec, name: str, pool: Pool, numbers: Numbers) -> list[tuple[int, str]]:
    if isinstance(spec.provider, StaticProvider):
        hosts = [host.name for host in spec.provider.hosts if host.pool == name][: pool.hosts]
        return list(enumerate(hosts, 1))
    return [(number, f"{name}-{number}") for number in numbers.get(name, range(1, pool.hosts + 1))]
