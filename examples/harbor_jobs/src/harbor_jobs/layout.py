"""Where a job's files are: `JOBS_DIR/<job>/`, shared by all hosts.

task/                      the task: task.toml, tests/, solution/, ...
job.json                   what was submitted
job_run_3/task__ab12cd3/   the result of run 3: trial.log, agent/, verifier/, result.json; appears whole, once
.job_run_3.<attempt>/      a result that is being written, or that died half-way
.job_run_3.<attempt>.log   trial.log of a run that goes on
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from harbor_jobs.errors import UsageError

JOB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TASK, DESCRIPTION, RESULT, LOG = "task", "job.json", "result.json", "trial.log"


def variable(environ: Mapping[str, str], name: str) -> str:
    """Return a variable of the fleet's; UsageError where it is not set."""
    if not (value := environ.get(name)):
        raise UsageError(
            f"{name} is not set", hint="run it by `fleet-app harbor-jobs ...` on a client or worker of the fleet"
        )
    return value


def job_directory(jobs: Path, job: str) -> Path:
    """Return a job's directory; UsageError for a name that is none, so that no name leads elsewhere."""
    if not JOB.fullmatch(job):
        raise UsageError(f"{job!r} is not the name of a job", hint="harbor-jobs list")
    return jobs / job


def new_job(name: str) -> str:
    """Return an unused job id that begins with what `name` looks like in lower case."""
    plain = "-".join(re.findall("[a-z0-9]+", name.lower()))[:40].rstrip("-")
    return f"{plain or 'job'}-{uuid.uuid4().hex[:8]}"


def message_id(job: str, number: int) -> str:
    """Return the id of the run's Celery job: the same each time, so that queueing it twice makes no second run."""
    return f"{job}-run-{number}"


def trial_name(job: str, number: int) -> str:
    """Return `task__<hash>`, the same for each attempt at a run: Harbor names its containers after it."""
    return f"task__{hashlib.sha256(f'{job}/{number}'.encode()).hexdigest()[:7]}"


def run_directory(directory: Path, number: int) -> Path:
    """Return where the run's result is, or will be."""
    return directory / f"job_run_{number}"


def new_attempt() -> str:
    """Return a name for one attempt at a run, which no other has, on any host."""
    return f"{os.uname().nodename.partition('.')[0]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def temporary(directory: Path, number: int, attempt: str) -> Path:
    """Return where an attempt writes its result before it is whole."""
    return directory / f".job_run_{number}.{attempt}"


def live_log(directory: Path, number: int, attempt: str) -> Path:
    """Return where trial.log of an attempt grows."""
    return directory / f".job_run_{number}.{attempt}.log"


def leftovers(directory: Path, number: int) -> Iterator[Path]:
    """Yield what attempts at a run have written and not published."""
    yield from directory.glob(f".job_run_{number}.*")


def live_logs(directory: Path, number: int) -> list[Path]:
    """Return the growing logs of a run, the newest last."""
    found = []
    for path in directory.glob(f".job_run_{number}.*.log"):
        try:
            found.append((path.stat().st_mtime, path))
        except FileNotFoundError:  # its run has just ended
            continue
    return [path for _, path in sorted(found)]


def attempt_of(log: Path, number: int) -> str:
    """Return the attempt that writes this growing log."""
    return log.name.removeprefix(f".job_run_{number}.").removesuffix(".log")
