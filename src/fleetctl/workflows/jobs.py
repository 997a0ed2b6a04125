"""jobs, job and top: what runs where, one job's way through the fleet, and the fleet at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetctl.core.survey import Survey
from fleetctl.errors import FleetError, UsageError
from fleetctl.model import Host
from fleetctl.ports import Fleet
from fleetctl.workflows import survey as broker

_WHOLE = 36  # characters of the ids that Celery gives
_FEWEST = 4  # characters of an id that are looked for as its beginning


@dataclass(frozen=True)
class Job:
    """One job that runs. `since`: epoch seconds, None when the unit does not know; `is_silent`: its unit's heartbeat is
    stale, so that nobody knows whether it still runs."""

    job: str
    task: str
    queue: str
    unit: str
    host: str
    since: float | None
    seconds: float | None
    is_silent: bool = False


@dataclass(frozen=True)
class Step:
    """One thing that happened to a job. `at`: seconds since the epoch."""

    at: float
    event: str
    unit: str = ""
    host: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Story:
    """One job's way: its steps in time order, who holds it now, and what came of it."""

    job: str
    task: str = ""
    queue: str = ""
    state: str = ""
    steps: tuple[Step, ...] = ()
    holder: str | None = None  # unit@host
    is_quarantined: bool = False
    result_state: str | None = None


def running(look: Survey) -> tuple[Job, ...]:
    """Return the jobs that run, the longest first; those whose start is not known last."""
    found = [
        Job(
            job.id, job.task, job.queue, beat.unit, beat.host, job.started,
            max(0.0, look.now - job.started) if job.started is not None else None, not look.is_live(beat),
        )
        for beat in look.units
        for job in beat.jobs
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda job: (job.since is None, job.since or 0.0, job.job)))


def chosen(jobs: Iterable[Job], *, units: frozenset[tuple[str, str]] | None, queue: str | None) -> tuple[Job, ...]:
    """Return the jobs of these units (unit, host) and this queue; None: of all."""
    return tuple(
        job
        for job in jobs
        if (units is None or (job.unit, job.host) in units) and (queue is None or job.queue == queue)
    )


def full_id(text: str, look: Survey) -> str:
    """Return the id that a text means; of a running job its beginning. Raises UsageError when it fits several."""
    if len(text) >= _WHOLE:
        return text
    fits = sorted({job.id for beat in look.units for job in beat.jobs if job.id.startswith(text)})
    if len(fits) == 1 and len(text) >= _FEWEST:
        return fits[0]
    if len(fits) > 1 and text not in fits:
        raise UsageError(f"{len(fits)} running jobs begin with {text}", hint=f"one of: {', '.join(fits[:5])}")
    return text


def story(fleet: Fleet, helpers: Sequence[Host], text: str) -> Story:
    """Return one job's way. Raises FleetError when nothing is known of it."""
    name = text if len(text) >= _WHOLE else full_id(text, broker.survey(fleet, helpers))
    found = told(broker.job(fleet, helpers, name), name)
    if not found.steps and not found.state and found.holder is None and not found.is_quarantined:
        hint = "fleetctl jobs; of jobs that ended, events and results are kept for a while"
        raise FleetError(f"nothing is known of job {text}", hint=hint)
    return found


def told(answer: Mapping[str, Any], name: str) -> Story:
    """Return the story of an agent's answer; deaths are among its steps."""
    steps = [_step(event, str(event.get("event") or "")) for event in answer.get("events") or ()]
    seen = {(round(step.at), step.unit) for step in steps if step.event == "died"}
    for death in answer.get("deaths") or ():
        step = _step(death, "died")
        if (round(step.at), step.unit) not in seen:
            steps.append(step)
    claim = answer.get("claim") or {}
    return Story(
        job=str(answer.get("job") or name),
        task=str(answer.get("task") or ""),
        queue=str(answer.get("queue") or ""),
        state=_state(answer),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        holder=f"{claim['unit']}@{claim['host']}" if claim.get("unit") else None,
        is_quarantined=bool(answer.get("quarantined")),
        result_state=answer.get("result_state"),
    )


def _state(answer: Mapping[str, Any]) -> str:
    state = str(answer.get("state") or "")
    return "" if state == "unknown" else state


def _step(value: Mapping[str, Any], event: str) -> Step:
    text = {key: str(value.get(key) or "") for key in ("unit", "host", "detail")}
    return Step(float(value.get("at") or 0.0), event, **text)
