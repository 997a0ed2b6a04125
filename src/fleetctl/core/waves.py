"""How long a number of jobs takes, what it costs, and what stops more of them from running at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetctl.core.ceilings.ground import Ceiling

_ALL = "nothing: all jobs run at once"


@dataclass(frozen=True)
class JobPlan:
    """`jobs` of `seconds_each` in `waves` over `slots`. `basis`: whose slots these are. `ahead`: jobs that are there
    before, which take `ahead_seconds` (None: not known). `seconds` is without those. Costs in USD, None: not known."""

    jobs: int
    seconds_each: float
    slots: int
    basis: str
    waves: int
    seconds: float
    jobs_per_hour: float
    cost: float | None
    cost_per_job: float | None
    is_at_least: bool
    cost_note: str | None
    binds: str
    fix: str | None
    ahead: int
    ahead_seconds: float | None


def plan(
    jobs: int,
    seconds: float,
    *,
    slots: int,
    basis: str,
    cost_per_hour: float | None,
    is_at_least: bool = False,
    cost_note: str | None = None,
    ceilings: Sequence[Ceiling] = (),
    ahead: int = 0,
    ahead_seconds: float | None = 0.0,
) -> JobPlan:
    """Return the plan. `slots` are those that take jobs; a ceiling of the fleet may leave fewer of them usable.

    Waves are full: jobs of one length, and no time between two jobs of a slot. `slots` 0 raises ValueError.
    """
    if slots < 1 or jobs < 1:
        raise ValueError("a plan needs a slot and a job")
    usable, binds = slots, "slots"
    fix: str | None = f"fleetctl preflight --slots {jobs}"
    for ceiling in ceilings:
        if ceiling.most_slots is not None and ceiling.most_slots < usable:
            usable, binds, fix = max(ceiling.most_slots, 1), f"{ceiling.name} ({ceiling.where})", ceiling.fix
    if jobs <= usable:
        binds, fix = _ALL, None
    waves = -(-jobs // usable)
    long = waves * seconds
    cost = None if cost_per_hour is None else cost_per_hour * long / 3600
    return JobPlan(
        jobs=jobs,
        seconds_each=seconds,
        slots=usable,
        basis=basis,
        waves=waves,
        seconds=long,
        jobs_per_hour=jobs * 3600 / long if long else 0.0,
        cost=cost,
        cost_per_job=None if cost is None else cost / jobs,
        is_at_least=is_at_least,
        cost_note=cost_note,
        binds=binds,
        fix=fix,
        ahead=ahead,
        ahead_seconds=ahead_seconds,
    )
