"""Plans of jobs: waves, time, cost, and what binds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.ceilings.ground import Ceiling, ceiling
from fleetctl.core.waves import JobPlan, plan


def make(jobs: int, seconds: float = 300, slots: int = 600, **more: object) -> JobPlan:
    return plan(jobs, seconds, **({"slots": slots, "basis": "live units", "cost_per_hour": 6.0} | more))  # type: ignore[arg-type]  # a table of keywords


ROWS = {
    "less than the slots": (1, 1, 300.0, 0.5),
    "as many as the slots": (600, 1, 300.0, 0.5),
    "one more": (601, 2, 600.0, 1.0),
    "a thousand": (1000, 2, 600.0, 1.0),
}


@pytest.mark.parametrize(("jobs", "waves", "seconds", "cost"), ROWS.values(), ids=ROWS)
def test_jobs_go_in_waves_as_wide_as_the_slots(jobs: int, waves: int, seconds: float, cost: float) -> None:
    found = make(jobs)
    assert (found.waves, found.seconds) == (waves, seconds)
    assert found.cost == pytest.approx(cost)
    assert found.cost_per_job == pytest.approx(cost / jobs)


def test_nothing_binds_what_runs_at_once() -> None:
    assert make(600).binds.startswith("nothing")
    assert make(600).fix is None


def test_slots_bind_first_when_the_services_have_room() -> None:
    found = make(601, ceilings=[limit("Postgres connections", 5000)])
    assert (found.binds, found.fix) == ("slots", "fleetctl preflight --slots 601")


def limit(name: str, most_slots: int | None) -> Ceiling:
    return ceiling(name, "fleet", most_slots, 1, "connections", f"raise {name}", most_slots=most_slots)


def test_the_lowest_ceiling_below_the_slots_binds_and_leaves_fewer_of_them() -> None:
    found = make(
        1000, ceilings=[limit("Redis clients", 250), limit("Postgres connections", 100), limit("unknown", None)]
    )
    assert (found.binds, found.fix) == ("Postgres connections (fleet)", "raise Postgres connections")
    assert (found.slots, found.waves) == (100, 10)


def test_without_prices_there_is_no_cost() -> None:
    found = make(10, cost_per_hour=None)
    assert (found.cost, found.cost_per_job) == (None, None)


@pytest.mark.parametrize(("jobs", "slots"), [(0, 1), (1, 0)])
def test_a_plan_needs_a_slot_and_a_job(jobs: int, slots: int) -> None:
    with pytest.raises(ValueError, match="needs a slot and a job"):
        make(jobs, slots=slots)


@given(st.integers(1, 10**6), st.floats(0.1, 3600), st.integers(1, 10**4))
def test_waves_hold_all_jobs_and_the_last_one_is_not_empty(jobs: int, seconds: float, slots: int) -> None:
    found = make(jobs, seconds, slots)
    assert (found.waves - 1) * slots < jobs <= found.waves * slots
    assert found.seconds == pytest.approx(found.waves * seconds)


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_more_slots_never_take_longer(jobs: int, slots: int) -> None:
    assert make(jobs, slots=slots + 1).seconds <= make(jobs, slots=slots).seconds
