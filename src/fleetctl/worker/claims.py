"""Who holds which job: the fleet's ledger in Redis, beside kombu's own entries of jobs that are not acknowledged.

Each entry of kombu's `unacked` hash that a unit has taken has a claim of the same delivery tag; both come and go in one
transaction. A claim whose holder has died is given back, with the death on record; at its third death a job goes into
quarantine instead. Keys, all below the fleet's prefix:

    fleet:claims            hash: delivery tag -> claim
    fleet:deaths:<job>      list of deaths; forgotten after a week
    fleet:quarantine        hash: job -> what it is, its deaths, and its message
    fleet:stopped:<boot>    there when a unit was told to stop; forgotten after a week

Delivery tags stay with a message for its life, so a claim's holder is known by `boot`, which no two processes share.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

from redis.exceptions import DataError

from fleetctl.worker import ledger

log = logging.getLogger(__name__)

CLAIMS = ledger.CLAIMS
QUARANTINE = "fleet:quarantine"
MAX_DEATHS = 3
DEATHS_SECONDS = 7 * 24 * 3600

Outcome = Literal["restored", "quarantined", "gone"]


@dataclass(frozen=True)
class Claim:
    """A job in the hands of a worker process: `machine` is /etc/machine-id, `boot` that process's random name."""

    job: str
    task: str
    queue: str
    unit: str
    host: str
    machine: str
    boot: str
    at: float


@dataclass(frozen=True)
class Death:
    """What a job died of, without having ended: its process, its unit's main process, or its host."""

    at: float
    kind: Literal["process", "unit", "host"]
    unit: str
    host: str
    detail: str


def deaths_key(job: str) -> str:
    """Return the key of a job's deaths, below the prefix."""
    return f"fleet:deaths:{job}"


def stopped_key(boot: str) -> str:
    """Return the key that tells that a unit's process was told to stop, below the prefix."""
    return f"fleet:stopped:{boot}"


def parse(text: bytes | str) -> Claim:
    """Return the claim that a value of the ledger is; what another release added to it is left out."""
    found = json.loads(text)
    return Claim(**{field.name: found[field.name] for field in fields(Claim)})


def held(channel: Any) -> dict[str, Claim]:
    """Return all claims of the fleet by delivery tag."""
    with channel.conn_or_acquire() as client:
        found = client.hgetall(channel.global_keyprefix + CLAIMS)
    return {tag.decode(): parse(text) for tag, text in found.items()}


def give_back(
    channel: Any,
    tag: str,
    *,
    is_theirs: Callable[[Claim], bool],
    death: Death | None = None,
    is_last: bool = False,
    started: float | None = None,
) -> Outcome | None:
    """Put a claimed job back at the head of its queue, or at its end; None where the claim is not theirs (any more).

    With a `death`, that is recorded, and the third one moves the job into quarantine; a host's is evidence alone:
    machines have other reasons to go, and somebody has to say each time that one is dead. A job that waited for its
    time (eta) had not begun: nothing is recorded. It goes back to the queue it was taken from, not through the
    exchange: a binding that is gone would drop it. `started`: when, if that is not told yet.
    """
    qos = channel.qos
    outcome: Outcome | None = None

    def settle(pipe: Any) -> None:
        nonlocal outcome
        outcome = None
        text = pipe.hget(CLAIMS, tag)
        if text is None or not is_theirs(claim := parse(text)):
            pipe.multi()
            return
        entry = pipe.hget(qos.unacked_key, tag)
        deaths = pipe.lrange(channel.global_keyprefix + deaths_key(claim.job), 0, -1) if death else []
        pipe.multi()
        qos.remove(tag, pipe)
        if entry is None:
            outcome = "gone"
            return
        message, exchange, routing_key = json.loads(entry)
        counted = death if death and not _waited(message, death.at) else None
        if counted:
            deaths.append(json.dumps(asdict(counted)).encode())

        def tell(name: ledger.Event, detail: str = "", at: float | None = None) -> None:
            about = {"job": claim.job, "queue": claim.queue, "unit": claim.unit, "host": claim.host, "detail": detail}
            happened = ledger.event(channel.global_keyprefix, name, at=at or round(time.time(), 3), **about)
            pipe.execute_command(*happened)

        if started is not None:
            tell("started", at=started)
        if counted:
            tell("died", f"{counted.kind}: {counted.detail}", counted.at)
        if counted and counted.kind != "host" and _own(deaths) >= MAX_DEATHS:
            record = {
                "job": claim.job, "task": claim.task, "queue": claim.queue, "at": counted.at,
                "deaths": [json.loads(each) for each in deaths],
                "message": message, "exchange": exchange, "routing_key": routing_key,
            }  # fmt: skip
            pipe.hset(QUARANTINE, claim.job, json.dumps(record))
            pipe.delete(deaths_key(claim.job))
            tell("quarantined")
            outcome = "quarantined"
            return
        if counted:
            pipe.rpush(deaths_key(claim.job), deaths[-1])
            pipe.pexpire(deaths_key(claim.job), DEATHS_SECONDS * 1000)
        enqueue(channel, pipe, claim.queue, message, is_last=is_last)
        tell("given back", detail="" if is_last else "to the head of its queue")
        outcome = "restored"

    with channel.conn_or_acquire() as client:
        client.transaction(settle, qos.unacked_key, CLAIMS)
    return outcome


def _own(deaths: Sequence[bytes]) -> int:
    """Return how many of these deaths the job may have caused."""
    return sum(json.loads(death)["kind"] != "host" for death in deaths)


def enqueue(channel: Any, pipe: Any, queue: str, message: dict[str, Any], *, is_last: bool = False) -> None:
    """Add a message to its queue's list of its priority, marked as delivered before, as kombu does."""
    message.setdefault("headers", {})["redelivered"] = True
    message["properties"].setdefault("delivery_info", {})["redelivered"] = True
    key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
    (pipe.lpush if is_last else pipe.rpush)(key, json.dumps(message))


def rescue(
    channel: Any,
    *,
    is_theirs: Callable[[Claim], bool],
    death: Death,
    is_spared: Callable[[Claim], bool] = lambda _: False,
) -> dict[Outcome, list[Claim]]:
    """Give back all claims that are theirs, and return them by what became of each; the `is_spared` without a death.

    One that cannot be given back is told in the log and stays: it must not hold up the others.
    """
    found: dict[Outcome, list[Claim]] = {"restored": [], "quarantined": [], "gone": []}
    for tag, claim in sorted(held(channel).items(), key=lambda item: -item[1].at):  # the oldest is put first in line
        if not is_theirs(claim):
            continue
        cause = None if is_spared(claim) else replace(death, unit=claim.unit)
        try:
            outcome = give_back(channel, tag, is_theirs=is_theirs, death=cause)
        except (DataError, TypeError, ValueError, KeyError):
            log.exception("job %s cannot be given back", claim.job)
            continue
        if outcome is not None:
            found[outcome].append(claim)
    return found


def died(kind: Literal["process", "unit", "host"], *, unit: str, host: str, detail: str) -> Death:
    """Return a death of this moment."""
    return Death(round(time.time(), 3), kind, unit, host, detail)


def _waited(message: dict[str, Any], now: float) -> bool:
    eta = (message.get("headers") or {}).get("eta")
    if not isinstance(eta, str):
        return False
    try:
        at = datetime.fromisoformat(eta)
    except ValueError:
        return False
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() > now
