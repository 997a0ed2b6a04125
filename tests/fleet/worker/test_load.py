"""Bulk submission, loads and checks against real services."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from fleetctl.model import LoadReport
from fleetctl.worker import jobs, publish, records
from fleetctl.worker.records import Record

from .conftest import PASSWORDS, PREFIX, Redis, StartUnit, eventually

pytestmark = pytest.mark.services


@pytest.mark.parametrize("queue", ["celery", "other-queue"])
def test_bulk_messages_are_those_that_apply_async_sends(publisher: Celery, admin: redis.Redis, queue: str) -> None:
    job = str(uuid.uuid4())
    kwargs: dict[str, Any] = {"seconds": 2, "run": "r"}
    publisher.send_task(jobs.SLEEP, kwargs=kwargs, task_id=job, queue=queue, ignore_result=False)
    publish.submit(publisher, jobs.SLEEP, [job], queue=queue, kwargs=kwargs)
    beside = ("_kombu.binding", "fleet:")  # the records of what was submitted
    names = [key.removeprefix(PREFIX) for key in admin.scan_iter()]
    assert [name for name in names if not name.startswith(beside)] == [queue]
    bulk, single = (json.loads(text) for text in admin.lrange(f"{PREFIX}{queue}", 0, -1))
    for message in (bulk, single):
        assert message["properties"].pop("delivery_tag")
        message["properties"].pop("reply_to")  # of the RPC backend, which the fleet has not
    assert bulk == single
    admin.flushall()


def test_six_hundred_jobs_are_submitted_in_two_seconds_at_most_and_each_once(
    publisher: Celery, admin: redis.Redis
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(600)]
    publish.submit(publisher, jobs.NOOP, ids[:1], queue="celery", kwargs={})
    start = time.process_time()
    publish.submit(publisher, jobs.NOOP, ids[1:], queue="celery", kwargs={})
    assert time.process_time() - start < 2.0
    queued = [json.loads(text)["headers"]["id"] for text in admin.lrange(f"{PREFIX}celery", 0, -1)]
    assert queued == ids[::-1], "all of them, and those submitted first are taken first"
    admin.flushall()


def test_a_load_is_reported_from_the_jobs_own_records(start_unit: StartUnit, ask: Any, admin: redis.Redis) -> None:
    unit = start_unit(slots=3)
    lines = ask(unit, command="load", jobs=7, seconds=1.5, run="r1", timeout=120)
    *progress, report = lines
    assert report.pop("event") == "result"
    assert set(report) <= set(LoadReport.__dataclass_fields__)
    expected = {
        "submitted": 7,
        "done": 7,
        "failed": 0,
        "lost": 0,
        "duplicates": 0,
        "repeated": 0,
        "peak_concurrency": 3,
    }
    assert expected.items() <= report.items()
    assert report["distinct_processes"] == 3
    assert report["per_unit"] == {"worker-1": 7}
    assert 4.5 <= report["makespan_seconds"] < 60
    assert report["start_p50_seconds"] < report["start_p99_seconds"] < report["makespan_seconds"]
    assert progress[-1] == {"event": "progress", "submitted": 7, "running": 0, "done": 7, "failed": 0}
    assert 3 <= max(line["running"] for line in progress) <= 7
    assert 0 < admin.ttl(records.key(PREFIX, "r1")) <= records.KEEP_SECONDS


def test_a_job_that_was_done_twice_and_one_that_vanished_are_reported(
    start_unit: StartUnit, publisher: Celery, server: Redis, admin: redis.Redis
) -> None:
    from fleetctl.worker.load import Load, put

    unit = start_unit(slots=2)
    stories: list[dict[str, Any]] = []

    def tell(story: dict[str, Any]) -> None:
        stories.append(story)
        if len(stories) == 1:  # while jobs wait: one is taken away, another is made to run again
            admin.rpop(f"{PREFIX}celery")
            first = eventually(lambda: admin.lrange(records.key(PREFIX, "r2"), 0, 0), what="a record")[0]
            job = Record(**json.loads(first))
            publish.submit(publisher, jobs.SLEEP, [job.id], queue="celery", kwargs={"seconds": 0, "run": "r2"})

    load = Load(jobs=8, seconds=0.5, run="r2", timeout=8)
    report = put(publisher, server.broker(), load, database_url="", storage_path="", tell=tell)
    assert {"submitted": 8, "done": 7, "lost": 1, "duplicates": 1, "failed": 0}.items() <= report.items(), unit.text


def test_a_job_that_is_killed_at_its_time_limit_has_failed(start_unit: StartUnit, ask: Any) -> None:
    unit = start_unit("worker-1", "--time-limit=1")
    report = ask(unit, command="load", jobs=2, seconds=30, timeout=60)[-1]
    assert (report["done"], report["failed"], report["lost"]) == (0, 2, 0)


def test_io_jobs_leave_files_and_rows_and_are_checked(
    start_unit: StartUnit, ask: Any, postgres: str, tmp_path: Path
) -> None:
    unit = start_unit(slots=3)
    report = ask(unit, command="load", jobs=5, seconds=0.5, work="io", run="r3", keep=True, timeout=60)[-1]
    assert (report["done"], report["failed"], report["problems"], report["work"]) == (5, 0, [], "io")
    run = tmp_path / "shared" / ".fleetctl" / "load" / "r3"
    assert len(list(run.glob("*/*"))) == 5 * 16
    with psycopg.connect(postgres) as database:
        assert database.execute("SELECT count(*), sum(files) FROM fleet_load WHERE run = 'r3'").fetchone() == (5, 80)
    ask(unit, command="load", jobs=2, seconds=0, work="io", run="r4", timeout=60)
    assert not run.with_name("r4").exists(), "what is not kept is removed"


def test_an_io_job_that_is_delivered_twice_changes_nothing(
    start_unit: StartUnit, ask: Any, publisher: Celery, postgres: str, tmp_path: Path
) -> None:
    unit = start_unit(slots=1)
    ask(unit, command="load", jobs=1, seconds=0, work="io", run="r5", keep=True, timeout=60)
    run = tmp_path / "shared" / ".fleetctl" / "load" / "r5"
    (job,) = run.iterdir()
    before = {path: path.stat().st_ino for path in job.iterdir()}
    result = publisher.send_task(jobs.IO, kwargs={"seconds": 0, "run": "r5"}, task_id=job.name)
    with_record = records.key(PREFIX, "r5")
    backend: Any = publisher.backend
    eventually(lambda: backend.client.llen(with_record) == 2, what="the second run")
    assert result.get(timeout=30) is None
    assert {path: path.stat().st_ino for path in job.iterdir()} == before
    with psycopg.connect(postgres) as database:
        assert database.execute("SELECT count(*) FROM fleet_load WHERE run = 'r5'").fetchone() == (1,)


def test_an_io_job_outlives_a_restart_of_postgres(
    start_unit: StartUnit, publisher: Celery, postgres: str, admin: redis.Redis
) -> None:
    unit = start_unit(slots=1)
    with psycopg.connect(postgres, autocommit=True) as database:
        database.execute(jobs.TABLE)
        result = publisher.send_task(jobs.IO, kwargs={"seconds": 3, "run": "r7"})
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'fleet'"
        )
        eventually(lambda: database.execute(others).fetchall(), what="the job's connection is ended")
        assert result.get(timeout=30) is None, unit.text
        assert database.execute("SELECT job FROM fleet_load WHERE run = 'r7'").fetchall() == [(result.id,)]
    assert admin.llen(records.key(PREFIX, "r7")) == 1


def test_a_producers_rights_suffice_to_put_a_load(start_unit: StartUnit, ask: Any, server: Redis) -> None:
    unit = start_unit()
    report = ask(unit, command="load", jobs=3, seconds=0, redis_url=server.url("producer"), timeout=60)[-1]
    assert (report["event"], report["done"]) == ("result", 3)


def test_a_check_tries_services_and_every_unit(start_unit: StartUnit, ask: Any) -> None:
    unit = start_unit()
    (answer,) = ask(unit, command="check", units=["worker-1"], timeout=30)
    assert [check["name"] for check in answer["checks"] if not check["is_ok"]] == []
    assert len(answer["checks"]) == 7


def test_a_unit_that_is_full_is_busy_and_one_that_is_away_is_bad(
    start_unit: StartUnit, ask: Any, publisher: Celery
) -> None:
    unit = start_unit()
    sleeping = [publisher.send_task("fleet.sleep", args=[120]) for _ in range(2)]
    eventually(
        lambda: publisher.control.inspect(timeout=5, limit=1).active()[unit.node][1:], what="both slots are taken"
    )
    (answer,) = ask(unit, command="check", units=["worker-1", "worker-9"], wrong_password=False, timeout=6)
    busy, away = answer["checks"][-2:]
    assert (busy["is_ok"], busy["detail"]) == (True, "busy: all 2 slots taken")
    assert (away["is_ok"], away["name"]) == (False, "worker-9 runs a job")
    assert away["detail"] == "no job ran within 6 s; systemd says ActiveState=active"
    assert "journalctl -u fleet-worker@worker-9" in away["fix"]
    assert len(sleeping) == 2


def test_a_unit_that_is_stopped_is_not_waited_for(start_unit: StartUnit, ask: Any) -> None:
    unit = start_unit()
    start = time.monotonic()
    (answer,) = ask(unit, command="check", units=["worker-8", "worker-1"], wrong_password=False, timeout=100)
    stopped, works = answer["checks"][-2:]
    assert time.monotonic() - start < 60
    assert (stopped["is_ok"], stopped["detail"]) == (False, "it does not run; systemd says ActiveState=inactive")
    assert works["is_ok"], works


def test_the_jobs_of_a_load_that_was_given_up_never_run(
    start_unit: StartUnit, publisher: Celery, server: Redis, admin: redis.Redis
) -> None:
    from fleetctl.worker.load import Load, put

    load = Load(jobs=3, seconds=0, run="r6", timeout=1)
    report = put(publisher, server.broker(), load, database_url="", storage_path="", tell=lambda _: None)
    assert (report["done"], report["lost"]) == (0, 3)
    ids = [json.loads(text)["headers"]["id"] for text in admin.lrange(f"{PREFIX}celery", 0, -1)]
    assert len(ids) == 3
    start_unit()
    eventually(lambda: {publisher.AsyncResult(job).state for job in ids} == {"REVOKED"}, what="they have expired")
    assert not admin.exists(records.key(PREFIX, "r6"))


def test_wrong_credentials_of_the_fleet_are_told(start_unit: StartUnit, ask: Any, tmp_path: Path) -> None:
    unit = start_unit()
    path = tmp_path / "credentials" / "fleet.json"
    good = path.read_text()
    path.write_text(good.replace(PASSWORDS["worker"], "changed").replace("fleet-of-the-trial", "changed"))
    (answer,) = ask(unit, command="check", units=["worker-1"], timeout=10)
    assert [(check["name"], check["is_ok"]) for check in answer["checks"]] == [
        ("postgres accepts the fleet's credentials", False),
        ("redis accepts the fleet's credentials", False),
        ("worker-1 runs a job", False),
    ]
    assert "changed" not in json.dumps(answer)
