"""Looks at the broker, and requests to change what is in it, through the agent of a host that carries the app.

`helpers` are the hosts to ask, the preferred ones first (agent.with_app). They need not be known to answer: the first
is asked at once, and the others only when it cannot say or is silent; so that a dead host costs little time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetctl.core import survey as core
from fleetctl.core.survey import Survey
from fleetctl.errors import ConnectError, FleetError
from fleetctl.model import Host
from fleetctl.ports import Fleet
from fleetctl.workflows.agent import Answer, answering, ask

_ANSWER_SECONDS = 30  # a host under load takes seconds to start an agent
_PATIENCE_SECONDS = 5.0
_AUDIT_SECONDS = 15.0  # it looks twice, some seconds apart
_UNKNOWN = "no such command"  # what an agent says of a request that it does not know
READER, WRITER = "monitor", "worker"  # users of Redis


@dataclass(frozen=True)
class Audit:
    """The books of jobs, since `since` (epoch, None: nothing was counted yet); `unrecorded` ended without having been
    recorded as submitted. `balance` is 0 when submitted jobs are all accounted for; above, so many are missing."""

    submitted: int
    done: int
    failed: int
    revoked: int
    purged: int
    unrecorded: int
    open: int
    queued: int
    reserved: int
    running: int
    scheduled: int
    stranded: int
    quarantined: int
    balance: int
    since: float | None
    orphans: tuple[Orphan, ...] = ()

    @property
    def is_ok(self) -> bool:
        return not self.orphans and self.balance == 0


@dataclass(frozen=True)
class Orphan:
    """A job that was submitted and is nowhere. Without its message it cannot be put back."""

    job: str
    task: str = ""
    queue: str = ""
    at: float | None = None
    has_message: bool = False


@dataclass(frozen=True)
class Requeued:
    """What became of the orphans that were to run again."""

    requeued: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def survey(fleet: Fleet, helpers: Sequence[Host]) -> Survey:
    """Return one look at the fleet's queues and units. Raises FleetError when no host can say."""
    queues = list(dict.fromkeys(queue for pool in fleet.spec.pools.values() for queue in pool.queues))
    return core.parse(request(fleet, helpers, {"command": "survey", "queues": queues}))


def strays(fleet: Fleet, helpers: Sequence[Host]) -> Mapping[str, int]:
    """Return all lists of jobs under the fleet's prefix, by queue: among them those that nobody serves."""
    found = request(fleet, helpers, {"command": "strays"})["queues"]
    return {str(name): int(length) for name, length in found.items()}


def services(fleet: Fleet, helpers: Sequence[Host]) -> Answer:
    """Return what Postgres and Redis say of themselves: {"postgres": {...}, "redis": {...}}."""
    return request(fleet, helpers, {"command": "services"})


def canary(
    fleet: Fleet, helpers: Sequence[Host], units: Sequence[str], *, timeout: float
) -> Mapping[str, float | None]:
    """Return how many seconds a job took that was sent to each of these units (unit@host); None: it did not end."""
    asked = {"command": "canary", "units": list(units), "timeout": timeout}
    return dict(request(fleet, helpers, asked, user=WRITER)["answers"])


def audit(fleet: Fleet, helpers: Sequence[Host]) -> Audit:
    """Return the books of jobs."""
    answer = request(fleet, helpers, {"command": "audit"}, patience=_AUDIT_SECONDS)
    counts = {
        name: int(answer.get(name) or 0) for name in Audit.__dataclass_fields__ if name not in ("since", "orphans")
    }
    known = Orphan.__dataclass_fields__
    orphans = ({key: value for key, value in orphan.items() if key in known} for orphan in answer.get("orphans", ()))
    return Audit(**counts, since=answer.get("since"), orphans=tuple(Orphan(**orphan) for orphan in orphans))


def requeue(fleet: Fleet, helpers: Sequence[Host], jobs: Sequence[str]) -> Requeued:
    """Put orphans back into their queues; what is no orphan any more is left alone."""
    answer = request(fleet, helpers, {"command": "requeue", "jobs": list(jobs)}, user=WRITER)
    return Requeued(tuple(answer["requeued"]), tuple(answer["unknown"]))


def purge(fleet: Fleet, helpers: Sequence[Host], queue: str) -> int:
    """Remove what waits in a queue; return how many jobs."""
    return int(request(fleet, helpers, {"command": "purge", "queue": queue}, user=WRITER)["removed"])


def move(fleet: Fleet, helpers: Sequence[Host], source: str, target: str, *, count: int | None = None) -> int:
    """Move waiting jobs, the oldest first, to another queue; return how many. `count` None: all."""
    asked = {"command": "move", "from": source, "to": target, "count": count}
    return int(request(fleet, helpers, asked, user=WRITER)["moved"])


def drain(fleet: Fleet, helpers: Sequence[Host], keys: Sequence[str], *, by: str) -> Mapping[str, Any]:
    """Drain hosts, pools or units (core.survey.Drain.key); return all drains after it."""
    asked = {"command": "drain", "keys": list(keys), "by": by}
    return dict(request(fleet, helpers, asked, user=WRITER)["drains"])


def undrain(fleet: Fleet, helpers: Sequence[Host], keys: Sequence[str]) -> Mapping[str, Any]:
    """Undo drains; return all that are left."""
    return dict(request(fleet, helpers, {"command": "undrain", "keys": list(keys)}, user=WRITER)["drains"])


def job(fleet: Fleet, helpers: Sequence[Host], name: str) -> Answer:
    """Return what is known of one job: its events, claim, deaths and result."""
    return request(fleet, helpers, {"command": "job", "job": name})


def request(
    fleet: Fleet,
    helpers: Sequence[Host],
    asked: Mapping[str, Any],
    *,
    user: str = READER,
    patience: float = _PATIENCE_SECONDS,
) -> Answer:
    """Return the answer of a helper that can give it, as this user of Redis. Raises FleetError when none can.

    A look is asked of the next helper too when one has been silent for `patience` seconds. A change is asked of one
    that answers, and not again when its answer did not come: it may have been made.
    """
    full = dict(asked) | {"redis_url": fleet.redis_url(user)}
    if not helpers:
        raise ConnectError("no host that carries the app runs", hint="fleetctl status")
    if user == READER:
        return _look(fleet, helpers, full, patience)
    return _change(fleet, answering(fleet.remote, helpers[:1]) or answering(fleet.remote, helpers[1:]), full)


def _look(fleet: Fleet, helpers: Sequence[Host], full: Mapping[str, Any], patience: float) -> Answer:
    """Ask one helper after the other, without waiting for the end of one that is silent."""
    ended: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def ask_one(host: Host) -> None:
        try:
            ended.put(_ask(fleet, host, full))
        except Exception as error:  # it is raised where it is read
            ended.put(error)

    left, pending, errors = list(helpers), 0, []
    while left or pending:
        if left:
            # A daemon: the command ends when it has its answer, whatever a dead host's connection still waits for.
            threading.Thread(target=ask_one, args=(left.pop(0),), daemon=True).start()
            pending += 1
        try:
            found = ended.get(timeout=patience if left else None)
        except queue.Empty:
            continue
        pending -= 1
        if not isinstance(found, Exception):
            return found
        if not isinstance(found, FleetError):
            raise found
        errors.append(found)
    raise next((error for error in errors if not isinstance(error, ConnectError)), errors[0])


def _change(fleet: Fleet, hosts: Sequence[Host], full: Mapping[str, Any]) -> Answer:
    """Ask hosts that answer, one after the other, until one can; after a broken connection no other."""
    last: FleetError = ConnectError("no host that carries the app answers", hint="fleetctl status")
    for host in hosts:
        try:
            return _ask(fleet, host, full)
        except ConnectError:
            raise
        except FleetError as error:  # half set up, or of a release without this command
            last = error
    raise last


def _ask(fleet: Fleet, host: Host, full: Mapping[str, Any]) -> Answer:
    try:
        return ask(fleet.remote, host, full, timeout=_ANSWER_SECONDS + float(full.get("timeout", 0)))
    except ConnectError:
        raise
    except FleetError as error:
        if _UNKNOWN in error.message:
            message = f"{host.name} carries another release, whose agent does not know {full['command']!r}"
            raise FleetError(message, hint="fleetctl deploy") from error
        raise
