"""What a unit's process holds, and what it owes to a Redis that is away."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery.exceptions import Reject, TimeLimitExceeded
from celery.worker.request import Request
from redis.exceptions import ConnectionError as LostError

from fleetctl.worker import claims, custody, deaths, quarantine
from fleetctl.worker.claims import Claim
from fleetctl.worker.custody import Custody


@pytest.fixture
def here() -> Custody:
    return Custody("worker-1", "host-1", "m1")


def claim(**other: Any) -> Claim:
    return Claim(
        job="j",
        task="t",
        queue="q",
        unit="worker-1",
        host="host-1",
        machine="m1",
        **({"boot": "before", "at": 1.0} | other),
    )


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (claim(), True),
        (Claim("j", "t", "q", "worker-2", "host-1", "m1", "before", 1.0), False),
        (Claim("j", "t", "q", "worker-1", "host-1", "m2", "before", 1.0), False),
    ],
    ids=["its own", "of another unit", "of another machine of the name"],
)
def test_a_unit_takes_back_what_it_held_on_this_machine_in_an_earlier_life(
    here: Custody, claim: Claim, expected: bool
) -> None:
    assert here.is_of_a_former_life(claim) is expected


def test_a_unit_does_not_take_back_what_it_holds_now(here: Custody) -> None:
    mine = claim(boot=here.boot)
    assert here.is_ours(mine)
    assert not here.is_of_a_former_life(mine)


def test_no_two_requests_for_a_job_have_one_name(here: Custody) -> None:
    assert len({here.ask() for _ in range(50)}) == 50
    assert here.asked_at == round(here.asked_at, 3), "as Redis writes it down"


def test_what_cannot_be_settled_now_is_owed_and_settled_on_the_next_connection(here: Custody) -> None:
    settled: list[Any] = []

    def act(channel: Any) -> None:
        if channel.is_broken:
            raise LostError("gone")
        settled.append(channel)

    here.take("tag", "job")
    here.settle("tag", act)
    assert list(here.owed) == ["tag"], "there is no connection yet"
    here.channel = SimpleNamespace(closed=False, is_broken=True)
    here.settle("tag", act)
    assert (list(here.owed), list(here.jobs)) == (["tag"], ["tag"])
    with pytest.raises(LostError):
        here.settle_owed(here.channel)
    assert list(here.owed) == ["tag"], "it stays owed"
    good = SimpleNamespace(closed=False, is_broken=False)
    here.settle_owed(good)
    assert (settled, here.owed, here.jobs) == ([good], {}, {})


def test_what_was_settled_is_not_owed(here: Custody) -> None:
    here.channel = SimpleNamespace(closed=False)
    here.take("tag", "job")
    here.settle("tag", lambda _: None)
    assert (here.owed, here.jobs, here.dirty) == ({}, {}, {"tag"})


class Ledger:
    """A channel to a ledger of claims, where each attempt to change one is noted."""

    global_keyprefix = "f:"
    qos = SimpleNamespace(unacked_key="unacked")

    def __init__(self, **found: Claim) -> None:
        self.found = {tag.encode(): json.dumps(asdict(claim) | {"later": 1}).encode() for tag, claim in found.items()}
        self.tried: list[str] = []

    @contextmanager
    def conn_or_acquire(self) -> Iterator["Ledger"]:
        yield self

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        assert key == "f:fleet:claims"
        return self.found

    def transaction(self, change: Any, *_: str) -> None:
        change(self)

    def hget(self, _: str, tag: str) -> None:
        self.tried.append(tag)

    def multi(self) -> None:
        """Nothing is changed."""


def test_what_redis_handed_over_and_nobody_saw_is_given_back_but_not_what_is_on_its_way(here: Custody) -> None:
    on_its_way = here.ask()
    here.take("known", "j")
    ledger = Ledger(
        known=claim(boot=here.boot), unseen=claim(boot=here.boot), asked=claim(boot=here.boot, at=on_its_way),
        anothers=claim(boot="other"),
    )  # fmt: skip
    here.give_back_lost(ledger)
    assert ledger.tried == ["unseen"]
    here.ask()
    here.give_back_lost(ledger)
    assert ledger.tried == ["unseen", "unseen", "asked"], "its answer has been lost: another request was made since"


def test_a_closed_channel_is_not_tried(here: Custody) -> None:
    here.channel = SimpleNamespace(closed=True)
    here.settle("tag", lambda _: pytest.fail("tried"))
    assert list(here.owed) == ["tag"]


def test_children_of_a_units_process_take_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custody, "_here", None)
    mine = custody.begin("worker-1", "host-1")
    assert custody.here() is mine
    mine.pid = os.getpid() + 1
    assert custody.here() is None


def test_a_machine_without_an_id_has_its_name(tmp_path: Path) -> None:
    assert custody.machine_id(tmp_path / "none") == os.uname().nodename
    (tmp_path / "empty").write_text("\n")
    assert custody.machine_id(tmp_path / "empty") == os.uname().nodename
    (tmp_path / "id").write_text("abc\n")
    assert custody.machine_id(tmp_path / "id") == "abc"


@pytest.mark.parametrize(
    ("eta", "expected"),
    [(None, False), ("nonsense", False), (-60, False), (60, True)],
)
def test_a_job_whose_time_has_not_come_had_not_begun(eta: int | str | None, expected: bool) -> None:
    now = datetime.now(UTC)
    text = (now + timedelta(seconds=eta)).isoformat() if isinstance(eta, int) else eta
    assert claims._waited({"headers": {"eta": text}}, now.timestamp()) is expected


def request(**task: Any) -> Any:
    settings = {"acks_late": True, "reject_on_worker_lost": True, "retry_on_worker_lost": False} | task
    return SimpleNamespace(
        acknowledged=False, _already_cancelled=False, _already_revoked=False, task=SimpleNamespace(**settings)
    )


@pytest.mark.parametrize(
    ("request_", "exc", "reason"),
    [
        (request(), WorkerLostError("signal 9"), "signal 9"),
        (request(), SystemExit(1), "process ended with exit status 1"),
        (request(), TimeLimitExceeded(5), None),
        (request(), Reject("later", requeue=True), None),
        (request(), ValueError("x"), None),
        (request(acks_late=False), WorkerLostError("signal 9"), None),
        (request(reject_on_worker_lost=False), WorkerLostError("signal 9"), None),
        (request(retry_on_worker_lost=True), WorkerLostError("signal 9"), None),
    ],
    ids=["killed", "exited", "time limit", "refused", "failed", "early", "not to be repeated", "retried"],
)
def test_only_the_end_of_its_process_is_a_death(request_: Any, exc: BaseException, reason: str | None) -> None:
    assert deaths.reason_of_death(request_, SimpleNamespace(exception=exc)) == reason


def test_a_job_that_was_revoked_or_settled_has_not_died() -> None:
    lost = SimpleNamespace(exception=WorkerLostError("signal 15"))
    settled, revoked = request(), request()
    settled.acknowledged = revoked._already_revoked = True
    assert deaths.reason_of_death(settled, lost) is None
    assert deaths.reason_of_death(revoked, SimpleNamespace(exception=SystemExit(1))) is None


def test_the_apps_own_class_of_requests_stays() -> None:
    class Own(Request):  # type: ignore[misc]  # its stubs leave it untyped
        pass

    for own in (Own, "celery.worker.request:Request"):
        task = SimpleNamespace(Request=own)
        deaths.guard(task)
        guarded: Any = task.Request
        assert guarded.__mro__[1] is deaths.Guarded
        assert issubclass(guarded, Own if own is Own else Request)
        deaths.guard(task)
        assert task.Request is guarded, "once only"


def test_a_message_of_any_kind_can_be_shown() -> None:
    headers = {"argsrepr": "(1,)", "kwargsrepr": "{}"}
    body = {"content-type": "application/json", "body": '[[1], {"a": 2}, {}]', "properties": {}}
    assert quarantine.decoded(body | {"headers": headers}) == {"headers": headers, "args": [1], "kwargs": {"a": 2}}
    encoded = body | {"body": "W1sxXSwge30sIHt9XQ==", "properties": {"body_encoding": "base64"}}
    assert quarantine.decoded(encoded | {"headers": headers})["args"] == [1]
    for unknown in (body | {"content-type": "application/x-python-serialize"}, body | {"body": "no"}):
        assert quarantine.decoded(unknown | {"headers": headers})["args"] == "(1,)"
