"""One look at the broker: every job that has not ended is counted once, wherever it is."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.utils.nodenames import worker_direct

from fleetctl.worker import jobs

from .conftest import PREFIX, Redis, StartUnit, eventually
from .test_delivery import inside, program  # noqa: F401  # fixtures

pytestmark = pytest.mark.services

QUEUES = [f"queue-{number}" for number in range(10)]
STATES = ("queued", "reserved", "scheduled", "running", "stranded")

Tell = Callable[..., dict[str, Any]]


def depth(look: dict[str, Any]) -> int:
    return sum(queue[state] for queue in look["queues"].values() for state in STATES)


def total(look: dict[str, Any], state: str) -> int:
    return sum(int(queue[state]) for queue in look["queues"].values())


def beat(client: redis.Redis, unit: str = "worker-1") -> dict[str, Any]:
    text = client.hget(f"{PREFIX}fleet:units", f"{unit}@host-1")
    return json.loads(str(text)) if text else {}


def test_the_true_depth_is_what_was_submitted_and_has_not_ended(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell, tmp_path: Path
) -> None:
    options = ["--queues=" + ",".join(QUEUES)]
    units = [start_unit(f"worker-{n}", *options, slots=2, FLEET_APP="mixed", FLEET_POOL="heavy") for n in (1, 2)]
    gate = tmp_path / "gate"

    def submit(count: int, **more: Any) -> list[str]:
        return [
            publisher.send_task(
                ("mixed.late", "mixed.early")[n % 2], args=[str(gate)], queue=QUEUES[n % 10], priority=n % 4 * 3, **more
            ).id
            for n in range(count)
        ]

    before = time.time()
    direct = [worker_direct(unit.node) for unit in units]
    kinds = ("mixed.late", "mixed.early")
    first = [publisher.send_task(kind, args=[str(gate)], queue=queue).id for queue in direct for kind in kinds]
    eventually(lambda: all(beat(admin, unit.name)["busy"] == 2 for unit in units), what="every slot is taken")
    submit(10, countdown=600)
    eventually(lambda: sum(beat(admin, unit.name).get("scheduled", 0) for unit in units) == 10, what="all wait")
    submit(120)
    assert depth(tell_ledger(command="survey", queues=["queue-0"])) == 134, "at once, whatever is on its way"

    def look_again() -> dict[str, Any]:
        look = tell_ledger(command="survey", queues=["queue-0", "unknown"])
        assert depth(look) == 134
        return look

    look = eventually(lambda: (seen := look_again()) and total(seen, "reserved") == 14 and seen, what="all reserved")
    assert (total(look, "running"), total(look, "scheduled")) == (4, 10)
    assert (total(look, "stranded"), look["unclaimed"]) == (0, 0)
    assert set(look["queues"]) == {*QUEUES, "unknown", *(str(queue.name) for queue in direct)}
    assert look["queues"]["unknown"] == {"queued": 0, "oldest_at": None, **dict.fromkeys(STATES[1:], 0)}
    assert before - 1 < min(of["oldest_at"] for of in look["queues"].values() if of["oldest_at"]) < look["now"]
    assert sum(of.get("queue-0|submitted", 0) for of in look["minutes"].values()) == 13
    assert (look["totals"], look["open"]) == ({"submitted": 134}, 134)
    for of in look["units"]:
        assert (of["slots"], of["busy"], of["children"], of["is_draining"]) == (2, 2, 2, False)
        assert (of["pool"], len(of["scheduled_jobs"])) == ("heavy", of["scheduled"])
        assert {job["id"] for job in of["jobs"]} <= set(first)

    units[0].kill()
    dead = beat(admin)
    held = [json.loads(text) for text in admin.hvals(f"{PREFIX}fleet:claims") + admin.hvals(f"{PREFIX}fleet:early")]
    stranded = sum(claim["unit"] == "worker-1" for claim in held)
    look_again()
    admin.hset(f"{PREFIX}fleet:units", "worker-1@host-1", json.dumps(dead | {"at": time.time() - 60}))
    look = look_again()
    assert total(look, "running") == 2
    assert total(look, "stranded") == stranded > 2, "in the hands of one that is silent"
    assert total(look, "scheduled") == 10 - dead["scheduled"]
    gate.write_text("")
    ended = 134 - total(look, "stranded") - total(look, "scheduled")

    def has_ended() -> bool:
        look = tell_ledger(command="survey", queues=QUEUES)
        assert depth(look) == 134 - look["totals"].get("done", 0)
        return bool(look["totals"].get("done", 0) == ended)

    eventually(has_ended, what=units[1].text)
    look = tell_ledger(command="survey", queues=QUEUES)
    assert (total(look, "queued"), total(look, "running"), total(look, "reserved")) == (0, 0, 0)
    assert sum(of.get("mixed.late|runs", 0) + of.get("mixed.early|runs", 0) for of in look["minutes"].values()) == ended
    assert sum(of.get("queue-1|done", 0) for of in look["minutes"].values()) > 0


def test_what_is_taken_and_not_claimed_is_stranded(admin: redis.Redis, publisher: Celery, tell_ledger: Tell) -> None:
    publisher.send_task("t", queue="somewhere")
    message = json.loads(str(admin.rpop(f"{PREFIX}somewhere")))
    admin.hset(f"{PREFIX}unacked", "tag", json.dumps([message, "", "somewhere"]))
    look = tell_ledger(command="survey")
    assert look["queues"]["somewhere"]["stranded"] == 1
    assert (look["unclaimed"], look["unacked"]) == (1, 1)
    admin.flushall()


def test_a_look_needs_no_right_to_change_anything(
    server: Redis, publisher: Celery, admin: redis.Redis, tell_ledger: Tell
) -> None:
    publisher.send_task("t", queue="somewhere")
    seen = tell_ledger(command="survey", queues=["somewhere"], redis_url=server.url("monitor"))
    assert seen["queues"]["somewhere"]["queued"] == 1
    assert seen["redis"]["connected_clients"] >= 1
    assert {"used_memory", "maxmemory", "maxmemory_policy", "maxclients", "aof_enabled", "loading"} <= set(
        seen["redis"]
    )
    assert tell_ledger(command="strays", redis_url=server.url("monitor"))["queues"] == {"somewhere": 1}
    as_unit = tell_ledger(command="survey", queues=["somewhere"])
    assert (as_unit["redis"], as_unit["queues"]) == (None, seen["queues"])
    admin.flushall()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_unit_tells_what_it_does_until_it_stops(
    pool: str, start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", f"--pool={pool}", slots=1, FLEET_APP="mixed")
    idle = eventually(lambda: beat(admin), what=unit.text)
    assert (idle["unit"], idle["host"], idle["pool"], idle["node"]) == ("worker-1", "host-1", "worker", unit.node)
    assert (idle["slots"], idle["children"], idle["busy"], idle["jobs"], idle["last_received"]) == (1, 1, 0, [], None)
    assert idle["queues"] == sorted(["celery", str(worker_direct(unit.node).name)])
    eventually(lambda: beat(admin)["at"] > idle["at"] + 0.5, what="the next beat")
    gate = tmp_path / "gate"
    job = publisher.send_task("mixed.late", args=[str(gate)], ignore_result=True).id
    busy = eventually(lambda: (of := beat(admin))["busy"] and of, what="a beat while it runs")
    (told,) = busy["jobs"]
    assert (told["id"], told["task"], told["queue"]) == (job, "mixed.late", "celery")
    assert busy["at"] - 5 < told["started"] <= busy["at"]
    eventually(lambda: beat(admin)["at"] > busy["at"] + 2, what="beats while it runs")
    unit.process.terminate()
    eventually(lambda: beat(admin)["is_draining"], what="it says that it stops")
    late = beat(admin)["at"]
    eventually(lambda: beat(admin)["at"] > late + 2, what="beats while it waits for its last job")
    gate.write_text("")
    assert unit.process.wait(30) == 0
    assert not admin.exists(f"{PREFIX}fleet:units"), "it is off the list"


def test_a_unit_whose_loop_hangs_falls_silent(start_unit: StartUnit, admin: redis.Redis) -> None:
    unit = start_unit("worker-1", slots=1)
    eventually(lambda: beat(admin), what=unit.text)
    for thread in Path(f"/proc/{unit.process.pid}/task").iterdir():
        os.kill(int(thread.name), signal.SIGSTOP)
    time.sleep(1)
    last = beat(admin)["at"]
    time.sleep(2)
    assert beat(admin)["at"] == last


def test_counts_go_on_over_a_lost_connection(
    start_unit: StartUnit,
    lasting: Redis,
    program: Celery,  # noqa: F811  # a fixture
    inside: redis.Redis,  # noqa: F811  # a fixture
) -> None:
    unit = start_unit("worker-1", slots=2, redis=lasting)
    for _ in range(3):
        program.send_task(jobs.SLEEP, kwargs={"seconds": 2})
    eventually(lambda: beat(inside).get("busy") == 2, what=unit.text)
    lasting.stop()
    time.sleep(1)
    lasting.start()
    eventually(lambda: beat(inside).get("done") == 3, what=unit.text)
    assert (beat(inside)["received"], beat(inside)["failed"], beat(inside)["busy"]) == (3, 0, 0)
    assert inside.hgetall(f"{PREFIX}fleet:totals").items() >= {"submitted": "3", "done": "3"}.items()
    assert not inside.exists(f"{PREFIX}fleet:open")
