"""What ends at a bad moment, and what Redis refuses: still no job runs twice, and no unit ends with it.

The jobs have no result: one that is stored would let Celery drop a second delivery, and hide it.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
import redis
from celery import Celery

from .conftest import PREFIX, Redis, StartUnit, eventually
from .test_delivery import inside, ledger, program  # noqa: F401  # fixtures

pytestmark = pytest.mark.services


def submit(app: Celery, path: Path, seconds: float) -> None:
    app.send_task("mortal.slow", args=[str(path), seconds], ignore_result=True)


def runs(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_job_that_ends_as_its_unit_is_told_to_stop_is_not_given_back(
    pool: str, start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", f"--pool={pool}", slots=1, FLEET_APP="mortal")
    path = tmp_path / "runs"
    submit(publisher, path, 0.6)
    eventually(lambda: runs(path) == 1, what=unit.text)
    time.sleep(0.45)  # the end of the job is what wakes the main process, to find that it was told to stop
    unit.process.terminate()
    assert unit.process.wait(30) == 0
    assert not ledger(admin)
    assert not admin.exists(f"{PREFIX}celery")


def test_a_unit_that_stops_while_redis_is_away_waits_to_settle_its_jobs(
    start_unit: StartUnit,
    lasting: Redis,
    program: Celery,  # noqa: F811  # a fixture
    inside: redis.Redis,  # noqa: F811  # a fixture
    tmp_path: Path,
) -> None:
    unit = start_unit("worker-1", slots=1, FLEET_APP="mortal", redis=lasting)
    path = tmp_path / "runs"
    submit(program, path, 3)
    eventually(lambda: runs(path) == 1, what=unit.text)
    lasting.stop()
    eventually(lambda: "Connection to broker lost" in unit.text or "Cannot connect" in unit.text, what=unit.text)
    unit.process.terminate()
    time.sleep(4)
    lasting.start()
    assert unit.process.wait(30) == 0
    assert not ledger(inside)
    assert not inside.exists(f"{PREFIX}celery")
    assert not inside.keys(f"{PREFIX}fleet:deaths:*")


def test_a_full_redis_ends_no_unit_and_repeats_no_job(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=2, FLEET_APP="mortal")
    path, later = tmp_path / "runs", tmp_path / "later"
    submit(publisher, path, 6)
    eventually(lambda: runs(path) == 1, what=unit.text)
    admin.config_set("maxmemory", "1mb")
    try:
        time.sleep(5)
    finally:
        admin.config_set("maxmemory", "0")
    submit(publisher, later, 0)
    eventually(lambda: runs(later) == 1 and not ledger(admin), what=unit.text)
    assert unit.process.poll() is None
    assert runs(path) == 1
    assert not admin.keys(f"{PREFIX}fleet:deaths:*")


def test_a_job_whose_id_is_an_object_runs_as_any_other(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=1, FLEET_APP="mortal")
    path = tmp_path / "runs"
    publisher.send_task("mortal.slow", args=[str(path), 0], task_id=uuid.uuid4(), ignore_result=True)  # type: ignore[arg-type]
    eventually(lambda: runs(path) == 1 and not ledger(admin), what=unit.text)
    assert unit.process.poll() is None


def test_a_message_that_cannot_be_read_is_quarantined_and_ends_no_unit(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=1, FLEET_APP="mortal")
    job = publisher.send_task("mortal.slow", args=["nowhere", 0], queue="elsewhere")
    message = json.loads(str(admin.lpop(f"{PREFIX}elsewhere")))
    admin.lpush(f"{PREFIX}celery", json.dumps(message | {"body": "A"}))
    kept = eventually(lambda: admin.hget(f"{PREFIX}fleet:quarantine", job.id), what=unit.text)
    assert "cannot be read" in json.loads(kept)["deaths"][-1]["detail"]
    path = tmp_path / "runs"
    submit(publisher, path, 0)
    eventually(lambda: runs(path) == 1 and not ledger(admin), what=unit.text)
    assert unit.process.poll() is None
