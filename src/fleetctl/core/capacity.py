"""Slots and work of a fleet: what is there, what is free, how fast it goes. Pure sums over one survey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetctl.core.layout import WantedHost
from fleetctl.core.rates import WINDOW_MINUTES, Count, Window, window
from fleetctl.core.survey import Heartbeat, QueueFacts, Survey
from fleetctl.model import Unit

NOBODY = "some jobs wait where no live unit serves"
_DIRECT = ".dq2"  # end of the names of queues that lead to one unit


@dataclass(frozen=True)
class Slots:
    """`live` = `busy` + `draining` + `idle`. `wanted`: of the fleet as it was deployed; `draining`: free, of units that
    take no new jobs."""

    wanted: int = 0
    live: int = 0
    busy: int = 0
    draining: int = 0
    idle: int = 0


@dataclass(frozen=True)
class Work:
    """Jobs that have not ended, each counted once, and how fast they come and end, over the window of the report.

    `stranded`: in the hands of a unit that does not answer. `drain_seconds`: until all but the `scheduled` ones have
    ended, if none came and the rate stayed; None with its reason. `error_rate`: share of the ended ones that failed.
    """

    queued: int
    reserved: int
    running: int
    scheduled: int
    stranded: int
    depth: int
    oldest_seconds: float | None
    arrivals_per_hour: float
    jobs_per_hour: float
    error_rate: float | None
    is_growing: bool  # more came than ended, and there are some that wait
    drain_seconds: float | None
    drain_reason: str | None


@dataclass(frozen=True)
class PoolCapacity:
    """One pool. Jobs of `shared` queues, which other pools serve too, are in the work of each of them."""

    name: str
    units_wanted: int
    units_live: int
    slots: Slots
    queues: tuple[str, ...]
    shared: tuple[str, ...]
    work: Work


@dataclass(frozen=True)
class QueueCapacity:
    """One queue, and the pools whose live units serve it."""

    name: str
    pools: tuple[str, ...]
    slots: int  # live ones that serve it
    work: Work


@dataclass(frozen=True)
class TaskRate:
    """Runs of one task within the window."""

    name: str
    runs: int
    mean_seconds: float


@dataclass(frozen=True)
class Capacity:
    """The whole fleet at `now` (epoch). `missing`: units that should be there and do not speak; `strangers`: those that
    speak and should not be there."""

    now: float
    window_seconds: float
    slots: Slots
    work: Work
    pools: tuple[PoolCapacity, ...]
    queues: tuple[QueueCapacity, ...]
    tasks: tuple[TaskRate, ...]
    missing: tuple[str, ...]
    strangers: tuple[str, ...]
    drains: tuple[str, ...]
    quarantined: int
    open: int  # submitted by publishers that record it, and not ended
    unclaimed: int


def measure(survey: Survey, wanted: Sequence[WantedHost]) -> Capacity:
    """Return the capacity of a fleet whose deployed layout is `wanted`."""
    units = [unit for host in wanted for unit in host.units]
    recent = window(survey.minutes, survey.now)
    facts = [queue for queue in survey.queues if queue.depth or not queue.name.endswith(_DIRECT)]
    names = dict.fromkeys([*(unit.pool for unit in units), *(beat.pool for beat in survey.live)])
    known = {f"{unit.name}@{unit.host}" for unit in units}
    live = {beat.name for beat in survey.live}
    served = {queue for beat in survey.live for queue in beat.queues}
    is_served = all(queue.name in served for queue in facts if queue.depth > queue.scheduled)
    return Capacity(
        now=survey.now,
        window_seconds=recent.seconds,
        slots=_slots(units, survey.live, survey),
        work=_work(facts, recent, survey, recent.of(q for q in recent.queues if not q.endswith(_DIRECT)), is_served),
        pools=tuple(_pool(name, units, facts, recent, survey) for name in names),
        queues=tuple(_queue(queue, recent, survey) for queue in facts),
        tasks=tuple(
            TaskRate(name, int(run.runs), run.seconds / run.runs) for name, run in recent.tasks.items() if run.runs
        ),
        missing=tuple(sorted(known - live)),
        strangers=tuple(sorted(live - known)),
        drains=tuple(drain.key for drain in survey.drains),
        quarantined=survey.quarantined,
        open=survey.open,
        unclaimed=survey.unclaimed,
    )


def _slots(units: Iterable[Unit], live: Iterable[Heartbeat], survey: Survey) -> Slots:
    all_slots = busy = draining = idle = 0
    for beat in live:
        taken = min(beat.busy, beat.slots)
        all_slots += beat.slots
        busy += taken
        if survey.is_draining(beat):
            draining += beat.slots - taken
        else:
            idle += beat.slots - taken
    return Slots(sum(unit.concurrency for unit in units), all_slots, busy, draining, idle)


def _pool(
    name: str, units: Sequence[Unit], facts: Sequence[QueueFacts], recent: Window, survey: Survey
) -> PoolCapacity:
    mine = [unit for unit in units if unit.pool == name]
    live = [beat for beat in survey.live if beat.pool == name]
    served = [*(unit.queues for unit in mine), *(beat.queues for beat in live)]
    queues = tuple(dict.fromkeys(q for of in served for q in of if not q.endswith(_DIRECT)))
    others = {q for unit in units if unit.pool != name for q in unit.queues}
    others |= {q for beat in survey.live if beat.pool != name for q in beat.queues}
    return PoolCapacity(
        name=name,
        units_wanted=len(mine),
        units_live=len(live),
        slots=_slots(mine, live, survey),
        queues=queues,
        shared=tuple(queue for queue in queues if queue in others),
        work=_work([q for q in facts if q.name in queues], recent, survey, recent.of(queues), bool(live)),
    )


def _queue(queue: QueueFacts, recent: Window, survey: Survey) -> QueueCapacity:
    serving = [beat for beat in survey.live if queue.name in beat.queues]
    return QueueCapacity(
        name=queue.name,
        pools=tuple(dict.fromkeys(beat.pool for beat in serving)),
        slots=sum(beat.slots for beat in serving),
        work=_work([queue], recent, survey, recent.of([queue.name]), bool(serving)),
    )


def _work(facts: Sequence[QueueFacts], recent: Window, survey: Survey, count: Count, is_served: bool) -> Work:
    oldest = min((queue.oldest_at for queue in facts if queue.oldest_at is not None), default=None)
    depth, scheduled = sum(queue.depth for queue in facts), sum(queue.scheduled for queue in facts)
    queued, reserved = sum(queue.queued for queue in facts), sum(queue.reserved for queue in facts)
    rate = recent.per_hour(count.ended)
    seconds, reason = _drain(depth - scheduled, rate, recent, is_served)
    return Work(
        queued=queued,
        reserved=reserved,
        running=sum(queue.running for queue in facts),
        scheduled=scheduled,
        stranded=sum(queue.stranded for queue in facts),
        depth=depth,
        oldest_seconds=None if oldest is None else max(survey.now - oldest, 0.0),
        arrivals_per_hour=recent.per_hour(count.submitted),
        jobs_per_hour=rate,
        error_rate=count.failed / count.ended if count.ended else None,
        is_growing=count.submitted > count.ended and queued + reserved > 0,
        drain_seconds=seconds,
        drain_reason=reason,
    )


def _drain(jobs: int, rate: float, recent: Window, is_served: bool) -> tuple[float | None, str | None]:
    """Return how long that many jobs take at this rate an hour, or why that cannot be said."""
    if not jobs:
        return 0.0, None
    if not is_served:
        return None, NOBODY
    if not rate:
        minutes = min(round(recent.seconds / 60), WINDOW_MINUTES)
        return None, f"no job has ended in the last {minutes} min"
    return jobs * 3600 / rate, None
