"""Slots and work: sums that count every slot and job once, rates over the time in which anything happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.capacity import Capacity, Slots, measure
from fleetctl.core.layout import layout
from fleetctl.core.rates import Count, window
from fleetctl.core.survey import Drain, Heartbeat, QueueFacts, Survey, parse
from fleetctl.spec.models import FleetSpec
from tests.unit.core.conftest import spec
from tests.unit.core.surveys import MINUTE, NOW, answer, beat

TWO = {
    "light": {"count": 2, "concurrency": 4, "queues": ["fast", "any"]},
    "heavy": {"count": 1, "concurrency": 2, "queues": ["slow", "any"]},
}


def capacity(*units: dict[str, Any], of: FleetSpec | None = None, **changes: Any) -> Capacity:
    return measure(parse(answer(*units, **changes)), layout(of or spec()))


def test_slots_are_live_busy_draining_or_idle() -> None:
    found = capacity(
        beat("worker-1", busy=3),
        beat("worker-2", busy=1, is_draining=True),
        of=spec(pools={"worker": {"count": 3, "concurrency": 4}}),
    )
    assert found.slots == Slots(wanted=12, live=8, busy=4, draining=3, idle=1)
    assert found.missing == ("worker-3@worker-3",)
    assert (found.pools[0].units_live, found.pools[0].units_wanted) == (2, 3)


def test_a_stale_unit_has_no_slots_and_is_missing() -> None:
    found = capacity(beat("worker-1", at=NOW - 60, busy=2), beat("worker-2"))
    assert found.slots == Slots(wanted=8, live=4, busy=0, draining=0, idle=4)
    assert found.missing == ("worker-1@worker-1",)


def test_a_unit_that_is_not_of_the_layout_is_named_and_counted() -> None:
    found = capacity(beat("worker-1"), beat("worker-2"), beat("old-7"))
    assert found.strangers == ("old-7@old-7",)
    assert found.slots.live == 12
    assert [(pool.name, pool.units_wanted) for pool in found.pools] == [("worker", 2), ("old", 0)]


def test_a_drain_that_its_unit_has_not_noticed_counts() -> None:
    found = capacity(beat("worker-1"), beat("worker-2"), drains={"host:worker-1": {"at": NOW, "by": "ann"}})
    assert (found.slots.draining, found.slots.idle) == (4, 4)
    assert found.drains == ("host:worker-1",)


def test_work_of_pools_is_that_of_their_queues_and_shared_ones_are_named() -> None:
    found = capacity(
        beat("light-1", queues=["fast", "any"]),
        beat("heavy-1", queues=["slow", "any"]),
        of=spec(pools=TWO),
        queues={"fast": {"queued": 1}, "any": {"queued": 10}, "slow": {"running": 2}},
    )
    light, heavy = found.pools
    assert (light.work.depth, light.shared) == (11, ("any",))
    assert (heavy.work.depth, heavy.shared) == (12, ("any",))
    assert found.work.depth == 13
    assert {queue.name: queue.pools for queue in found.queues} == {
        "any": ("heavy", "light"), "fast": ("light",), "slow": ("heavy",),
    }  # fmt: skip


def test_rates_are_of_jobs_that_ended_since_the_first_minute_with_any() -> None:
    minutes = {str(MINUTE - 2): {"celery|submitted": 30, "celery|done": 10}, str(MINUTE): {"celery|failed": 5}}
    found = capacity(beat("worker-1"), minutes=minutes, queues={"celery": {"queued": 15, "oldest_at": NOW - 90}})
    assert found.window_seconds == 150
    work = found.queues[0].work
    assert (work.arrivals_per_hour, work.jobs_per_hour) == (720.0, 360.0)
    assert work.error_rate == pytest.approx(1 / 3)
    assert work.drain_seconds == pytest.approx(150)
    assert work.oldest_seconds == 90
    assert work.is_growing


RATELESS = {
    "nothing ended": ({"queued": 3}, True, None, "no job has ended in the last 1 min"),
    "nobody serves it": ({"queued": 3}, False, None, "some jobs wait where no live unit serves"),
    "nothing to do": ({}, True, 0.0, None),
    "only jobs that wait for their time": ({"scheduled": 9}, True, 0.0, None),
}


@pytest.mark.parametrize(("queue", "is_served", "seconds", "reason"), RATELESS.values(), ids=RATELESS)
def test_without_a_rate_the_time_to_drain_has_a_reason(
    queue: dict[str, int], is_served: bool, seconds: float | None, reason: str | None
) -> None:
    found = capacity(*[beat("worker-1")][: int(is_served)], queues={"celery": queue})
    assert (found.work.drain_seconds, found.work.drain_reason) == (seconds, reason)
    assert found.work.error_rate is None


def test_jobs_that_nobody_serves_leave_the_time_to_drain_of_the_fleet_open() -> None:
    minutes = {str(MINUTE): {"celery|done": 5}}
    found = capacity(beat("worker-1"), minutes=minutes, queues={"celery": {"queued": 5}, "typo": {"queued": 1}})
    assert found.work.drain_seconds is None
    assert {queue.name: queue.work.drain_seconds for queue in found.queues} == {"celery": 60.0, "typo": None}


def test_canaries_on_queues_of_single_units_are_neither_pace_nor_rows() -> None:
    minutes = {str(MINUTE): {"worker-1@worker-1.dq2|submitted": 9, "worker-1@worker-1.dq2|done": 9, "celery|done": 1}}
    queues = {"celery": {}, "worker-1@worker-1.dq2": {}}
    found = capacity(beat("worker-1", queues=["celery", "worker-1@worker-1.dq2"]), minutes=minutes, queues=queues)
    assert found.work.jobs_per_hour == 60
    assert [queue.name for queue in found.queues] == ["celery"]
    assert found.pools[0].queues == ("celery",)


def test_mean_times_of_tasks_are_sums_by_runs() -> None:
    minutes = {
        str(MINUTE - 1): {"a.run|runs": 1, "a.run|seconds": 10},
        str(MINUTE): {"a.run|runs": 3, "a.run|seconds": 50},
    }
    (task,) = capacity(beat("worker-1"), minutes=minutes).tasks
    assert (task.name, task.runs, task.mean_seconds) == ("a.run", 4, 15.0)


def test_names_with_bars_in_them_are_read_from_their_end() -> None:
    assert window({MINUTE: {"a|b|done": 2.0}}, NOW).queues == {"a|b": Count(done=2.0)}


def test_minutes_outside_of_the_window_do_not_count() -> None:
    found = window({MINUTE - 15: {"a|done": 9.0}, MINUTE - 14: {"a|done": 1.0}, MINUTE + 1: {"a|done": 9.0}}, NOW)
    assert found.queues == {"a": Count(done=1.0)}
    assert found.seconds == 14 * 60 + 30


COUNTS = st.integers(0, 500)
QUEUES = st.sampled_from(["fast", "slow", "any", "stray"])


@st.composite
def surveys(draw: st.DrawFn) -> Survey:
    names = draw(st.lists(st.sampled_from(["light-1", "light-2", "heavy-1", "odd-1"]), unique=True))
    units = tuple(
        Heartbeat(
            name, name, name.rpartition("-")[0], at=NOW - draw(st.sampled_from([0.0, 14.0, 16.0, 900.0])),
            queues=tuple(draw(st.lists(QUEUES, unique=True))), slots=draw(COUNTS), busy=draw(COUNTS),
            is_draining=draw(st.booleans()),
        )
        for name in names
    )  # fmt: skip
    queues = tuple(
        QueueFacts(name, draw(COUNTS), None, draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(COUNTS))
        for name in sorted(draw(st.sets(QUEUES)))
    )
    fields = st.sampled_from(["fast|submitted", "fast|done", "slow|failed", "any|done"])
    minutes = draw(st.dictionaries(st.integers(MINUTE - 20, MINUTE), st.dictionaries(fields, st.floats(0, 1e6))))
    drains = tuple(Drain(key) for key in draw(st.sets(st.sampled_from(["pool:light", "host:heavy-1"]))))
    return Survey(NOW, units, queues, drains, minutes)


@given(surveys())
def test_every_slot_of_a_live_unit_is_counted_once(seen: Survey) -> None:
    found = measure(seen, layout(spec(pools=TWO)))
    for slots in (found.slots, *(pool.slots for pool in found.pools)):
        assert slots.busy + slots.draining + slots.idle == slots.live
        assert min(slots.busy, slots.draining, slots.idle) >= 0
    assert sum(pool.slots.live for pool in found.pools) == found.slots.live == sum(unit.slots for unit in seen.live)


@given(surveys())
def test_every_job_is_counted_once(seen: Survey) -> None:
    found = measure(seen, layout(spec(pools=TWO)))
    work = found.work
    assert work.depth == work.queued + work.reserved + work.running + work.scheduled + work.stranded
    assert work.depth == sum(queue.work.depth for queue in found.queues) == sum(queue.depth for queue in seen.queues)
    assert all(pool.work.depth <= work.depth for pool in found.pools)


@given(surveys())
def test_a_time_to_drain_is_said_or_its_lack_has_a_reason(seen: Survey) -> None:
    found = measure(seen, layout(spec(pools=TWO)))
    for work in (found.work, *(pool.work for pool in found.pools), *(queue.work for queue in found.queues)):
        assert (work.drain_seconds is None) == (work.drain_reason is not None)
        assert work.error_rate is None or 0 <= work.error_rate <= 1


@given(surveys(), st.integers(1, 100))
def test_more_work_never_drains_sooner(seen: Survey, more: int) -> None:
    deeper = replace(seen, queues=tuple(replace(queue, queued=queue.queued + more) for queue in seen.queues))
    before, after = (measure(of, layout(spec(pools=TWO))).work.drain_seconds for of in (seen, deeper))
    assert before is None or after is None or before <= after
