"""Jobs in quarantine: their workers died under them too often to try again by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetctl.model import Host
from fleetctl.ports import Fleet
from fleetctl.workflows.agent import Answer, ask_any


@dataclass(frozen=True)
class Death:
    """How a worker died under a job. `kind`: "process" (of a slot), "unit" or "host"; `at`: seconds since the epoch."""

    at: float
    kind: str
    unit: str
    host: str
    detail: str


@dataclass(frozen=True)
class Quarantined:
    """One job with its evidence. `message` is what it was called with; shown for single jobs alone."""

    job: str
    task: str
    queue: str
    at: float
    deaths: tuple[Death, ...]
    message: Any = None


@dataclass(frozen=True)
class Released:
    """What became of the jobs that were to leave."""

    released: tuple[str, ...]
    unknown: tuple[str, ...]


def listed(fleet: Fleet, helpers: Sequence[Host]) -> tuple[Quarantined, ...]:
    """Return all jobs in quarantine, without their messages."""
    return tuple(_job(value) for value in _ask(fleet, helpers, "list")["jobs"])


def shown(fleet: Fleet, helpers: Sequence[Host], job: str) -> Quarantined:
    """Return one job. Raises FleetError when it is not in quarantine."""
    return _job(_ask(fleet, helpers, "show", [job])["jobs"][0])


def released(fleet: Fleet, helpers: Sequence[Host], jobs: Sequence[str]) -> Released:
    """Put jobs back into their queues."""
    answer = _ask(fleet, helpers, "release", jobs)
    return Released(tuple(answer["released"]), tuple(answer["unknown"]))


def _ask(fleet: Fleet, helpers: Sequence[Host], operation: str, jobs: Sequence[str] = ()) -> Answer:
    request = {"command": "quarantine", "operation": operation, "redis_url": fleet.redis_url("worker")}
    return ask_any(fleet.remote, helpers, request | ({"jobs": list(jobs)} if jobs else {}))


def _job(value: Answer) -> Quarantined:
    deaths = tuple(Death(**{key: death[key] for key in Death.__dataclass_fields__}) for death in value["deaths"])
    return Quarantined(value["job"], value["task"], value["queue"], value["at"], deaths, value.get("message"))
