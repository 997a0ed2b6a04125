"""A fleet at a glance: hosts, queues, slots, throughput. Pure: two looks at the broker to one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetctl.core.capacity import Capacity, measure
from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey

ENDED = ("done", "failed")


@dataclass(frozen=True)
class HostRow:
    """One host's units together. `last_seconds`: since it finished a job; None when it never did."""

    host: str
    pool: str
    units: int
    live: int
    slots: int
    busy: int
    is_draining: bool
    done: int
    failed: int
    last_seconds: float | None


@dataclass(frozen=True)
class Glance:
    """What there is now. Jobs a second are those between this look and the one before, None at the first."""

    now: float
    capacity: Capacity
    hosts: tuple[HostRow, ...]
    submitted_per_second: float | None = None
    ended_per_second: float | None = None


def glance(look: Survey, wanted: Sequence[WantedHost], before: Survey | None = None) -> Glance:
    """Return the fleet as `look` shows it, with the throughput since `before`."""
    names = [host.name for host in wanted if host.units]
    names += sorted({beat.host for beat in look.live} - set(names))
    rows = tuple(_row(name, look, wanted) for name in names)
    passed = look.now - before.now if before is not None else 0.0
    if before is None or passed <= 0:
        return Glance(look.now, measure(look, wanted), rows)

    def rate(*counts: str) -> float:
        grown = sum(look.totals.get(name, 0) - before.totals.get(name, 0) for name in counts)
        return max(0, grown) / passed

    return Glance(look.now, measure(look, wanted), rows, rate("submitted"), rate(*ENDED))


def _row(name: str, look: Survey, wanted: Sequence[WantedHost]) -> HostRow:
    units = [unit for host in wanted if host.name == name for unit in host.units]
    live = [beat for beat in look.live if beat.host == name]
    pools = dict.fromkeys([*(unit.pool for unit in units), *(beat.pool for beat in live)])
    finished = [beat.last_finished for beat in live if beat.last_finished is not None]
    return HostRow(
        host=name,
        pool=" ".join(pools),
        units=len(units),
        live=len(live),
        slots=sum(beat.slots for beat in live),
        busy=sum(beat.busy for beat in live),
        is_draining=bool(live) and all(look.is_draining(beat) for beat in live),
        done=sum(beat.done for beat in live),
        failed=sum(beat.failed for beat in live),
        last_seconds=max(0.0, look.now - max(finished)) if finished else None,
    )
