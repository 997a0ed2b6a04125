"""Units that take no new jobs, until they may again."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.utils.nodenames import worker_direct

from fleetctl.worker import jobs

from .conftest import PREFIX, StartUnit, Unit, eventually
from .test_delivery import ledger, runs, sleepers
from .test_survey import Tell, beat

pytestmark = pytest.mark.services


def cpu_seconds(unit: Unit) -> float:
    fields = Path(f"/proc/{unit.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("key", ["host:host-1", "pool:heavy", "unit:worker-1@host-1"])
def test_a_drain_holds_at_once_and_over_a_restart_until_it_is_undone(
    key: str, start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell
) -> None:
    unit = start_unit("worker-1", slots=2, FLEET_POOL="heavy")
    (running,) = sleepers(publisher, 1, 2)
    eventually(lambda: ledger(admin), what="it runs")
    answer = tell_ledger(command="drain", keys=[key, "host:other"], by="somebody")
    assert answer["drains"][key]["by"] == "somebody"
    assert set(answer["drains"]) == {key, "host:other"}
    waiting = sleepers(publisher, 3, 0)
    eventually(lambda: runs(admin) == {running: 1}, what="what runs is finished")
    eventually(lambda: beat(admin)["is_draining"], what=unit.text)
    assert tell_ledger(command="survey")["drains"] == answer["drains"]
    before = cpu_seconds(unit)
    time.sleep(4)
    assert cpu_seconds(unit) - before < 0.4, "it waits, and does not ask again and again"
    direct = publisher.send_task(jobs.CANARY, queue=worker_direct(unit.node))
    assert direct.get(timeout=10)["unit"] == "worker-1", "what is sent to it alone, it takes"
    assert admin.llen(f"{PREFIX}celery") == 3
    unit.stop()
    unit = start_unit("worker-1", slots=2, FLEET_POOL="heavy")
    eventually(lambda: beat(admin)["is_draining"], what=unit.text)
    assert tell_ledger(command="canary", units=["worker-1@host-1"], timeout=10)["answers"]["worker-1@host-1"] < 5
    assert admin.llen(f"{PREFIX}celery") == 3
    assert set(tell_ledger(command="undrain", keys=[key])["drains"]) == {"host:other"}
    eventually(lambda: runs(admin) == dict.fromkeys([running, *waiting], 1), what=unit.text)
    eventually(lambda: not beat(admin)["is_draining"], what=unit.text)


def test_what_a_drained_unit_has_not_begun_goes_to_others(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=1, FLEET_APP="mixed")
    gate = tmp_path / "gate"
    later = publisher.send_task("mixed.late", countdown=8)
    eventually(lambda: len(ledger(admin)) == 1, what="it waits for its time")
    own = publisher.send_task("mixed.late", countdown=8, queue=worker_direct(unit.node))
    eventually(lambda: len(ledger(admin)) == 2, what="it waits for its time")
    first = publisher.send_task("mixed.late", args=[str(gate)])
    eventually(lambda: len(ledger(admin)) == 3, what="it runs")
    queued = [publisher.send_task("mixed.late") for _ in range(2)]
    eventually(lambda: len(ledger(admin)) == 5, what="reserved")
    tell_ledger(command="drain", keys=["host:host-1"], by="test")
    eventually(lambda: len(ledger(admin)) == 2, seconds=5, what=unit.text)
    assert {claim["job"] for claim in ledger(admin).values()} == {first.id, own.id}, "its own stays"
    texts = [json.loads(text)["headers"]["id"] for text in admin.lrange(f"{PREFIX}celery", 0, -1)]
    assert (texts[-1], set(texts)) == (queued[0].id, {queued[0].id, queued[1].id, later.id})
    eventually(lambda: beat(admin)["scheduled"] == 1, seconds=2, what="it has told")
    other = start_unit("worker-2", slots=1, FLEET_APP="mixed", FLEET_HOST="host-2")
    for job in (*queued, later):
        job.get(timeout=30)
    assert other.text.count("succeeded") == 3
    gate.write_text("")
    first.get(timeout=10)
    own.get(timeout=20)
    eventually(lambda: not ledger(admin), what=unit.text)
    totals = admin.hgetall(f"{PREFIX}fleet:totals")
    assert (totals["submitted"], totals["done"]) == ("5", "5")


def test_a_full_redis_lets_a_drained_unit_rest_and_go_on(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell
) -> None:
    unit = start_unit("worker-1", slots=1)
    tell_ledger(command="drain", keys=["host:host-1"], by="test")
    eventually(lambda: beat(admin)["is_draining"], what=unit.text)
    publisher.send_task(jobs.NOOP, ignore_result=True)
    admin.config_set("maxmemory", "1mb")
    try:
        before = beat(admin)["at"]
        eventually(lambda: beat(admin)["at"] > before + 2, what="it beats though Redis is full")
        assert beat(admin)["received"] == 0
        tell_ledger(command="undrain", keys=["host:host-1"])
        eventually(lambda: beat(admin)["done"] == 1, what=unit.text)
    finally:
        admin.config_set("maxmemory", "0")
    assert not ledger(admin)


def test_drains_lose_no_job_and_repeat_none(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell
) -> None:
    units = [start_unit(f"worker-{n}", slots=3, FLEET_HOST=f"host-{n}") for n in (1, 2)]
    ids = sleepers(publisher, 200, 0.05)
    dice = random.Random(5)  # noqa: S311  no secret
    held: set[str] = set()
    for _ in range(20):
        key = f"host:host-{dice.choice((1, 2))}"
        tell_ledger(command="undrain" if key in held else "drain", keys=[key], by="test")
        held ^= {key}
        time.sleep(0.15)
    tell_ledger(command="undrain", keys=["host:host-1", "host:host-2"])
    eventually(lambda: len(runs(admin)) == 200 and not ledger(admin), what=units[0].text)
    assert runs(admin) == Counter(ids)
    assert admin.hget(f"{PREFIX}fleet:totals", "done") == "200"


def test_a_drain_of_nothing_is_refused(tell_ledger: Any) -> None:
    with pytest.raises(ValueError, match="not a host:, pool: or unit: worker-1"):
        tell_ledger(command="drain", keys=["worker-1"], by="test")
