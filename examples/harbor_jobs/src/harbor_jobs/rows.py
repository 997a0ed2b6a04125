"""The rows of jobs and runs in Postgres: written so that writing them twice is writing them once.

Each piece of work has a connection and a transaction of its own, and is done again on a new one while Postgres is away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from harbor_jobs.errors import DatabaseError
from harbor_jobs.outcome import FAILED

log = logging.getLogger(__name__)

QUEUED, RUNNING = "queued", "running"
_START_SECONDS = 5.0
_LOCK = 7_361_720_449  # ours among the database's advisory locks: CREATE TABLE IF NOT EXISTS can collide with itself
_SCHEMA = """
CREATE TABLE IF NOT EXISTS harbor_jobs (
    job text PRIMARY KEY, name text NOT NULL, executor text NOT NULL, agent text NOT NULL, model text,
    runs integer NOT NULL, created_at timestamptz NOT NULL, finished_at timestamptz
);
CREATE TABLE IF NOT EXISTS harbor_runs (
    job text NOT NULL REFERENCES harbor_jobs ON DELETE CASCADE, run integer NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    reward double precision, seconds double precision, host text, unit text, attempt text, path text, error text,
    started_at timestamptz, finished_at timestamptz, PRIMARY KEY (job, run)
);
"""
_JOB = """
INSERT INTO harbor_jobs (job, name, executor, agent, model, runs, created_at)
VALUES (%(job)s, %(name)s, %(executor)s, %(agent)s, %(model)s, %(runs)s, %(created_at)s)
ON CONFLICT (job) DO UPDATE SET runs = excluded.runs"""  # an update takes the row's lock, and that is wanted
_QUEUED = "INSERT INTO harbor_runs (job, run, state) VALUES (%s, %s, 'queued') ON CONFLICT DO NOTHING"
_REQUEUED = """
UPDATE harbor_runs SET state = 'queued', host = NULL, unit = NULL, attempt = NULL, error = NULL, seconds = NULL,
    started_at = NULL, finished_at = NULL
WHERE job = %s AND run = ANY(%s) AND path IS NULL"""
# A row with a path has a published result, and nothing but the same result comes over it.
_STARTED = """
INSERT INTO harbor_runs AS r (job, run, state, host, unit, attempt, started_at)
VALUES (%(job)s, %(run)s, 'running', %(host)s, %(unit)s, %(attempt)s, %(started_at)s)
ON CONFLICT (job, run) DO UPDATE SET state = 'running', host = excluded.host, unit = excluded.unit,
    attempt = excluded.attempt, started_at = excluded.started_at, error = NULL, finished_at = NULL, seconds = NULL
WHERE r.path IS NULL"""
_SETTLED = """
INSERT INTO harbor_runs AS r
    (job, run, state, reward, seconds, host, unit, attempt, path, error, started_at, finished_at)
VALUES (%(job)s, %(run)s, %(state)s, %(reward)s, %(seconds)s, %(host)s, %(unit)s, %(attempt)s, %(path)s, %(error)s,
    %(started_at)s, %(finished_at)s)
ON CONFLICT (job, run) DO UPDATE SET state = excluded.state, reward = excluded.reward, seconds = excluded.seconds,
    host = excluded.host, unit = excluded.unit, attempt = excluded.attempt, path = excluded.path,
    error = excluded.error, started_at = excluded.started_at, finished_at = excluded.finished_at
WHERE r.path IS NULL OR excluded.path IS NOT NULL"""
_FINISHED = """
UPDATE harbor_jobs j SET finished_at = (
    SELECT max(r.finished_at) FROM harbor_runs r WHERE r.job = j.job
    HAVING count(*) FILTER (WHERE r.state IN ('done', 'failed')) >= j.runs)
WHERE j.job = %s"""
_READ_RUNS = "SELECT * FROM harbor_runs WHERE job = %s ORDER BY run"
_LIST = """
SELECT j.*, count(*) FILTER (WHERE r.state = 'queued') AS queued,
    count(*) FILTER (WHERE r.state = 'running') AS running,
    count(*) FILTER (WHERE r.state = 'done') AS done, count(*) FILTER (WHERE r.state = 'failed') AS failed,
    avg(r.reward) AS reward
FROM harbor_jobs j LEFT JOIN harbor_runs r USING (job)
WHERE %(job)s::text IS NULL OR j.job = %(job)s GROUP BY j.job ORDER BY j.created_at DESC, j.job"""

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What was submitted; also what job.json says."""

    job: str
    name: str
    executor: str
    agent: str
    model: str | None
    runs: int
    created_at: str


@dataclass(frozen=True)
class Database:
    """Postgres at `url`; work waits so long for one that is away, as it is while it starts again."""

    url: str
    seconds: float = 15.0

    def submit(self, job: Job) -> None:
        """Write the rows of a job and its runs, as queued; those that are there stay."""

        def work(connection: psycopg.Connection[Row]) -> None:
            connection.execute(_JOB, asdict(job))
            with connection.cursor() as cursor:
                cursor.executemany(_QUEUED, [(job.job, number) for number in range(1, job.runs + 1)])

        self._do(work)

    def requeue(self, job: Job, numbers: Sequence[int]) -> None:
        """Note that runs without a result are queued once more."""

        def work(connection: psycopg.Connection[Row]) -> None:
            connection.execute(_JOB, asdict(job))
            connection.execute(_REQUEUED, (job.job, list(numbers)))
            connection.execute(_FINISHED, (job.job,))

        self._do(work)

    def start(self, job: Job, started: Row) -> None:
        """Note that a run goes on, without much patience: it must not wait for this. A published result stays."""

        def work(connection: psycopg.Connection[Row]) -> None:
            connection.execute(_JOB, asdict(job))
            connection.execute(_STARTED, started)
            connection.execute(_FINISHED, (job.job,))

        self._do(work, seconds=_START_SECONDS)

    def settle(self, job: Job, *settled: Row) -> None:
        """Write what came of runs; a published result is replaced by no other outcome."""

        def work(connection: psycopg.Connection[Row]) -> None:
            connection.execute(_JOB, asdict(job))  # whoever comes next waits here, and so sees these rows
            for row in settled:
                connection.execute(_SETTLED, row)
            connection.execute(_FINISHED, (job.job,))

        self._do(work)

    def jobs(self, job: str | None = None) -> list[Row]:
        """Return the jobs with their runs' counts, the newest first, or the one."""
        return self._do(lambda connection: connection.execute(_LIST, {"job": job}).fetchall())

    def runs(self, job: str) -> list[Row]:
        """Return the rows of a job's runs, by number."""
        return self._do(lambda connection: connection.execute(_READ_RUNS, (job,)).fetchall())

    def _do(self, work: Callable[[psycopg.Connection[Row]], T], *, seconds: float | None = None) -> T:
        """Do the work in one transaction, anew while Postgres is away, up to the limit: then DatabaseError."""
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        pause = 0.2
        while True:
            try:
                with psycopg.connect(
                    self.url, row_factory=dict_row, connect_timeout=10, keepalives_idle=10, tcp_user_timeout=30_000
                ) as connection:
                    try:
                        with connection.transaction():
                            return work(connection)
                    except psycopg.errors.UndefinedTable:
                        _prepare(connection)
                        with connection.transaction():
                            return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
                if time.monotonic() + pause > deadline:
                    raise DatabaseError(
                        f"Postgres does not take the work: {_one_line(exc)}", hint="fleetctl status"
                    ) from exc
                log.warning("Postgres is away, again in %.1f s: %s", pause, _one_line(exc))
            except psycopg.Error as exc:
                raise DatabaseError(f"Postgres refused: {_one_line(exc)}") from exc
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def failed(job: str, number: int, error: str, facts: Row | None = None) -> Row:
    """Return the row of a run that failed and has no result."""
    now = datetime.now(UTC)
    empty = dict.fromkeys(("reward", "seconds", "host", "unit", "attempt", "path", "started_at"))
    return empty | (facts or {}) | {"job": job, "run": number, "state": FAILED, "error": error, "finished_at": now}


def published(result: Row, path: str) -> Row:
    """Return the row of a published result."""
    names: Sequence[str] = (
        "job", "run", "state", "reward", "seconds", "host", "unit", "attempt", "error", "started_at", "finished_at"
    )  # fmt: skip
    return {name: result.get(name) for name in names} | {"path": path}


def _prepare(connection: psycopg.Connection[Row]) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(_SCHEMA)


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())
