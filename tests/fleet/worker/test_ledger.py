"""The script that settles: in whatever order the messages of one job end, the job ends once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from fleetctl.worker import jobs, ledger, publish

from .conftest import PREFIX, Redis

pytestmark = pytest.mark.services


@pytest.fixture
def channel(publisher: Celery, admin: redis.Redis) -> Iterator[Any]:
    with publisher.connection_for_write() as connection:
        yield connection.default_channel
    admin.flushall()


def hold(client: redis.Redis, *tags: str) -> None:
    for tag in tags:
        client.hset(f"{PREFIX}unacked", tag, "[]")
        client.hset(f"{PREFIX}fleet:claims", tag, "{}")


def settle(channel: Any, tag: str, outcome: Any) -> None:
    delivery = ledger.Delivery("job", "task", "celery")
    ledger.settle(channel, tag, delivery, ledger.Ending(outcome, seconds=1.5), unit="u", host="h")


def totals(client: redis.Redis) -> dict[str, str]:
    return client.hgetall(f"{PREFIX}fleet:totals")


@pytest.mark.parametrize("order", [*itertools.permutations([("a", "retried"), ("b", "retried"), ("c", "failed")])])
def test_a_job_ends_as_its_last_retry_did_though_that_was_settled_first(
    order: tuple[tuple[str, str], ...], channel: Any, publisher: Celery, admin: redis.Redis
) -> None:
    publish.submit(publisher, jobs.NOOP, ["job"], queue="celery", kwargs={})
    publish.submit(publisher, jobs.NOOP, ["job"], queue="celery", kwargs={})
    publish.submit(publisher, jobs.NOOP, ["job"], queue="celery", kwargs={})
    hold(admin, "a", "b", "c")
    for tag, outcome in order:
        assert admin.hexists(f"{PREFIX}fleet:open", "job")
        settle(channel, tag, outcome)
        settle(channel, tag, outcome)  # told again, as after an answer that was lost
    assert totals(admin) == {"submitted": "1", "failed": "1"}
    left = {key.removeprefix(f"{PREFIX}fleet:").partition(":")[0] for key in admin.scan_iter(f"{PREFIX}fleet:*")}
    assert left == {"totals", "minute", "events"}
    (minute,) = admin.scan_iter(f"{PREFIX}fleet:minute:*")
    assert admin.hgetall(minute) == {
        "celery|submitted": "1",
        "celery|failed": "1",
        "task|runs": "3",
        "task|seconds": "4.5",
    }


def test_a_retry_that_nobody_recorded_leaves_the_job_open(channel: Any, publisher: Celery, admin: redis.Redis) -> None:
    publish.submit(publisher, jobs.NOOP, ["job"], queue="celery", kwargs={})
    hold(admin, "a", "b")
    settle(channel, "a", "retried")
    assert admin.hexists(f"{PREFIX}fleet:open", "job")
    settle(channel, "b", "done")
    assert totals(admin) == {"submitted": "1", "done": "1"}


def test_what_was_given_back_meanwhile_does_not_end(channel: Any, publisher: Celery, admin: redis.Redis) -> None:
    publish.submit(publisher, jobs.NOOP, ["job"], queue="celery", kwargs={})
    settle(channel, "gone", "done")
    assert admin.hexists(f"{PREFIX}fleet:open", "job")
    assert totals(admin) == {"submitted": "1"}


def test_books_of_another_kind_keep_no_job_from_being_acknowledged(channel: Any, admin: redis.Redis) -> None:
    hold(admin, "a")
    for key in ("totals", "copies", "open", "events", "outcomes"):
        admin.set(f"{PREFIX}fleet:{key}", "spoilt")
    settle(channel, "a", "done")
    assert not admin.exists(f"{PREFIX}unacked", f"{PREFIX}fleet:claims")


def test_early_jobs_are_held_until_they_end(channel: Any, publisher: Celery, admin: redis.Redis) -> None:
    publish.submit(publisher, jobs.NOOP, ["job"], queue="celery", kwargs={})
    hold(admin, "a")
    settle(channel, "a", "early")
    assert (admin.hkeys(f"{PREFIX}fleet:early"), admin.exists(f"{PREFIX}unacked")) == (["a"], 0)
    assert totals(admin) == {"submitted": "1"}
    settle(channel, "a", "done")
    settle(channel, "a", "early")  # one that is told late changes nothing
    assert not admin.exists(f"{PREFIX}fleet:early", f"{PREFIX}fleet:open")
    assert totals(admin) == {"submitted": "1", "done": "1"}


def test_a_large_message_is_not_kept(publisher: Celery, admin: redis.Redis, server: Redis) -> None:
    job = publisher.send_task("t", args=["x" * ledger.MAX_MESSAGE_BYTES]).id
    assert "message" not in str(admin.hget(f"{PREFIX}fleet:open", job))
    assert server.process is not None
    admin.flushall()
