"""drain and undrain: units that take no more jobs, until they may again. Nothing is stopped, and nothing is killed."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from fleetctl.core.layout import WantedHost
from fleetctl.core.targets import Target, meant_keys, node, resolve, units_of
from fleetctl.core.waiting import Waiting, waiting
from fleetctl.errors import FleetError, UsageError
from fleetctl.model import Event, Host, OnEvent, Unit
from fleetctl.ports import Fleet
from fleetctl.workflows import survey as broker

PHASE = "drain"
LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Drained:
    """Units that take no more jobs, by which drains (`keys`), and what still runs there."""

    keys: tuple[str, ...]
    units: tuple[str, ...]
    waiting: Waiting


@dataclass(frozen=True)
class Undrained:
    """Drains that are over; names that none held for; and units that another drain still holds, with its key."""

    keys: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    still: tuple[tuple[str, str], ...] = ()


def drain(
    fleet: Fleet, helpers: Sequence[Host], targets: Sequence[Target], units: Sequence[Unit], *, by: str
) -> Drained:
    """Let these units take no other job from now on. Returns at once, with what still runs."""
    keys = [target.key for target in targets]
    broker.drain(fleet, helpers, keys, by=by)
    try:
        look = broker.survey(fleet, helpers)
    except FleetError as error:
        message = f"{', '.join(keys)} drained, but nobody can say what still runs: {error.message}"
        raise FleetError(message, hint="fleetctl jobs") from error
    return Drained(tuple(keys), tuple(map(node, units)), waiting(look, units, limits(fleet)))


def wait(
    fleet: Fleet,
    helpers: Sequence[Host],
    units: Sequence[Unit],
    *,
    deadline: float | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    on_event: OnEvent,
) -> Waiting:
    """Return what runs on these units when nothing does, or when `deadline` seconds are over.

    A broker that does not answer for a while is asked again until then; without a deadline its error is raised.
    """
    began = clock()
    total = 0
    on_event(Event("phase", PHASE, "waiting for running jobs"))
    while True:
        is_late = deadline is not None and clock() - began >= deadline
        try:
            left: Waiting | None = waiting(broker.survey(fleet, helpers), units, limits(fleet))
        except FleetError:
            if deadline is None or is_late:
                raise
            left = None
        if left is not None:
            total = max(total, len(left.jobs))
            on_event(Event("step", PHASE, _said(left), None, total - len(left.jobs), total))
            if left.is_over or is_late:
                on_event(Event("end", PHASE))
                return left
        spare = LOOK_SECONDS if deadline is None else min(LOOK_SECONDS, max(0.0, began + deadline - clock()))
        sleep(spare)


def undrain(fleet: Fleet, helpers: Sequence[Host], names: Sequence[str], wanted: Sequence[WantedHost]) -> Undrained:
    """End the drains that these names may mean; all when there is no name. Hosts that have left the fleet may be named.

    Raises UsageError for a name that neither the fleet nor a drain has.
    """
    look = broker.survey(fleet, helpers)
    known = [drain.key for drain in look.drains]
    meant = {name: meant_keys(name, known) for name in names}
    unknown = [name for name, keys in meant.items() if not keys]
    try:
        resolve(unknown, wanted)
    except UsageError as error:
        raise UsageError(error.message, hint=_drains_hint(known) or error.hint) from None
    keys = tuple(dict.fromkeys(key for of in meant.values() for key in of)) if names else tuple(known)
    after = broker.undrain(fleet, helpers, keys) if keys else {key: {} for key in known}
    freed = [unit for host in wanted for unit in host.units if _holders(unit, keys)]
    still = tuple((node(unit), key) for unit in freed for key in _holders(unit, after))
    return Undrained(keys, tuple(unknown), still)


def targets(names: Sequence[str], wanted: Sequence[WantedHost]) -> tuple[tuple[Target, ...], tuple[Unit, ...]]:
    """Return what the names mean, and the units that they stand for. Raises UsageError before anything is asked."""
    found = resolve(names, wanted)
    return found, units_of(found, wanted)


def limits(fleet: Fleet) -> dict[str, int | None]:
    """Return pool -> time limit of its jobs, None where its slots keep none."""
    pools = fleet.spec.pools.items()
    return {name: pool.time_limit if pool.celery_pool == "prefork" else None for name, pool in pools}


def _said(left: Waiting) -> str:
    parts = [f"{len(left.jobs)} jobs run"]
    parts += [f"{', '.join(left.silent)} silent"] if left.silent else []
    parts += [f"{', '.join(left.unready)} to take notice"] if left.unready and not left.jobs else []
    return "; ".join(parts)


def _holders(unit: Unit, keys: Container[str]) -> list[str]:
    of = (f"host:{unit.host}", f"pool:{unit.pool}", f"unit:{node(unit)}")
    return [key for key in of if key in keys]


def _drains_hint(keys: Sequence[str]) -> str | None:
    return f"drained are: {', '.join(keys)}" if keys else None
