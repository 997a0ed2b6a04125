"""An agent's answer as values: complete, of another release, of a broken unit."""

from __future__ import annotations

import pytest

from fleetctl.core.survey import Drain, Heartbeat, QueueFacts, RunningJob, parse
from fleetctl.errors import FleetError
from tests.unit.core.surveys import MINUTE, NOW, answer, beat


def test_an_answer_becomes_values() -> None:
    running = {"id": "j1", "task": "t.run", "queue": "celery", "started": NOW - 5}
    seen = parse(
        answer(
            beat("worker-1", busy=1, jobs=[running], scheduled_jobs=["j2"]),
            queues={"b": {"queued": 3, "oldest_at": NOW - 9}, "a": {"queued": 1, "stranded": 2}},
            drains={"pool:worker": {"at": NOW, "by": "ann"}},
            minutes={str(MINUTE): {"a|done": "3", "a|broken": "x"}},
            totals={"submitted": 5},
            open=2,
            quarantined=1,
            unclaimed=4,
        )
    )
    (unit,) = seen.units
    assert (unit.name, unit.slots, unit.jobs) == (
        "worker-1@worker-1", 4, (RunningJob("j1", "t.run", "celery", NOW - 5),),
    )  # fmt: skip
    assert unit.scheduled_jobs == ("j2",)
    assert seen.queues == (QueueFacts("a", queued=1, stranded=2), QueueFacts("b", queued=3, oldest_at=NOW - 9))
    assert [queue.depth for queue in seen.queues] == [3, 3]
    assert seen.drains == (Drain("pool:worker", NOW, "ann"),)
    assert seen.minutes == {MINUTE: {"a|done": 3.0}}
    assert (seen.totals, seen.open, seen.quarantined, seen.unclaimed) == ({"submitted": 5}, 2, 1, 4)


def test_keys_of_another_release_are_passed_over_and_missing_ones_are_nothing() -> None:
    seen = parse({"now": NOW, "units": [{"unit": "a-1", "host": "h", "mood": "good"}], "weather": {}})
    assert seen.units == (Heartbeat("a-1", "h"),)
    assert (seen.queues, seen.minutes, seen.totals, seen.redis) == ((), {}, {}, None)


def test_null_counts_as_a_key_that_is_missing() -> None:
    seen = parse(
        answer(beat("a-1", slots=None, jobs=None), queues={"celery": {"queued": None}}, open=None, minutes=None)
    )
    assert (seen.units[0].slots, seen.units[0].jobs, seen.queues[0].queued, seen.open) == (0, (), 0, 0)


def test_a_heartbeat_that_does_not_say_whose_it_is_counts_for_nobody() -> None:
    assert parse(answer({"slots": 4}, "nonsense")).units == ()  # type: ignore[arg-type]  # it is nonsense on purpose


@pytest.mark.parametrize("now", [None, "soon", True])
def test_an_answer_without_a_time_is_refused(now: object) -> None:
    with pytest.raises(FleetError, match="carries no time"):
        parse(answer() | {"now": now})


def test_units_are_in_the_order_of_their_numbers() -> None:
    seen = parse(answer(beat("worker-10"), beat("worker-2"), beat("other")))
    assert [unit.unit for unit in seen.units] == ["other", "worker-2", "worker-10"]


@pytest.mark.parametrize(
    ("age", "is_live"), [(0, True), (14.9, True), (15, False), (3600, False), (-30, True)],
    ids=["now", "just fresh", "just stale", "an hour", "a clock ahead"],
)  # fmt: skip
def test_a_unit_lives_while_its_heartbeat_is_fresh(age: float, is_live: bool) -> None:
    seen = parse(answer(beat("a-1", at=NOW - age)))
    assert (seen.live == seen.units) is is_live


@pytest.mark.parametrize(
    ("key", "is_drained"),
    [
        ("host:worker-1", True), ("pool:worker", True), ("unit:worker-1@worker-1", True),
        ("host:worker-2", False), ("pool:heavy", False), ("unit:worker-1@worker-2", False), ("worker-1", False),
    ],
)  # fmt: skip
def test_a_drain_covers_its_host_pool_or_unit_before_the_unit_has_noticed(key: str, is_drained: bool) -> None:
    seen = parse(answer(beat("worker-1"), drains={key: {"at": NOW}}))
    assert seen.is_draining(seen.units[0]) is is_drained
