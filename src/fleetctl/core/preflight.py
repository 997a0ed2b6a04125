"""Can this fleet have so many slots, and what stops it first? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetctl.core.ceilings import fleet, hosts
from fleetctl.core.ceilings.ground import Ceiling, Ground, scaled
from fleetctl.core.hostfacts import HostFacts
from fleetctl.core.instances import INSTANCES, InstanceType
from fleetctl.core.layout import WantedHost
from fleetctl.spec.models import FleetSpec, Pool
from fleetctl.spec.rules.pools import MAIN_PROCESS_MIB

# A provider's own limits, such as a quota of processors, are one more source.
_SOURCES = (*fleet.SOURCES, *hosts.SOURCES)


@dataclass(frozen=True)
class Fit:
    """How many slots of a pool one type of machine carries in one unit: by its memory, by its processors where the pool
    limits them, and so in all; how many hosts the pool's slots need, and what these cost."""

    instance: str
    vcpus: int
    memory_mib: int
    is_burstable: bool
    slots: int
    slots_by_memory: int
    slots_by_cpu: int | None
    slots_per_vcpu: float
    hosts: int
    usd_per_hour: float


@dataclass(frozen=True)
class PoolFit:
    """Guidance for one pool that is to have so many slots."""

    pool: str
    slots: int
    slot_mib: int
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Preflight:
    """All ceilings, the first one to be reached first. `is_deployed`: judged on facts of hosts, not on fleet.yml alone;
    `unknown`: hosts that were asked and did not say."""

    slots: int
    slots_now: int
    is_deployed: bool
    is_ok: bool
    binding: Ceiling | None
    ceilings: tuple[Ceiling, ...]
    guidance: tuple[PoolFit, ...]
    unknown: Mapping[str, str]
    notes: tuple[str, ...]


def preflight(
    spec: FleetSpec,
    slots: int,
    *,
    wanted: Sequence[WantedHost],
    facts: Mapping[str, HostFacts],
    unknown: Mapping[str, str],
    max_connections: int | None = None,
    max_clients: int | None = None,
    notes: Sequence[str] = (),
) -> Preflight:
    """Return the ceilings on the way to `slots`. `facts`: host -> what it said; `unknown`: host -> why it did not;
    `max_connections`, `max_clients`: of the running Postgres and Redis, None where they were not asked."""
    then = scaled(spec, slots)
    ground = Ground(spec, then, slots, wanted, facts, max_connections, max_clients)
    found = (ceiling for source in _SOURCES for ceiling in source(ground))
    ordered = tuple(sorted(found, key=lambda ceiling: (ceiling.share is None, -(ceiling.share or 0.0))))
    return Preflight(
        slots=slots,
        slots_now=spec.slots,
        is_deployed=bool(facts),
        is_ok=all(ceiling.is_ok for ceiling in ordered),
        binding=next((ceiling for ceiling in ordered if _can_bind(ceiling)), None),
        ceilings=ordered,
        guidance=tuple(_guide(name, pool) for name, pool in then.pools.items()),
        unknown=dict(unknown),
        notes=(*notes, *_notes(then, facts, wanted)),
    )


def fit(pool: Pool, slots: int, machine: InstanceType) -> Fit:
    """Return how many slots of this pool a type of machine carries, and how many of them so many slots need."""
    memory = max((machine.memory_mib - hosts.SYSTEM_MIB - MAIN_PROCESS_MIB) // pool.slot_memory, 0)
    cpu = int(machine.vcpus * pool.concurrency / pool.cpus) if pool.cpus else None
    most = min(memory, cpu) if cpu is not None else memory
    count = -(-slots // most) if most else 0
    return Fit(
        machine.name, machine.vcpus, machine.memory_mib, machine.is_burstable, most, memory, cpu,
        round(most / machine.vcpus, 1), count, round(count * machine.usd_per_hour, 4),
    )  # fmt: skip


def _can_bind(ceiling: Ceiling) -> bool:
    """Tell whether a ceiling may be what binds; fleet.yml's own number does only where more is asked."""
    return ceiling.share is not None and not (ceiling.name == fleet.ASKED and ceiling.is_ok)


def _guide(name: str, pool: Pool) -> PoolFit:
    slots = pool.count * pool.concurrency
    fits = [fit(pool, slots, machine) for machine in INSTANCES]
    cheapest = sorted((one for one in fits if one.slots), key=lambda one: (one.usd_per_hour, one.hosts, one.instance))
    return PoolFit(name, slots, pool.slot_memory, tuple(cheapest))


def _notes(spec: FleetSpec, facts: Mapping[str, HostFacts], wanted: Sequence[WantedHost]) -> list[str]:
    notes = []
    for name, pool in spec.pools.items():
        if pool.cpus is None:
            of = [(h, facts[h.name].cpus) for h in wanted if h.pool == name and h.name in facts]
            rates = [sum(u.concurrency for u in host.units) / cpus for host, cpus in of if cpus]
            said = f", up to {max(rates):.1f} slots for each processor of its hosts" if rates else ""
            notes.append(f"pool {name} has no limit of processors{said}: pools.{name}.cpus would bound it")
        if pool.memory is None:
            notes.append(
                f"pool {name} has no limit of memory: pools.{name}.memory would keep a unit from its neighbours'"
            )
    if not facts:
        notes.append("Docker, conntrack and the hosts' own figures are not known before a deploy")
    return notes
