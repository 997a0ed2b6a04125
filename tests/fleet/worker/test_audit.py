"""The books of jobs: every one that was submitted has ended, or is somewhere."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from fleetctl.worker import jobs, ledger, publish, settings

from .conftest import PREFIX, Redis, StartUnit, close, eventually
from .test_delivery import ledger as claims
from .test_survey import Tell, beat

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from fleetctl.worker import audit

    monkeypatch.setattr(audit, "BETWEEN_SECONDS", 0.2)


def totals(client: redis.Redis) -> dict[str, int]:
    return {name: int(count) for name, count in client.hgetall(f"{PREFIX}fleet:totals").items() if name != "since"}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_books_balance_whatever_becomes_of_jobs(
    pool: str, start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", f"--pool={pool}", slots=2, FLEET_APP="mixed")
    done = ["mixed.late", "mixed.early", "mixed.retry_late", "mixed.retry_early", "mixed.ignore", "mixed.replace"]
    done += ["mixed.replace_early", "fleet.noop"]
    failed = ["mixed.fail_late", "mixed.fail_early", "mixed.refuse", "mixed.unknown"]
    if pool == "prefork":
        failed += ["mixed.too_long", "mixed.too_long_early"]
    for name in (*done, *failed):
        publisher.send_task(name)
    publisher.send_task("mixed.refuse_once", args=[str(tmp_path / "once")])
    for name in ("mixed.late", "mixed.early"):
        publisher.send_task(name, expires=-1)
        publisher.control.revoke(publisher.send_task(name, countdown=3).id)
    ids = ["one", "one", "two"]
    for job in ids:
        publish.submit(publisher, jobs.NOOP, [job], queue="celery", kwargs={})
    publisher.send_task("mixed.late", queue="aside")
    foreign = json.loads(str(admin.lindex(f"{PREFIX}aside", 0)))
    foreign["headers"]["id"] = foreign["properties"]["delivery_tag"] = "of a program without the books"
    admin.lpush(f"{PREFIX}celery", json.dumps(foreign))
    assert tell_ledger(command="purge", queue="aside")["removed"] == 1
    eventually(lambda: not admin.exists(f"{PREFIX}fleet:open") and not claims(admin), what=unit.text)
    expected = {
        "submitted": len(done) + len(failed) + 1 + 4 + 2 + 1,
        "purged": 1,
        "done": len(done) + 1 + 2,
        "failed": len(failed),
        "revoked": 4,
        "unrecorded": 1,
    }
    eventually(lambda: totals(admin) == expected, seconds=5, what=f"{totals(admin)} {expected} {unit.text}")
    for key in ("copies", "early", "claims", "outcomes"):
        assert not admin.exists(f"{PREFIX}fleet:{key}")
    audit = tell_ledger(command="audit")
    assert (audit["balance"], audit["orphans"], audit["open"]) == (0, [], 0)
    assert {name: audit[name] for name in expected} == expected
    assert time.time() - 120 < audit["since"] < time.time()
    assert "secret" not in json.dumps([dict(fields) for _, fields in admin.xrange(f"{PREFIX}fleet:events")])


def test_jobs_that_have_not_ended_are_where_they_are(
    start_unit: StartUnit, publisher: Celery, server: Redis, admin: redis.Redis, tell_ledger: Tell, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=2, FLEET_APP="mixed")
    gate, attempts = tmp_path / "gate", tmp_path / "attempts"
    publisher.send_task("mixed.early", args=[str(gate)])
    publisher.send_task("mixed.late", args=[str(gate)])
    eventually(lambda: beat(admin).get("busy") == 2, what=unit.text)
    publisher.send_task("mixed.late", countdown=60)
    for _ in range(12):
        publisher.send_task("mixed.late", priority=6)
    eventually(lambda: beat(admin)["scheduled"] == 1 and beat(admin)["reserved"] == 7, what=unit.text)
    audit = tell_ledger(command="audit", redis_url=server.url("monitor"))
    where = {name: audit[name] for name in ("queued", "reserved", "running", "scheduled", "stranded", "quarantined")}
    assert where == {
        "queued": 5, "reserved": 7, "running": 2, "scheduled": 1, "stranded": 0, "quarantined": 0
    }  # fmt: skip
    assert (audit["open"], audit["submitted"], audit["balance"], audit["orphans"]) == (15, 15, 0, [])
    assert not attempts.exists()


def test_an_orphan_is_named_and_put_back_once(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=2, FLEET_APP="mixed")
    gate = tmp_path / "gate"
    lost = publisher.send_task("mixed.early", args=[str(gate)], priority=3)
    kept = publisher.send_task("mixed.late", args=[str(gate)])
    big = publisher.send_task("mixed.late", args=[""], kwargs={"path": ""}, countdown=600)
    eventually(lambda: beat(admin).get("busy") == 2 and beat(admin)["scheduled"] == 1, what=unit.text)
    assert tell_ledger(command="requeue", jobs=[lost.id])["unknown"] == [lost.id], "it runs"
    unit.kill()
    assert tell_ledger(command="audit")["orphans"] == [], "the unit may live: it has spoken a moment ago"
    admin.delete(f"{PREFIX}fleet:units")
    audit = tell_ledger(command="audit")
    (orphan,) = audit["orphans"]
    assert (orphan["job"], orphan["task"], orphan["queue"], orphan["has_message"]) == (
        lost.id, "mixed.early", "celery", True
    )  # fmt: skip
    assert (audit["balance"], audit["stranded"], audit["open"]) == (1, 2, 3)
    assert tell_ledger(command="job", job=lost.id)["state"] == "stranded"
    answer = tell_ledger(command="requeue", jobs=[lost.id, kept.id, "none"])
    assert (answer["requeued"], answer["unknown"]) == ([lost.id], [kept.id, "none"])
    assert tell_ledger(command="requeue", jobs=[lost.id])["unknown"] == [lost.id], "once"
    assert admin.llen(f"{PREFIX}celery\x06\x163") == 1
    assert (tell_ledger(command="audit")["balance"], tell_ledger(command="audit")["orphans"]) == (0, [])
    gate.write_text("")
    unit = start_unit("worker-1", slots=2, FLEET_APP="mixed")
    eventually(lambda: totals(admin) == {"submitted": 3, "done": 2}, what=unit.text)
    assert big.id in str(admin.hkeys(f"{PREFIX}fleet:open"))
    assert (tell_ledger(command="audit")["balance"], admin.exists(f"{PREFIX}fleet:early")) == (0, 0)


def test_an_orphan_that_has_a_result_is_closed_and_one_without_a_message_stays(
    publisher: Celery, admin: redis.Redis, tell_ledger: Tell
) -> None:
    ended, large = (publisher.send_task("t", args=["x" * length]).id for length in (1, 70_000))
    admin.set(f"{PREFIX}celery-task-meta-{ended}", json.dumps({"status": "SUCCESS", "result": None}))
    admin.delete(f"{PREFIX}celery")
    audit = tell_ledger(command="audit")
    assert {orphan["job"]: orphan["has_message"] for orphan in audit["orphans"]} == {ended: True, large: False}
    assert audit["balance"] == 2
    answer = tell_ledger(command="requeue", jobs=[ended, large])
    assert answer == {"requeued": [], "ended": [ended], "unknown": [large]}
    assert totals(admin) == {"submitted": 2, "done": 1}
    assert tell_ledger(command="audit")["balance"] == 1
    admin.flushall()


def test_a_job_in_quarantine_is_open_and_its_timeline_tells_why(
    start_unit: StartUnit,
    publisher: Celery,
    admin: redis.Redis,
    tell_ledger: Tell,
    server: Redis,
    ask: Any,
    tmp_path: Path,
) -> None:
    unit = start_unit("worker-1", slots=1, FLEET_APP="mortal")
    attempts = tmp_path / "attempts"
    job = publisher.send_task("mortal.die", args=[str(attempts), 3])
    eventually(lambda: job.state == "QUARANTINED", what=unit.text)
    audit = tell_ledger(command="audit")
    assert (audit["quarantined"], audit["open"], audit["balance"]) == (1, 1, 0)
    ask(unit, command="quarantine", operation="release", jobs=[job.id])
    assert job.get(timeout=30) == "alive"
    eventually(lambda: totals(admin) == {"submitted": 1, "done": 1}, what=unit.text)
    told = tell_ledger(command="job", job=job.id, redis_url=server.url("monitor"))
    names = [event["event"] for event in told["events"]]
    assert Counter(names) == {
        "submitted": 1, "received": 4, "started": 4, "died": 3, "given back": 2, "quarantined": 1, "released": 1,
        "ended": 1,
    }  # fmt: skip
    assert (names[0], names[-1]) == ("submitted", "ended")
    died = next(event for event in told["events"] if event["event"] == "died")
    assert (died["unit"], died["host"], "SIGKILL" in died["detail"]) == ("worker-1", "host-1", True)
    assert (told["state"], told["queue"], told["result_state"]) == ("done", "celery", "SUCCESS")
    assert (told["claim"], told["quarantined"]) == (None, False)


def test_the_timeline_of_a_job_that_was_redelivered(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tell_ledger: Tell, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=1, FLEET_APP="mixed")
    gate = tmp_path / "gate"
    job = publisher.send_task("mixed.late", args=[str(gate)]).id
    eventually(lambda: beat(admin).get("busy") == 1, what=unit.text)
    told = tell_ledger(command="job", job=job)
    assert (told["state"], told["task"], told["claim"]["unit"]) == ("running", "mixed.late", "worker-1")
    unit.kill()
    gate.write_text("")
    unit = start_unit("worker-1", slots=1, FLEET_APP="mixed")
    eventually(lambda: totals(admin).get("done") == 1, what=unit.text)
    told = tell_ledger(command="job", job=job)
    assert [(event["event"], event["unit"]) for event in told["events"]] == [
        ("submitted", ""), ("received", "worker-1"), ("started", "worker-1"), ("died", "worker-1"),
        ("given back", "worker-1"), ("received", "worker-1"), ("started", "worker-1"), ("ended", "worker-1"),
    ]  # fmt: skip
    assert told["events"][1]["at"] - 0.01 < told["events"][2]["at"] < told["events"][3]["at"]
    assert (told["state"], told["deaths"][0]["kind"]) == ("done", "unit")
    assert tell_ledger(command="job", job="none")["state"] == "unknown"


def test_what_waits_is_moved_in_its_order_and_purged(
    publisher: Celery, admin: redis.Redis, tell_ledger: Tell, server: Redis
) -> None:
    def queued(queue: str) -> list[str]:
        return [json.loads(text)["headers"]["id"] for text in admin.lrange(f"{PREFIX}{queue}", 0, -1)][::-1]

    ids = [publisher.send_task("t", queue="from", priority=priority).id for priority in (0, 0, 0, 3, 9)]
    there = publisher.send_task("t", queue="to").id
    assert tell_ledger(command="move", **{"from": "from", "to": "to", "count": 2})["moved"] == 2
    assert (queued("from"), queued("to")) == ([ids[2]], [there, ids[0], ids[1]])
    assert json.loads(str(admin.hget(f"{PREFIX}fleet:open", ids[0])))["queue"] == "to"
    assert tell_ledger(command="move", **{"from": "from", "to": "to", "count": None})["moved"] == 3
    assert queued("to\x06\x163") + queued("to\x06\x169") == ids[3:]
    assert tell_ledger(command="survey", queues=["from", "to"])["queues"]["to"]["queued"] == 6
    with pytest.raises(ValueError, match="the queue that they are in"):
        tell_ledger(command="move", **{"from": "to", "to": "to"})
    assert tell_ledger(command="purge", queue="to") == {"removed": 6}
    assert totals(admin) == {"submitted": 6, "purged": 6}
    assert not admin.exists(f"{PREFIX}fleet:open", f"{PREFIX}fleet:copies")
    publisher.send_task("t", queue="again")
    assert publisher.control.purge() == 0
    with publisher.connection_for_write() as connection:
        assert connection.default_channel._purge("again") == 1
    assert totals(admin) == {"submitted": 7, "purged": 7}
    with pytest.raises(redis.exceptions.NoPermissionError):
        tell_ledger(command="purge", queue="to", redis_url=server.url("monitor"))
    admin.flushall()


def test_a_full_redis_refuses_what_is_submitted_and_not_what_ends(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis, tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=2, FLEET_APP="mixed")
    gate = tmp_path / "gate"
    for name in ("mixed.early", "mixed.late"):
        publisher.send_task(name, args=[str(gate)], ignore_result=True)
    eventually(lambda: beat(admin).get("busy") == 2, what=unit.text)
    admin.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Exception, match="maxmemory") as refused:
            publisher.send_task("mixed.late", args=["word-of-the-job"], retry=False)
        assert "word-of-the-job" not in str(refused.value)
        gate.write_text("")
        eventually(lambda: totals(admin) == {"submitted": 2, "done": 2}, what=unit.text)
        assert not admin.exists(f"{PREFIX}fleet:claims", f"{PREFIX}unacked")
    finally:
        admin.config_set("maxmemory", "0")
    assert not admin.exists(f"{PREFIX}fleet:open", f"{PREFIX}fleet:early")


def test_a_publisher_may_write_no_more_than_the_records_of_what_it_submits(server: Redis, admin: redis.Redis) -> None:
    app = Celery("program")
    settings.apply(app, server.broker("producer"), is_worker=False)
    job = app.send_task("t").id
    publish.submit(app, "t", ["a", "b"], queue="celery", kwargs={})
    close(app)
    assert set(admin.hkeys(f"{PREFIX}fleet:open")) == {job, "a", "b"}
    assert totals(admin) == {"submitted": 3}
    assert 0 < admin.ttl(next(admin.scan_iter(f"{PREFIX}{ledger.MINUTE}*"))) <= ledger.MINUTE_SECONDS
    with redis.Redis.from_url(server.url("producer")) as client:
        for command in (
            ("EVAL", "return 0", 0), ("HDEL", f"{PREFIX}fleet:open", "a"), ("DEL", f"{PREFIX}fleet:totals"),
            ("HSET", f"{PREFIX}fleet:units", "a", "b"), ("HSET", f"{PREFIX}fleet:drains", "a", "b"),
            ("HSET", f"{PREFIX}fleet:claims", "a", "b"), ("XTRIM", f"{PREFIX}fleet:events", "MAXLEN", 0),
            ("HINCRBY", f"{PREFIX}fleet:open", "a", 1), ("EXPIRE", f"{PREFIX}fleet:open", 1),
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)
    admin.flushall()


def test_a_redis_of_an_earlier_release_takes_jobs_without_a_record(
    server: Redis, admin: redis.Redis, caplog: Any
) -> None:
    app = Celery("program")
    settings.apply(app, server.broker("producer"), is_worker=False)
    admin.execute_command("ACL", "SETUSER", "producer", "clearselectors")
    try:
        app.send_task("t")
        app.send_task("t")
    finally:
        admin.execute_command("ACL", "LOAD")
        close(app)
    assert admin.llen(f"{PREFIX}celery") == 2
    assert not admin.exists(f"{PREFIX}fleet:open", f"{PREFIX}fleet:totals")
    assert [record.message for record in caplog.records if "without a record" in record.message]
    admin.flushall()
