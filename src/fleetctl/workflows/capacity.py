"""capacity and queues: what the fleet has, does and costs; waiting jobs moved and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleetctl.core import waves
from fleetctl.core.capacity import Capacity, measure
from fleetctl.core.ceilings import fleet as limits
from fleetctl.core.ceilings.ground import Ground
from fleetctl.core.cost import Cost, cost
from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey
from fleetctl.core.waves import JobPlan
from fleetctl.errors import FleetError, UsageError
from fleetctl.model import Host
from fleetctl.ports import Fleet
from fleetctl.workflows import survey as ask


@dataclass(frozen=True)
class FleetCapacity:
    """Slots and work of a fleet, with its costs."""

    fleet: str
    capacity: Capacity
    cost: Cost


@dataclass(frozen=True)
class QueueRow:
    """One queue. `pools`: of the live units that serve it; none: its jobs wait. `is_known`: fleet.yml has it."""

    name: str
    pools: tuple[str, ...]
    is_known: bool
    queued: int
    reserved: int
    running: int
    scheduled: int
    stranded: int
    oldest_seconds: float | None

    @property
    def is_served(self) -> bool:
        return bool(self.pools)


def capacity(fleet: Fleet, wanted: Sequence[WantedHost], helpers: Sequence[Host]) -> FleetCapacity:
    """Return slots, work and costs. Raises FleetError when no host can say."""
    return _capacity(fleet, measure(ask.survey(fleet, helpers), wanted))


def plan(
    fleet: Fleet,
    wanted: Sequence[WantedHost],
    helpers: Sequence[Host],
    *,
    jobs: int,
    seconds: float,
    queue: str | None = None,
) -> tuple[JobPlan, FleetError | None]:
    """Return how so many jobs would go over the live slots (those that serve `queue`, where it is given); over those of
    fleet.yml where nobody can say which live, with the error that says why. Raises UsageError when no slot takes jobs.
    """
    costs = cost(fleet.source.hosts(), fleet.source.kind, jobs_per_hour=None)
    common: dict[str, Any] = {
        "cost_per_hour": costs.per_hour, "is_at_least": costs.is_at_least,
        "cost_note": costs.note or (costs.reason if costs.per_hour is None else None),
    }  # fmt: skip
    ground = Ground(fleet.spec, fleet.spec, fleet.spec.slots, wanted, {})
    try:
        seen = ask.survey(fleet, helpers)
    except FleetError as error:
        pools = [pool for pool in fleet.spec.pools.values() if queue is None or queue in pool.queues]
        slots = _some(sum(pool.count * pool.concurrency for pool in pools), queue)
        value = waves.plan(
            jobs, seconds, slots=slots, basis="fleet.yml", ceilings=limits.of_services(ground), **common
        )  # fmt: skip
        return value, error
    work = measure(seen, wanted)
    before = next((row.work for row in work.queues if row.name == queue), None) if queue else work.work
    taking = [beat for beat in seen.live if not seen.is_draining(beat) and (queue is None or queue in beat.queues)]
    ground = replace(ground, max_connections=max_connections(fleet, helpers), max_clients=max_clients(seen))
    value = waves.plan(
        jobs, seconds, slots=_some(sum(beat.slots for beat in taking), queue), basis="live units",
        ceilings=limits.of_services(ground), ahead=before.depth - before.scheduled if before else 0,
        ahead_seconds=before.drain_seconds if before else 0.0, **common,
    )  # fmt: skip
    return value, None


def _some(slots: int, queue: str | None) -> int:
    if slots < 1:
        served = f" of queue {queue}" if queue else ""
        raise UsageError(f"no live slot takes jobs{served}", hint="fleetctl status, or fleetctl undrain")
    return slots


def queues(fleet: Fleet, helpers: Sequence[Host]) -> tuple[QueueRow, ...]:
    """Return all queues: of fleet.yml, of live units, and those that jobs wait in and nobody serves."""
    seen = ask.survey(fleet, helpers)
    lists = ask.strays(fleet, helpers)
    known = {queue for pool in fleet.spec.pools.values() for queue in pool.queues}
    serving: dict[str, dict[str, None]] = {}
    for beat in seen.live:
        for queue in beat.queues:
            serving.setdefault(queue, {})[beat.pool] = None
    rows = [
        QueueRow(
            facts.name, tuple(serving.get(facts.name, ())), facts.name in known, facts.queued, facts.reserved,
            facts.running, facts.scheduled, facts.stranded,
            None if facts.oldest_at is None else max(seen.now - facts.oldest_at, 0.0),
        )
        for facts in seen.queues
        if facts.depth or facts.name in known
    ]  # fmt: skip
    shown = {row.name for row in rows}
    rows += [
        QueueRow(name, tuple(serving.get(name, ())), name in known, length, 0, 0, 0, 0, None)
        for name, length in sorted(lists.items())
        if name not in shown and length
    ]
    return tuple(rows)


def waiting(fleet: Fleet, helpers: Sequence[Host], queue: str) -> int:
    """Return how many jobs wait in a queue. Raises UsageError for one that nobody knows."""
    lists = ask.strays(fleet, helpers)
    known = {name for pool in fleet.spec.pools.values() for name in pool.queues}
    if queue not in lists and queue not in known:
        names = ", ".join(sorted(known | set(lists)))
        raise UsageError(f"there is no queue {queue}", hint=f"fleetctl queues list; there are {names}")
    return lists.get(queue, 0)


def check_target(fleet: Fleet, helpers: Sequence[Host], queue: str) -> None:
    """Raise UsageError for a queue that neither fleet.yml nor a live unit has: jobs moved there would wait for ever."""
    if any(queue in pool.queues for pool in fleet.spec.pools.values()):
        return
    if not any(queue in beat.queues for beat in ask.survey(fleet, helpers).live):
        raise UsageError(f"nobody serves queue {queue}", hint="add it to a pool's queues in fleet.yml, or name another")


def max_clients(seen: Survey) -> int | None:
    """Return Redis's own limit of clients, where it may be read."""
    value = (seen.redis or {}).get("maxclients")
    return int(value) if isinstance(value, int | float | str) and str(value).isdecimal() else None


def max_connections(fleet: Fleet, helpers: Sequence[Host]) -> int | None:
    """Return Postgres's own limit of connections, None where it does not say."""
    try:
        value = (ask.services(fleet, helpers).get("postgres") or {}).get("max_connections")
    except FleetError:
        return None
    return value if isinstance(value, int) else None


def _capacity(fleet: Fleet, value: Capacity) -> FleetCapacity:
    costs = cost(fleet.source.hosts(), fleet.source.kind, jobs_per_hour=value.work.jobs_per_hour)
    return FleetCapacity(fleet.spec.name, value, costs)
