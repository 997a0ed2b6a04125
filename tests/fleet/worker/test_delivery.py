"""No job is lost, and none runs again while its first run lives: with a Redis that goes away and comes back."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from fleetctl.worker import jobs, publish, records, settings

from .conftest import PREFIX, Redis, StartUnit, close, eventually

pytestmark = pytest.mark.services


@pytest.fixture
def program(lasting: Redis) -> Iterator[Celery]:
    """A program that publishes to the Redis that lasts."""
    app = Celery("program")
    settings.apply(app, lasting.broker(), is_worker=False)
    yield app
    close(app)


@pytest.fixture
def inside(lasting: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(lasting.url("admin"), decode_responses=True) as client:
        yield client


def sleepers(app: Celery, count: int, seconds: float) -> list[str]:
    """Submit jobs that sleep, and return their ids; "run" is their record."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    publish.submit(app, jobs.SLEEP, ids, queue="celery", kwargs={"seconds": seconds, "run": "run"})
    return ids


def runs(client: redis.Redis) -> Counter[str]:
    return Counter(json.loads(item)["id"] for item in client.lrange(records.key(PREFIX, "run"), 0, -1))


def restart(server: Redis, _: Any) -> None:
    server.stop()
    time.sleep(0.5)
    server.start()


def cut(_: Any, client: redis.Redis) -> None:
    for kind in ("pubsub", "normal"):
        client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def ledger(client: redis.Redis) -> dict[str, dict[str, Any]]:
    """Return the claims, by tag, of a moment when they are those of all open deliveries."""
    with client.pipeline() as pipe:
        claims, entries = pipe.hgetall(f"{PREFIX}fleet:claims").hkeys(f"{PREFIX}unacked").execute()
    assert set(claims) == set(entries)
    return {tag: json.loads(text) for tag, text in claims.items()}


@pytest.mark.parametrize("interrupt", [restart, cut])
def test_jobs_run_once_though_redis_goes_away_while_they_run(
    start_unit: StartUnit, lasting: Redis, program: Celery, inside: redis.Redis, interrupt: Callable[..., Any]
) -> None:
    units = [start_unit(f"worker-{number}", slots=3, redis=lasting) for number in (1, 2)]
    ids = sleepers(program, 4, 4)  # two slots are free, to run again what is given back
    eventually(lambda: len(ledger(inside)) == 4, what="four run")
    before = ledger(inside)
    assert {(claim["host"], claim["task"], claim["queue"]) for claim in before.values()} == {
        ("host-1", jobs.SLEEP, "celery")
    }
    assert {claim["job"] for claim in before.values()} == set(ids)
    interrupt(lasting, inside)
    eventually(lambda: ledger(inside) == before, what="the jobs are in the same hands")
    ids += sleepers(program, 6, 1)
    eventually(lambda: inside.hlen(f"{PREFIX}unacked") == 6, what="the free slots are used, and no more")
    eventually(lambda: len(runs(inside)) == 10 and not ledger(inside), what="all have run and none is left open")
    assert runs(inside) == Counter(ids), units[0].text
    assert {program.AsyncResult(job).state for job in ids} == {"SUCCESS"}
    assert not inside.exists(f"{PREFIX}unacked_index")


def test_a_job_that_ends_while_redis_is_away_waits_for_it(
    start_unit: StartUnit, lasting: Redis, program: Celery, inside: redis.Redis
) -> None:
    unit = start_unit(redis=lasting)
    ids = sleepers(program, 3, 2)
    eventually(lambda: len(ledger(inside)) == 2, what="two run")
    lasting.stop()
    time.sleep(2)
    lasting.start()
    eventually(lambda: len(runs(inside)) == 3 and not ledger(inside), what="all have run and none is left open")
    assert runs(inside) == Counter(ids), unit.text
    assert {program.AsyncResult(job).state for job in ids} == {"SUCCESS"}


def test_a_unit_that_stops_gives_back_what_has_not_begun_at_once(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    stopping = start_unit("worker-1", slots=2)
    later = publisher.send_task(jobs.SLEEP, kwargs={"seconds": 0, "run": "run"}, countdown=18).id
    eventually(lambda: len(ledger(admin)) == 1, what="one waits for its time")
    ids = sleepers(publisher, 2, 15)
    eventually(lambda: len(ledger(admin)) == 3, what="two run")
    ids += [later, *sleepers(publisher, 4, 1)]
    stopping.process.terminate()
    eventually(
        lambda: {claim["job"] for claim in ledger(admin).values()} == set(ids[:2]), seconds=10, what="given back"
    )
    assert not runs(admin), "long before the two have ended"
    start_unit("worker-2", slots=2)
    assert stopping.process.wait(60) == 0
    eventually(lambda: len(runs(admin)) == 7 and not ledger(admin), what="all have run and none is left open")
    assert runs(admin) == Counter(ids)


def test_a_unit_that_is_told_to_end_now_gives_back_all(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    unit = start_unit(slots=2)
    ids = sleepers(publisher, 3, 60)
    eventually(lambda: len(ledger(admin)) == 2, what="two run")
    time.sleep(0.5)
    unit.process.send_signal(signal.SIGQUIT)
    unit.process.wait(30)
    assert not ledger(admin), unit.text
    assert {json.loads(text)["headers"]["id"] for text in admin.lrange(f"{PREFIX}celery", 0, -1)} == set(ids)
    assert not admin.keys(f"{PREFIX}fleet:deaths:*"), "nobody died of himself"


def test_a_job_that_is_handed_to_a_unit_which_cannot_take_it_is_in_the_books(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    unit = start_unit()
    ids: list[str] = []
    while not ledger(admin):
        unit.process.send_signal(signal.SIGCONT)
        eventually(lambda: runs(admin) == dict.fromkeys(ids, 1), what="the one before has run")
        unit.process.send_signal(signal.SIGSTOP)  # as a host that is cut off: its request stands, or has just ended
        ids.extend(sleepers(publisher, 1, 0))
        time.sleep(1)
        assert len(ids) < 30, "no request stood"
    assert [claim["job"] for claim in ledger(admin).values()] == ids[-1:]
    unit.kill()
    unit = start_unit()
    eventually(lambda: runs(admin) == dict.fromkeys(ids, 1) and not ledger(admin), what=unit.text)


def test_a_job_whose_answer_was_cut_off_is_given_back_by_its_own_unit(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    unit = start_unit(slots=2)
    (seen,) = sleepers(publisher, 1, 1)
    eventually(lambda: ledger(admin), what="it runs")
    ((tag, claim),) = ledger(admin).items()
    entry = json.loads(admin.hget(f"{PREFIX}unacked", tag))
    unseen, other = str(uuid.uuid4()), str(uuid.uuid4())
    entry[0]["headers"]["id"] = unseen
    entry[0]["properties"]["delivery_tag"] = other
    eventually(lambda: not ledger(admin), what="it has run")
    with admin.pipeline() as pipe:  # what Redis does for a connection that it does not know to be cut
        pipe.hset(f"{PREFIX}unacked", other, json.dumps(entry))
        pipe.zadd(f"{PREFIX}unacked_index", {other: claim["at"]})
        pipe.hset(f"{PREFIX}fleet:claims", other, json.dumps(claim | {"job": unseen, "at": claim["at"] - 1}))
        pipe.execute()
    eventually(lambda: f"job {unseen} was handed over by a connection that was cut" in unit.text, seconds=15)
    eventually(lambda: runs(admin) == {seen: 1, unseen: 1} and not ledger(admin), what=unit.text)
