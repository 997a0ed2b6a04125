"""One limit, and what limits are judged on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleetctl.core.hostfacts import HostFacts
from fleetctl.core.layout import WantedHost
from fleetctl.spec.models import FleetSpec, LocalProvider, Pool
from fleetctl.spec.rules.pools import MAIN_PROCESS_MIB


@dataclass(frozen=True)
class Ceiling:
    """One limit. `where`: "fleet", a pool or a host. `limit` None: not known. `share`: need / limit.

    `most_slots`: slots of the whole fleet at which it is reached, for limits that more hosts do not lift.
    """

    name: str
    where: str
    limit: float | None
    need: float
    unit: str
    fix: str
    share: float | None
    is_ok: bool
    most_slots: int | None = None


@dataclass(frozen=True)
class Ground:
    """What ceilings are judged on: `now`, the fleet as fleet.yml has it or as it was deployed; `then`, the same with
    the asked number of slots; what is known of hosts and services."""

    now: FleetSpec
    then: FleetSpec
    slots: int  # asked
    wanted: Sequence[WantedHost]
    facts: Mapping[str, HostFacts]
    max_connections: int | None = None  # Postgres's own word
    max_clients: int | None = None  # Redis's own word

    @property
    def shares_kernel(self) -> bool:
        """Whether all hosts have the memory and the kernel of this computer."""
        return isinstance(self.now.provider, LocalProvider) and self.now.provider.machines == "nspawn"


def scaled(spec: FleetSpec, slots: int) -> FleetSpec:
    """Return the spec with pools of so many units that they have this number of slots, in their present proportion."""
    pools = {
        name: pool.model_copy(update={"count": max(-(-pool.count * slots // spec.slots), 1)})
        for name, pool in spec.pools.items()
    }
    return spec.model_copy(update={"pools": pools})


def unit_mib(pool: Pool) -> int:
    """Return the memory that one unit is expected to need."""
    return pool.concurrency * pool.slot_memory + MAIN_PROCESS_MIB


def ceiling(
    name: str, where: str, limit: float | None, need: float, unit: str, fix: str, *, most_slots: int | None = None
) -> Ceiling:
    """Make a ceiling: its share, and whether it is high enough. One that is not known is taken to be."""
    share = None if limit is None else need / limit if limit else float("inf")
    return Ceiling(name, where, limit, need, unit, fix, share, limit is None or need <= limit, most_slots)


Judge = Callable[[str, Pool, int, HostFacts | None], Ceiling | None]


def worst(ground: Ground, judge: Judge) -> Iterator[Ceiling]:
    """Yield one ceiling for each pool: that of its tightest host; of the pool as such while no host of it is known."""
    for name, pool in ground.then.pools.items():
        hosts: Iterable[WantedHost] = [host for host in ground.wanted if host.pool == name]
        known = [
            (host.name, judge(name, pool, len(host.units), ground.facts[host.name]))
            for host in hosts
            if host.name in ground.facts
        ]
        judged = [(where, ceiling) for where, ceiling in known if ceiling is not None]
        if not known:
            unknown = judge(name, pool, min(pool.per_host, pool.count), None)
            judged = [(f"pool {name}", unknown)] if unknown is not None else []
        if judged:
            where, tightest = max(judged, key=lambda one: -1.0 if one[1].share is None else one[1].share)
            yield replace(tightest, where=where)
