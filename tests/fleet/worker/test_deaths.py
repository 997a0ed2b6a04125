"""Jobs whose process, unit or host dies under them."""

from __future__ import annotations

import json
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from fleetctl.worker import custody, jobs
from fleetctl.worker.quarantine import UnknownJobError

from .conftest import PREFIX, StartUnit, eventually
from .test_delivery import ledger, runs, sleepers

pytestmark = pytest.mark.services


def deaths(client: redis.Redis, job: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in client.lrange(f"{PREFIX}fleet:deaths:{job}", 0, -1)]


def test_a_job_dies_three_times_then_waits_in_quarantine_until_it_is_released(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, ask: Any, tell_ledger: Any, tmp_path: Path
) -> None:
    unit = start_unit(FLEET_APP="mortal")
    attempts = tmp_path / "attempts"
    job = publisher.send_task("mortal.die", args=[str(attempts), 3])
    eventually(lambda: job.state == "QUARANTINED", what=unit.text)
    assert attempts.read_text() == "xxx"
    assert not ledger(admin)
    assert not admin.exists(f"{PREFIX}celery")
    (listed,) = tell_ledger(command="quarantine", operation="list")["jobs"]
    assert (listed["job"], listed["task"], listed["queue"]) == (job.id, "mortal.die", "celery")
    assert [(death["kind"], death["unit"], death["host"]) for death in listed["deaths"]] == [
        ("process", "worker-1", "host-1")
    ] * 3
    assert "SIGKILL" in listed["deaths"][0]["detail"]
    (shown,) = tell_ledger(command="quarantine", operation="show", jobs=[job.id])["jobs"]
    assert shown["message"]["args"] == [str(attempts), 3]
    with pytest.raises(UnknownJobError, match="not in quarantine: none"):
        tell_ledger(command="quarantine", operation="show", jobs=["none"])
    answer = ask(unit, command="quarantine", operation="release", jobs=[job.id, "none"])[-1]
    assert (answer["released"], answer["unknown"]) == ([job.id], ["none"])
    assert job.get(timeout=30) == "alive", "its deaths were forgotten with the release"
    assert tell_ledger(command="quarantine", operation="list")["jobs"] == []


def test_tasks_keep_their_own_ways_and_what_is_no_death_is_not_counted(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit(FLEET_APP="mortal", slots=3)
    paths = {name: tmp_path / name for name in ("die_once", "refuse", "own")}
    once, refused, own = (publisher.send_task(f"mortal.{name}", args=[str(path)]) for name, path in paths.items())
    limited = publisher.send_task("mortal.slow", args=[str(tmp_path / "slow"), 60], time_limit=1)
    eventually(lambda: once.state == "FAILURE", what=unit.text)
    assert refused.get(timeout=30) == "done"
    assert own.get(timeout=30) == "alive"
    eventually(lambda: limited.state == "FAILURE", what=unit.text)
    assert [len(path.read_text()) for path in paths.values()] == [1, 6, 2]
    assert (tmp_path / "slow").read_text() == "x"
    assert (tmp_path / "mine").read_text() == "xx", "the app's own class of requests was used"
    assert [len(deaths(admin, job.id)) for job in (once, refused, own, limited)] == [0, 0, 1, 0]
    eventually(lambda: not ledger(admin), what="none is left open")


def test_a_unit_that_was_killed_gives_back_what_it_held_and_nobody_elses(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    unit = start_unit()
    later = publisher.send_task(jobs.SLEEP, kwargs={"seconds": 0, "run": "run"}, countdown=6).id
    eventually(lambda: len(ledger(admin)) == 1, what="one waits for its time")
    ids = sleepers(publisher, 2, 2)
    eventually(lambda: len(ledger(admin)) == 3, what="two run")
    unit.kill()
    tag, claim = next(iter(ledger(admin).items()))
    for change in ({"machine": "other"}, {"unit": "worker-2"}):
        claim["job"] = str(uuid.uuid4())
        admin.hset(f"{PREFIX}fleet:claims", tag + claim["job"], json.dumps(claim | change))
        admin.hset(f"{PREFIX}unacked", tag + claim["job"], admin.hget(f"{PREFIX}unacked", tag))
    assert claim["machine"] == custody.machine_id()
    unit = start_unit()
    eventually(lambda: len(runs(admin)) == 3, what=unit.text)
    eventually(lambda: len(ledger(admin)) == 2, what="what is another's stays")
    assert {job: [death["kind"] for death in deaths(admin, job)] for job in (*ids, later)} == {
        ids[0]: ["unit"], ids[1]: ["unit"], later: []
    }  # fmt: skip
    assert {publisher.AsyncResult(job).state for job in (*ids, later)} == {"SUCCESS"}


def test_a_host_that_is_gone_is_rescued_once(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, ask: Any, tell_ledger: Any
) -> None:
    gone = start_unit("worker-1", FLEET_HOST="gone")
    ids = sleepers(publisher, 2, 1)
    eventually(lambda: len(ledger(admin)) == 2, what="two run")
    gone.kill()
    other = start_unit("worker-2")
    claims = tell_ledger(command="claims")["claims"]
    assert {(claim["job"], claim["host"], claim["unit"]) for claim in claims} == {
        (job, "gone", "worker-1") for job in ids
    }
    boots = sorted({claim["boot"] for claim in claims})
    later = tell_ledger(command="rescue", host="gone", boots=["another"])
    assert (later["restored"], later["quarantined"]) == ([], []), "another life of its units holds nothing"
    # Whatever a job died of before: a host that goes is no fault of its jobs.
    for job in ids:
        told = json.dumps({"at": 1.0, "kind": "unit", "unit": "worker-1", "host": "gone", "detail": "before"})
        admin.rpush(f"{PREFIX}fleet:deaths:{job}", told, told)
    assert sorted(ask(other, command="rescue", host="gone", boots=boots)[-1]["restored"]) == sorted(ids)
    assert tell_ledger(command="rescue", host="gone", boots=boots)["restored"] == []
    eventually(lambda: runs(admin) == dict.fromkeys(ids, 1) and not ledger(admin), what=other.text)
    assert [deaths(admin, job)[-1]["kind"] for job in ids] == ["host"] * 2


def has_begun(app: Celery) -> bool:
    """Tell whether a process runs a job."""
    active = app.control.inspect(timeout=1, limit=1).active() or {}
    return any(job["time_start"] for jobs in active.values() for job in jobs)


def test_a_process_that_dies_while_its_unit_stops_is_not_the_end_of_its_job(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    unit = start_unit(slots=1)
    (job,) = sleepers(publisher, 1, 30)
    eventually(lambda: has_begun(publisher), what="it runs")
    (child,) = unit.children()
    unit.process.terminate()
    eventually(lambda: "gave back 0 jobs that had not started" in unit.text, what="the unit stops")
    os.kill(child, signal.SIGKILL)
    assert unit.process.wait(30) == 0
    assert len(deaths(admin, job)) == 1
    assert not ledger(admin)
    assert admin.llen(f"{PREFIX}celery") == 1
