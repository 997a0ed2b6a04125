"""Canaries and services: what answers, how soon, and what is left of those that do not."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from celery import Celery
from celery.utils.nodenames import worker_direct

from fleetctl.worker import client, jobs, older, survey

from .conftest import PREFIX, Redis, StartUnit, eventually
from .test_survey import Tell, beat

pytestmark = pytest.mark.services


def test_canaries_tell_which_units_take_jobs_and_leave_nothing(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell
) -> None:
    unit = start_unit("worker-1", slots=1)
    full = start_unit("worker-2", slots=1)
    publisher.send_task(jobs.SLEEP, args=[60], queue=worker_direct(full.node), ignore_result=True)
    eventually(lambda: beat(admin, "worker-2").get("busy") == 1, what=full.text)
    names = [f"worker-{number}@host-1" for number in (1, 2, 9)]
    answers = tell_ledger(command="canary", units=names, timeout=3)["answers"]
    assert 0 < answers.pop(names[0]) < 3, unit.text
    assert answers == {names[1]: None, names[2]: None}
    queues = tell_ledger(command="strays")["queues"]
    assert queues == {}
    totals = admin.hgetall(f"{PREFIX}fleet:totals")
    assert (totals["submitted"], totals["done"], totals["purged"]) == ("4", "1", "2")
    assert admin.hlen(f"{PREFIX}fleet:open") == 1
    assert not list(admin.scan_iter(f"{PREFIX}load:*"))


def test_services_say_how_they_are(
    server: Redis, postgres: str, tell_ledger: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres)
    found = tell_ledger(command="services", redis_url=server.url("monitor"))
    database = found["postgres"]
    assert (database["error"], database["max_connections"]) == (None, 100)
    assert 1 <= database["connections"] < 10
    assert 0 < database["latency_seconds"] < 1
    assert (found["redis"]["error"], 0 < found["redis"]["latency_seconds"] < 1) == (None, True)


def test_services_that_are_away_say_so_without_a_password(tell_ledger: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://fleet:word@127.0.0.1:9/postgres")
    found: dict[str, Any] = tell_ledger(command="services", redis_url="redis://worker:word@127.0.0.1:9/0")
    assert found["postgres"]["connections"] is None
    assert "refused" in found["postgres"]["error"]
    assert "refused" in found["redis"]["error"]
    assert "word" not in str(found)


def test_a_unit_that_gives_no_heartbeat_is_asked(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, server: Redis
) -> None:
    unit = start_unit("worker-1", slots=2)
    publisher.send_task(jobs.SLEEP, args=[60], ignore_result=True)
    eventually(lambda: beat(admin).get("busy") == 1, what=unit.text)
    (asked,) = older.heartbeats(publisher, [unit.node])
    told = beat(admin)
    same = ("unit", "pool", "node", "pid", "queues", "slots", "busy", "children")
    assert {name: asked[name] for name in same} == {name: told[name] for name in same}
    assert [(job["id"], job["queue"]) for job in asked["jobs"]] == [(job["id"], job["queue"]) for job in told["jobs"]]
    with client.connect(server.broker("monitor")) as plain:
        admin.delete(f"{PREFIX}fleet:units")
        look = survey.take(plain, PREFIX, others=[asked | {"host": "host-1"}])
    assert survey.count(look)["celery"]["running"] == 1
    assert older.heartbeats(publisher, []) == []
