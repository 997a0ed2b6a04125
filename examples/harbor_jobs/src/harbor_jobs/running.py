"""One run, from its message to its result: once published, it is not run again, only its rows are written."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from harbor_jobs import harbor, layout, local, publication, rows, taskfile
from harbor_jobs.errors import DatabaseError, JobError
from harbor_jobs.log import Log
from harbor_jobs.outcome import Outcome
from harbor_jobs.rows import Database, Job

log = logging.getLogger(__name__)

DATABASE_SECONDS = 300.0  # how long a run that has its result waits for Postgres
_SCRATCH = "harbor-run-"
_FORGET_SECONDS = 300


@dataclass(frozen=True)
class Place:
    """Where runs of this worker happen, and who it says it is."""

    jobs: Path
    database: Database
    host: str
    unit: str
    scratch: Path | None = None  # the system's place for temporary files when absent


def place(environ: Mapping[str, str], hostname: str) -> Place:
    """Return this worker's place; `hostname` is Celery's name of it, unit@host."""
    unit, _, host = hostname.partition("@")
    scratch = environ.get("HARBOR_JOBS_SCRATCH")
    return Place(
        Path(layout.variable(environ, "JOBS_DIR")),
        Database(layout.variable(environ, "DATABASE_URL"), DATABASE_SECONDS),
        environ.get("FLEET_HOST") or host,
        environ.get("FLEET_UNIT") or unit,
        Path(scratch) if scratch else None,
    )


def perform(where: Place, job_id: str, number: int) -> dict[str, Any]:
    """Return the run's result, having run it unless it is there; JobError where there is none and it may run again."""
    directory = layout.job_directory(where.jobs, job_id)
    job = describe(directory)
    if publication.find(directory, number) is None:
        _run(where, job, directory, number)
    return _settle(where, job, directory, number)


def describe(directory: Path) -> Job:
    """Return what job.json says; JobError where the job has none."""
    try:
        return Job(**json.loads((directory / layout.DESCRIPTION).read_bytes()))
    except (OSError, ValueError, TypeError) as exc:
        raise JobError(f"{directory.name} is not a job: {layout.DESCRIPTION}: {exc}") from exc


def _run(where: Place, job: Job, directory: Path, number: int) -> None:
    attempt = layout.new_attempt()
    began, started = time.monotonic(), datetime.now(UTC).isoformat()
    facts = {"job": job.job, "run": number, "host": where.host, "unit": where.unit, "attempt": attempt}
    facts["started_at"] = started
    try:
        with contextlib.suppress(DatabaseError):  # the run matters, and its result will tell when it began
            where.database.start(job, facts)
        with _scratch(where, job) as scratch:
            trial = scratch / "result" / layout.trial_name(job.job, number)
            for name in ("agent", "verifier"):
                (trial / name).mkdir(parents=True)
            with Log(trial / layout.LOG, layout.live_log(directory, number, attempt)) as output:
                try:
                    output.say(f"run {number} of {job.job} on {where.host}, unit {where.unit}, executor {job.executor}")
                    outcome = _execute(job, directory / layout.TASK, scratch, trial, output)
                    output.say(
                        f"reward {outcome.reward}, {outcome.state}" + (f": {outcome.error}" if outcome.error else "")
                    )
                    ended = {
                        "state": outcome.state, "reward": outcome.reward, "rewards": dict(outcome.rewards),
                        "seconds": round(time.monotonic() - began, 3), "exit_codes": dict(outcome.exit_codes),
                        "error": outcome.error, "executor": job.executor, "finished_at": datetime.now(UTC).isoformat(),
                    }  # fmt: skip
                    _publish(directory, number, attempt, trial, facts | ended)
                finally:
                    output.remove()
    except Exception as exc:
        if publication.find(directory, number) is not None:  # whatever came after that
            log.warning("run %s of %s has its result, and then: %r", number, job.job, exc)
            return
        error = str(exc) if isinstance(exc, JobError) else f"{type(exc).__name__}: {exc}"
        facts["seconds"] = round(time.monotonic() - began, 3)
        try:
            where.database.settle(job, rows.failed(job.job, number, error, facts))
        except DatabaseError as refused:
            log.error("run %s of %s: no row tells of its failure: %s", number, job.job, refused)
        raise


def _publish(directory: Path, number: int, attempt: str, trial: Path, result: dict[str, Any]) -> None:
    try:
        publication.publish(directory, number, attempt, trial, result)
    except SoftTimeLimitExceeded:
        # It comes once, and the run is over: a storage that takes its time is waited for up to the pool's hard limit.
        publication.publish(directory, number, attempt, trial, result)


def _execute(job: Job, source: Path, scratch: Path, trial: Path, output: Log) -> Outcome:
    try:
        task = taskfile.read(source, executor=job.executor, agent=job.agent)
        if job.executor == taskfile.HARBOR:
            return harbor.run(source, scratch, trial, output, agent=job.agent, model=job.model)
        return local.run(task, source, scratch, trial, output)
    except SoftTimeLimitExceeded:
        return Outcome({}, {}, "ended at the pool's soft time limit: give the pool more, or the task less")


def _settle(where: Place, job: Job, directory: Path, number: int) -> dict[str, Any]:
    found = publication.find(directory, number)
    if found is None:
        raise JobError(f"run {number} of {job.job} has no result: somebody removed it")
    path, result = found
    publication.sweep(directory, number)
    where.database.settle(job, rows.published(result, str(path)))
    return result


@contextlib.contextmanager
def _scratch(where: Place, job: Job) -> Iterator[Path]:
    """Yield an empty directory of this run's, not on the shared storage; remove those of processes that are gone."""
    base = where.scratch
    if base is None and job.executor == taskfile.HARBOR and (state := os.environ.get("STATE_DIRECTORY")):
        # Docker mounts a trial's directories: a unit's own /tmp is not the /tmp that Docker sees.
        base = Path(state.partition(":")[0])
    root = Path(base or tempfile.gettempdir())
    for old in root.glob(f"{_SCRATCH}*"):
        pid = old.name.removeprefix(_SCRATCH).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            _forget(old)
    made = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-", dir=root))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _forget(scratch: Path) -> None:
    """Remove what a dead process left, minutes after it was first seen: Harbor may still be taking containers down."""
    mark = scratch / ".dead"
    with contextlib.suppress(OSError):
        if not mark.exists():
            mark.touch()
        elif time.time() - mark.stat().st_mtime > _FORGET_SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)
