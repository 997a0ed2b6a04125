"""Jobs that are kept out of their queues: they died three times, and would take more processes or hosts with them."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery import states

from fleetctl.worker import claims, ledger

if TYPE_CHECKING:
    from celery import Celery

#: The job's state in the result backend; not a final one, so whoever waits for its result goes on waiting.
STATE = "QUARANTINED"

log = logging.getLogger(__name__)


class UnknownJobError(RuntimeError):
    """A job that is not in quarantine was asked for."""


def mark(app: Celery[Any], job: str) -> None:
    """Make quarantine the job's state; a failure to do so is logged only, since the job itself is safe."""
    try:
        app.backend.store_result(job, {"reason": f"died {claims.MAX_DEATHS} times"}, STATE)
    except Exception:
        log.exception("the state of job %s, which is in quarantine, could not be stored", job)


def records(channel: Any) -> list[dict[str, Any]]:
    """Return all jobs in quarantine with their messages, the oldest first."""
    with channel.conn_or_acquire() as client:
        found = client.hvals(channel.global_keyprefix + claims.QUARANTINE)
    return sorted((json.loads(text) for text in found), key=lambda record: record["at"])


def listed(channel: Any) -> list[dict[str, Any]]:
    """Return what is known of each job in quarantine, without its message."""
    return [{name: record[name] for name in ("job", "task", "queue", "at", "deaths")} for record in records(channel)]


def show(channel: Any, jobs: Sequence[str]) -> list[dict[str, Any]]:
    """Return jobs with their messages decoded; UnknownJobError names those that are not in quarantine."""
    known = {record["job"]: record for record in records(channel)}
    if unknown := [job for job in jobs if job not in known]:
        raise UnknownJobError(f"not in quarantine: {', '.join(unknown)}")
    return [known[job] | {"message": decoded(known[job]["message"])} for job in jobs]


def decoded(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message's headers, and its arguments as JSON, or where they are none as their repr."""
    headers = message.get("headers") or {}
    shown = {"headers": headers, "args": headers.get("argsrepr"), "kwargs": headers.get("kwargsrepr")}
    if message.get("content-type") == "application/json":
        try:
            body = message["body"]
            if message["properties"].get("body_encoding") == "base64":
                body = base64.b64decode(body)
            args, kwargs, _ = json.loads(body)
        except (ValueError, TypeError, KeyError):
            return shown
        shown |= {"args": args, "kwargs": kwargs}
    return shown


def release(channel: Any, app: Celery[Any], jobs: Sequence[str]) -> dict[str, list[str]]:
    """Put jobs back into their queues, their deaths forgotten; return which were released and which are unknown."""
    answer: dict[str, list[str]] = {"released": [], "unknown": []}
    for job in dict.fromkeys(jobs):
        answer["released" if _release(channel, app, job) else "unknown"].append(job)
    return answer


def _release(channel: Any, app: Celery[Any], job: str) -> bool:
    with channel.conn_or_acquire() as client:
        if not client.hexists(channel.global_keyprefix + claims.QUARANTINE, job):
            return False
        app.backend.store_result(job, None, states.PENDING)  # before a unit can say that it has begun

        def move(pipe: Any) -> None:
            text = pipe.hget(claims.QUARANTINE, job)
            pipe.multi()
            if text is not None:  # else another release was first
                record = json.loads(text)
                pipe.hdel(claims.QUARANTINE, job)
                pipe.delete(claims.deaths_key(job))
                claims.enqueue(channel, pipe, record["queue"], record["message"], is_last=True)
                at = round(time.time(), 3)
                told = ledger.event(channel.global_keyprefix, "released", job=job, queue=record["queue"], at=at)
                pipe.execute_command(*told)

        client.transaction(move, claims.QUARANTINE)
    return True
