"""jobs, job and top over a world of fakes."""

from __future__ import annotations

import pytest

from fleetctl.core.glance import glance
from fleetctl.core.inventory import Context
from fleetctl.core.survey import parse
from fleetctl.errors import FleetError, UsageError
from fleetctl.workflows import jobs as workflow
from fleetctl.workflows.survey import survey
from tests.unit.core.conftest import context  # noqa: F401  # a fixture
from tests.workflows.day2 import NOW, Day2, beat, job

ID = "0b1c2d3e-0000-4000-8000-1234567890ab"


@pytest.fixture
def world(context: Context) -> Day2:  # noqa: F811
    return Day2(context)


def running(world: Day2) -> tuple[workflow.Job, ...]:
    return workflow.running(survey(world.fleet, world.helpers))


def test_running_jobs_are_listed_the_longest_first_with_where_and_since_when(world: Day2) -> None:
    world.live(job("a", started=5), job("b", started=90), {"id": "c", "task": "t", "queue": "q"})
    found = running(world)
    assert [(one.job, one.seconds, one.unit, one.host) for one in found] == [
        ("b", 90.0, "worker-1", "worker-1"), ("a", 5.0, "worker-1", "worker-1"), ("c", None, "worker-1", "worker-1")
    ]  # fmt: skip
    assert found[0].since == NOW - 90


def test_jobs_of_a_unit_that_is_silent_are_told_as_such(world: Day2) -> None:
    world.live(job("a", started=5), at=NOW - 100)
    assert [one.is_silent for one in running(world)] == [True]


def test_jobs_are_chosen_by_unit_and_queue(world: Day2) -> None:
    world.live(job("a", started=5), job("b", started=6) | {"queue": "other"})
    found = running(world)
    assert [one.job for one in workflow.chosen(found, units=None, queue="other")] == ["b"]
    assert workflow.chosen(found, units=frozenset({("worker-2", "worker-2")}), queue=None) == ()


def test_the_beginning_of_a_running_jobs_id_is_enough(world: Day2) -> None:
    world.live(job(ID, started=5), job("0b1c9999-x", started=5))
    world.remote.told[ID] = {"job": ID, "task": "plain.work", "state": "running", "events": []}
    assert workflow.story(world.fleet, world.helpers, "0b1c2").job == ID
    with pytest.raises(UsageError, match="2 running jobs begin with 0b1c"):
        workflow.story(world.fleet, world.helpers, "0b1c")


def test_a_jobs_way_is_told_in_time_order_with_deaths_and_who_holds_it(world: Day2) -> None:
    world.remote.told[ID] = {
        "job": ID, "task": "plain.work", "queue": "celery", "state": "running", "quarantined": False,
        "events": [
            {"at": 30.0, "event": "started", "unit": "worker-2", "host": "worker-2", "detail": ""},
            {"at": 10.0, "event": "submitted", "unit": "", "host": "", "detail": ""},
            {"at": 20.0, "event": "received", "unit": "worker-1", "host": "worker-1", "detail": None},
        ],
        "deaths": [{"at": 25.0, "kind": "unit", "unit": "worker-1", "host": "worker-1", "detail": "SIGKILL"}],
        "claim": {"unit": "worker-2", "host": "worker-2"}, "result_state": None,
    }  # fmt: skip
    found = workflow.story(world.fleet, world.helpers, ID)
    assert [step.event for step in found.steps] == ["submitted", "received", "died", "started"]
    assert (found.holder, found.state) == ("worker-2@worker-2", "running")
    assert [request["command"] for request in world.remote.asked] == ["job"], "a whole id is not looked for"


def test_a_death_that_is_among_the_events_is_told_once(world: Day2) -> None:
    death = {"at": 25.2, "kind": "unit", "unit": "worker-1", "host": "worker-1", "detail": "SIGKILL"}
    world.remote.told[ID] = {"job": ID, "events": [death | {"event": "died"}], "deaths": [death]}
    assert len(workflow.story(world.fleet, world.helpers, ID).steps) == 1


def test_a_job_that_nobody_knows_is_an_error(world: Day2) -> None:
    with pytest.raises(FleetError, match="nothing is known of job"):
        workflow.story(world.fleet, world.helpers, ID)


def test_the_throughput_is_what_ended_between_two_looks(world: Day2) -> None:
    one = parse({"now": NOW, "totals": {"done": 10, "failed": 1, "submitted": 20}})
    two = parse({"now": NOW + 2, "totals": {"done": 15, "failed": 2, "submitted": 20}})
    found = glance(two, world.wanted, one)
    assert (found.ended_per_second, found.submitted_per_second) == (3.0, 0.0)
    assert glance(one, world.wanted).ended_per_second is None
    assert glance(one, world.wanted, one).ended_per_second is None


def test_each_host_has_a_row_and_strangers_too(world: Day2) -> None:
    look = parse({
        "now": NOW,
        "units": [beat("worker-1", "worker-1", job("a", started=1), is_draining=True, done=7, last_finished=NOW - 3),
                  beat("worker-9", "stranger")],
    })  # fmt: skip
    rows = {row.host: row for row in glance(look, world.wanted).hosts}
    assert list(rows) == ["worker-1", "worker-2", "stranger"]
    assert (rows["worker-1"].busy, rows["worker-1"].is_draining, rows["worker-1"].last_seconds) == (1, True, 3.0)
    assert (rows["worker-2"].units, rows["worker-2"].live) == (1, 0)
