"""drain and undrain over a world of fakes: what is written, what still runs, what is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fleetctl.core.inventory import Context
from fleetctl.core.waiting import Waiting
from fleetctl.errors import ConnectError, FleetError, UsageError
from fleetctl.model import Event
from fleetctl.workflows import drain as workflow
from tests.unit.core.conftest import context, spec  # noqa: F401  # context is a fixture
from tests.workflows.day2 import MINUTE, NOW, Day2, beat, job

RUNS = {str(MINUTE): {"plain.work|runs": 2, "plain.work|seconds": 50.0}, str(MINUTE - 1): {"plain.work|runs": 2,
        "plain.work|seconds": 70.0}}  # fmt: skip  # thirty seconds each


@pytest.fixture
def world(context: Context) -> Day2:  # noqa: F811
    return Day2(context)


def drained(world: Day2, *names: str) -> workflow.Drained:
    targets, units = workflow.targets(names, world.wanted)
    return workflow.drain(world.fleet, world.helpers, targets, units, by="ann@desk")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(world: Day2, *names: str, deadline: float | None = None) -> tuple[Waiting, float, list[Event]]:
    time, events = Time(), list[Event]()
    units = workflow.targets(names, world.wanted)[1]
    left = workflow.wait(
        world.fleet, world.helpers, units, deadline=deadline, clock=lambda: time.now, sleep=time.sleep,
        on_event=events.append,
    )  # fmt: skip
    return left, time.now, events


def test_a_drain_is_written_before_anybody_looks_and_says_who_did_it(world: Day2) -> None:
    world.live()
    value = drained(world, "worker-1", "worker")
    assert world.remote.drains == {key: {"at": NOW, "by": "ann@desk"} for key in ("host:worker-1", "pool:worker")}
    assert [request["command"] for request in world.remote.asked] == ["drain", "survey"]
    assert value.units == ("worker-1@worker-1", "worker-2@worker-2")


def test_running_jobs_are_named_with_the_time_that_is_left_by_the_runs_observed(world: Day2) -> None:
    world.live(job("a", started=10), job("b", started=25))
    world.remote.minutes = RUNS
    left = drained(world, "worker-1").waiting
    assert [(one.job, one.left, one.at_most) for one in left.jobs] == [("a", 20.0, 890.0), ("b", 5.0, 875.0)]
    assert (left.seconds, left.at_most, left.is_over) == (20.0, 890.0, False)


@pytest.mark.parametrize(
    "running",
    [job("a", started=10, task="unheard.of"), job("a", started=31), {"id": "a", "task": "plain.work"}],
    ids=["a task that never ran", "longer than usual", "start unknown"],
)
def test_the_time_is_unknown_when_the_runs_do_not_tell(world: Day2, running: dict[str, Any]) -> None:
    world.live(running)
    world.remote.minutes = RUNS
    assert drained(world, "worker-1").waiting.seconds is None


def test_slots_that_keep_no_time_limit_promise_none(context: Context) -> None:  # noqa: F811
    world = Day2(context, spec(pools={"worker": {"count": 2, "concurrency": 4, "celery_pool": "threads"}}))
    world.live(job("a", started=10))
    assert drained(world, "worker-1").waiting.at_most is None


def test_jobs_of_other_units_are_nobodys_matter(world: Day2) -> None:
    world.live(job("a", started=10))
    assert drained(world, "worker-2").waiting.jobs == ()


def ends_after(world: Day2, looks: int) -> None:
    """Let worker-1's jobs end, and the unit take notice of its drain, at a later look."""
    world.remote.looks = [*([lambda: None] * looks), lambda: world.live(is_draining=True)]


def test_waiting_ends_when_no_job_runs(world: Day2) -> None:
    world.live(job("a", started=10), is_draining=True)
    ends_after(world, 3)
    left, seconds, events = waited(world, "worker-1")
    assert (left.is_over, seconds) == (True, 3 * workflow.LOOK_SECONDS)
    assert [event.kind for event in events] == ["phase", "step", "step", "step", "step", "end"]


BUSY: dict[str, Callable[[], dict[str, Any]]] = {
    "it has not taken notice": lambda: beat("worker-1", "worker-1"),
    "it holds a job that does not run": lambda: beat("worker-1", "worker-1", is_draining=True, reserved=1),
    "a slot is taken by a job that is not told": lambda: beat("worker-1", "worker-1", is_draining=True, busy=1),
    "it has fallen silent": lambda: beat("worker-1", "worker-1", is_draining=True, at=NOW - 60),
}


@pytest.mark.parametrize("unit", BUSY.values(), ids=BUSY)
def test_waiting_does_not_end_while(unit: Callable[[], dict[str, Any]], world: Day2) -> None:
    world.live()
    world.remote.units["worker-1@worker-1"] = unit()
    left, seconds, _ = waited(world, "worker-1", deadline=30)
    assert (left.is_over, seconds) == (False, 30)


def test_a_unit_that_was_stopped_runs_nothing(world: Day2) -> None:
    world.live()
    del world.remote.units["worker-1@worker-1"]
    assert waited(world, "worker-1")[0].is_over


def test_a_deadline_ends_the_wait_with_the_jobs_that_still_run(world: Day2) -> None:
    world.live(job("a", started=10), is_draining=True)
    left, seconds, _ = waited(world, "worker-1", deadline=5)
    assert ([one.job for one in left.jobs], seconds) == (["a"], 5)
    assert all(request["command"] == "survey" for request in world.remote.asked), "nothing is stopped or killed"


def test_a_broker_that_is_away_for_a_moment_is_asked_again_until_the_deadline(world: Day2) -> None:
    world.live(is_draining=True)
    world.remote.dead = {"nfs"}
    world.remote.looks = []
    with pytest.raises(ConnectError):
        waited(world, "worker-1")
    with pytest.raises(ConnectError):
        waited(world, "worker-1", deadline=10)


def undrained(world: Day2, *names: str) -> workflow.Undrained:
    return workflow.undrain(world.fleet, world.helpers, names, world.wanted)


def test_an_undrain_ends_every_drain_that_the_name_may_mean(world: Day2) -> None:
    world.remote.drains = {key: {} for key in ("host:worker-1", "unit:worker-1@worker-1", "host:worker-2")}
    assert undrained(world, "worker-1").keys == ("host:worker-1", "unit:worker-1@worker-1")
    assert list(world.remote.drains) == ["host:worker-2"]


def test_what_another_drain_still_holds_is_told(world: Day2) -> None:
    world.remote.drains = {"host:worker-1": {}, "pool:worker": {}}
    assert undrained(world, "worker-1").still == (("worker-1@worker-1", "pool:worker"),)


def test_a_drain_of_a_host_that_has_left_the_fleet_can_be_ended(world: Day2) -> None:
    world.remote.drains = {"host:worker-9": {}}
    assert undrained(world, "worker-9").keys == ("host:worker-9",)


def test_what_was_not_drained_is_told_and_what_nobody_knows_is_refused(world: Day2) -> None:
    world.remote.drains = {"host:worker-1": {}}
    assert undrained(world, "worker-2").unknown == ("worker-2",)
    with pytest.raises(UsageError, match="no host, pool or unit wroker-1") as caught:
        undrained(world, "wroker-1")
    assert caught.value.hint == "drained are: host:worker-1"
    assert list(world.remote.drains) == ["host:worker-1"]


def test_without_a_name_all_drains_end(world: Day2) -> None:
    world.remote.drains = {"host:worker-1": {}, "pool:gone": {}}
    assert undrained(world).keys == ("host:worker-1", "pool:gone")
    assert world.remote.drains == {}


def test_a_drain_that_is_written_is_told_as_such_when_nobody_can_say_what_runs(world: Day2) -> None:
    def refuse() -> None:
        raise ConnectError("no answer")

    world.remote.looks = [refuse] * 3
    with pytest.raises(FleetError, match="host:worker-1 drained, but nobody can say what still runs: no answer"):
        drained(world, "worker-1")
    assert "host:worker-1" in world.remote.drains
