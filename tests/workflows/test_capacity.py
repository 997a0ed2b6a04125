"""capacity, queues and preflight over a world of fakes."""

from __future__ import annotations

import pytest

from fleetctl.core.layout import layout
from fleetctl.core.preflight import Preflight
from fleetctl.errors import ConnectError, UsageError
from fleetctl.workflows import capacity as workflow
from fleetctl.workflows.preflight import preflight
from tests.unit.core.conftest import context, spec  # noqa: F401  # context is a fixture
from tests.unit.core.surveys import NOW, answer, beat
from tests.workflows.test_survey import Look, look  # noqa: F401  # look is a fixture

WANTED = layout(spec())


def test_slots_work_and_costs_come_from_one_survey(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(
        beat("worker-1", busy=1), beat("worker-2"), queues={"celery": {"queued": 3, "running": 1}}
    )
    found = workflow.capacity(look.fleet, WANTED, look.helpers)
    assert (found.fleet, found.capacity.slots.idle, found.capacity.work.depth) == ("demo", 7, 4)
    assert found.cost.per_hour is None
    assert [command for _, command, _ in look.users()] == ["survey"]


def test_a_plan_counts_the_live_slots_that_take_jobs_and_what_is_before_it(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(
        beat("worker-1"), beat("worker-2", is_draining=True), queues={"celery": {"queued": 9, "scheduled": 2}}
    )
    found, error = workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60)
    assert error is None
    assert (found.slots, found.waves, found.seconds, found.basis) == (4, 3, 180, "live units")
    assert (found.ahead, found.ahead_seconds) == (9, None)
    assert found.binds == "slots"


def test_what_postgres_says_may_bind_a_plan(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(beat("worker-1"), beat("worker-2"))
    look.remote.postgres = {"max_connections": 12}
    found, _ = workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60)
    assert (found.binds, found.slots, found.waves) == ("Postgres connections (fleet)", 2, 5)


def test_a_plan_of_a_fleet_that_does_not_answer_is_made_of_fleet_yml_and_says_why(look: Look) -> None:  # noqa: F811
    look.remote.dead = {"nfs", "worker-1", "worker-2"}
    found, error = workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60)
    assert isinstance(error, ConnectError)
    assert (found.slots, found.basis, found.waves) == (8, "fleet.yml", 2)
    assert (found.cost, "no host has a price" in str(found.cost_note)) == (None, True)


def test_a_fleet_whose_units_are_all_drained_or_silent_has_no_plan(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(beat("worker-1", is_draining=True), beat("worker-2", at=NOW - 60))
    with pytest.raises(UsageError, match="no live slot takes jobs"):
        workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60)


def test_a_plan_for_one_queue_counts_the_slots_and_the_jobs_of_that_queue(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(
        beat("worker-1"),
        beat("other-1", queues=["extra"], slots=2),
        queues={"celery": {"queued": 9}, "extra": {"queued": 1}},
    )
    found, _ = workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60, queue="extra")
    assert (found.slots, found.waves, found.ahead) == (2, 5, 1)
    with pytest.raises(UsageError, match="no live slot takes jobs of queue typo"):
        workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60, queue="typo")
    look.remote.dead = {"nfs", "worker-1", "worker-2"}
    found, _ = workflow.plan(look.fleet, WANTED, look.helpers, jobs=10, seconds=60, queue="celery")
    assert (found.slots, found.basis) == (8, "fleet.yml")


def test_queues_that_nobody_serves_are_among_the_queues(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(beat("worker-1"), queues={"celery": {"queued": 2, "oldest_at": NOW - 5}})
    look.remote.lists = {"celery": 2, "typo": 7, "gone": 0}
    celery, typo = workflow.queues(look.fleet, look.helpers)
    assert (celery.name, celery.pools, celery.queued, celery.oldest_seconds) == ("celery", ("worker",), 2, 5.0)
    assert (typo.name, typo.is_served, typo.is_known, typo.queued) == ("typo", False, False, 7)


def test_a_queue_of_fleet_yml_whose_units_are_silent_is_known_and_not_served(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(beat("worker-1", at=NOW - 60))
    (celery,) = workflow.queues(look.fleet, look.helpers)
    assert (celery.is_served, celery.is_known) == (False, True)


def test_a_queue_that_nobody_knows_is_refused_with_those_that_there_are(look: Look) -> None:  # noqa: F811
    look.remote.lists = {"typo": 7}
    assert workflow.waiting(look.fleet, look.helpers, "typo") == 7
    assert workflow.waiting(look.fleet, look.helpers, "celery") == 0
    with pytest.raises(UsageError, match="there is no queue nobody") as caught:
        workflow.waiting(look.fleet, look.helpers, "nobody")
    assert "celery, typo" in str(caught.value.hint)


def test_jobs_are_not_moved_to_where_nobody_takes_them(look: Look) -> None:  # noqa: F811
    look.remote.seen = answer(beat("other-1", queues=["extra"]))
    workflow.check_target(look.fleet, look.helpers, "celery")
    workflow.check_target(look.fleet, look.helpers, "extra")
    with pytest.raises(UsageError, match="nobody serves queue typo"):
        workflow.check_target(look.fleet, look.helpers, "typo")


def flight(look: Look, slots: int) -> Preflight:  # noqa: F811
    return preflight(look.fleet, WANTED, look.fleet.source.hosts(), look.helpers, slots=slots)


def test_a_deployed_fleet_is_judged_on_what_its_hosts_and_services_say(look: Look) -> None:  # noqa: F811
    found = flight(look, 8)
    limits = {ceiling.name: ceiling.limit for ceiling in found.ceilings}
    assert found.is_deployed
    assert found.is_ok
    assert (limits["memory of this computer"], limits["Redis clients"], limits["Postgres connections"]) == (
        16384, 1024, 256,
    )  # fmt: skip


def test_hosts_that_do_not_say_are_named_and_the_rest_is_judged(look: Look) -> None:  # noqa: F811
    look.remote.dead = {"worker-2", "redis"}
    found = flight(look, 8)
    assert found.unknown == {"worker-2": "worker-2: no answer", "redis": "redis: no answer"}
    assert found.is_deployed


def test_a_fleet_of_an_older_release_is_judged_without_its_services_and_says_so(look: Look) -> None:  # noqa: F811
    look.remote.old = {"nfs", "worker-1", "worker-2"}
    found = flight(look, 8)
    assert found.is_deployed
    assert any("Redis was not asked" in note for note in found.notes)


def test_before_a_deploy_nobody_is_asked(look: Look) -> None:  # noqa: F811
    found = preflight(look.fleet, WANTED, (), (), slots=16)
    assert not found.is_deployed
    assert not found.is_ok
    assert look.remote.commands == []
