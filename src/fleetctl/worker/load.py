"""Put a load of built-in jobs on the fleet, watch it, and report from the jobs' own records."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

from celery import Celery, states
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004  redis-py's own names

from fleetctl.worker import claims, jobs, publish, records, storage
from fleetctl.worker.settings import Broker

OnProgress = Callable[[dict[str, Any]], None]
_POLL_SECONDS = 0.25
_TELL_SECONDS = 1.0
_LOOK_SECONDS = 5.0  # between looks at the results of jobs that left no record
_SETTLE_SECONDS = 10.0
_STORAGE_SECONDS = 120.0  # for one job's files: an NFS server that starts again lets nobody open one for 90 s
_DATABASE_SECONDS = 60.0
_PROBLEMS = 20


@dataclass(frozen=True)
class Load:
    """So many jobs of so many seconds, on one queue, given up after `timeout` seconds."""

    jobs: int
    seconds: float
    work: Literal["sleep", "io"] = "sleep"
    queue: str = "celery"
    run: str = ""
    timeout: float = 600.0
    keep: bool = False  # leave the files and rows of `io` jobs


def put(
    app: Celery[Any], broker: Broker, load: Load, *, database_url: str, storage_path: str, tell: OnProgress
) -> dict[str, Any]:
    """Run a load and return the fields of its report, with `work` and `problems` (of `io` jobs)."""
    run = load.run or str(uuid.uuid4())
    ids = [str(uuid.uuid4()) for _ in range(load.jobs)]
    if load.work == "io":
        _make_table(database_url)
    name = jobs.IO if load.work == "io" else jobs.SLEEP
    watch = Watch(app, broker, run, load.queue, tell)
    submitted_at = time.time()
    deadline = time.monotonic() + load.timeout
    # They expire: a load that is given up, or interrupted, leaves nothing in the queue that would still run.
    kwargs = {"seconds": load.seconds, "run": run}
    publish.submit(app, name, ids, queue=load.queue, kwargs=kwargs, expires_seconds=load.timeout)
    failed = watch.wait(ids, deadline)
    report = records.summarise(
        ids, watch.records, failed_elsewhere=failed, quarantined=watch.quarantined, died=watch.died(ids),
        submitted_at=submitted_at,
    )  # fmt: skip
    problems: tuple[str, ...] = ()
    if load.work == "io":
        done = sorted({record.id for record in watch.records if record.error is None} & set(ids))
        problems = _verify(run, done, database_url, storage_path)
        if not load.keep:
            _remove(run, database_url, storage_path)
    return report | {"work": load.work, "problems": list(problems)}


class Watch:
    """The records of one run as they come, and the story told from them."""

    def __init__(self, app: Celery[Any], broker: Broker, run: str, queue: str, tell: OnProgress) -> None:
        self.records: list[records.Record] = []
        self.quarantined: set[str] = set()
        backend: Any = app.backend  # its stubs know no Redis
        self._backend = backend
        self._client = backend.client
        self._prefix = broker.key_prefix
        self._key = records.key(broker.key_prefix, run)
        self._queue = queue
        self._tell = tell

    def wait(self, ids: Sequence[str], deadline: float) -> set[str]:
        """Collect records until every job has ended or the deadline is past; return the ids that failed without one.

        Redis may go away in between: only at the deadline that is an error.
        """
        open_ids = set(ids)
        failed: set[str] = set()
        next_tell = next_look = 0.0
        while True:
            now = time.monotonic()
            try:
                self._collect()
                open_ids -= {record.id for record in self.records}
                if now >= next_look:
                    failed |= self._failed(open_ids)
                    self.quarantined |= self._kept_out(open_ids)
                    next_look = now + _LOOK_SECONDS
                open_ids -= failed | self.quarantined
                is_over = not open_ids or now >= deadline
                if is_over or now >= next_tell:
                    self._story(len(ids), len(open_ids), failed)
                    next_tell = now + _TELL_SECONDS
                if is_over:
                    self._settle(set(ids), min(deadline, now + _SETTLE_SECONDS))
                    return failed
            except (ConnectionError, TimeoutError):
                if now >= deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    def died(self, ids: Sequence[str]) -> set[str]:
        """Return the jobs whose process, unit or host died under them at least once."""
        pipe = self._client.pipeline(transaction=False)
        for job in ids:
            pipe.exists(self._prefix + claims.deaths_key(job))
        return {job for job, has_died in zip(ids, pipe.execute(), strict=True) if has_died}

    def _kept_out(self, ids: set[str]) -> set[str]:
        return ids & {key.decode() for key in self._client.hkeys(self._prefix + claims.QUARANTINE)} if ids else set()

    def _collect(self) -> None:
        self.records.extend(records.fetch(self._client, self._key, len(self.records)))

    def _failed(self, ids: set[str]) -> set[str]:
        """Return the jobs that Celery says have failed: killed at a time limit, or lost too often."""
        ordered = sorted(ids)
        values = self._client.mget([self._backend.get_key_for_task(job) for job in ordered]) if ordered else []
        ended = {states.FAILURE, states.REVOKED}
        return {
            job for job, value in zip(ordered, values, strict=True) if value and json.loads(value)["status"] in ended
        }

    def _settle(self, ids: set[str], deadline: float) -> None:
        """Wait until no delivery of these jobs is open: a second run of a job that is done would still come."""
        while time.monotonic() < deadline:
            deliveries = [json.loads(value)[0] for value in self._client.hvals(f"{self._prefix}unacked")]
            if not any(delivery["headers"].get("id") in ids for delivery in deliveries):
                break
            time.sleep(_POLL_SECONDS)
        self._collect()

    def _story(self, submitted: int, still_open: int, failed: set[str]) -> None:
        queued = int(self._client.llen(f"{self._prefix}{self._queue}"))
        done = {record.id for record in self.records if record.error is None}
        bad = (failed | {record.id for record in self.records}) - done
        running = max(0, still_open - queued)
        self._tell({"submitted": submitted, "running": running, "done": len(done), "failed": len(bad)})


def _make_table(database_url: str) -> None:
    _execute(database_url, jobs.TABLE, seconds=0)


def _verify(run: str, done: Sequence[str], database_url: str, storage_path: str) -> tuple[str, ...]:
    import psycopg

    problems = []
    try:
        found = _execute(database_url, "SELECT job FROM fleet_load WHERE run = %s", run, seconds=_DATABASE_SECONDS)
        rows = {str(row[0]) for row in found}
        problems += [f"job {job}: no row in fleet_load" for job in done if job not in rows]
        problems += storage.in_child(storage.missing, storage_path, run, done, seconds=_STORAGE_SECONDS)
    except (storage.StorageError, OSError) as exc:
        problems.append(f"storage: {exc}")
    except psycopg.OperationalError as exc:
        problems.append(f"postgres: {' '.join(str(exc).split())}")
    more = len(problems) - _PROBLEMS
    return (*problems[:_PROBLEMS], *([f"and {more} more"] if more > 0 else []))


def _remove(run: str, database_url: str, storage_path: str) -> None:
    import psycopg

    # The report does not depend on it.
    with contextlib.suppress(psycopg.OperationalError, storage.StorageError, OSError):
        _execute(database_url, "DELETE FROM fleet_load WHERE run = %s", run, seconds=_DATABASE_SECONDS)
        storage.in_child(storage.remove, storage_path, run, seconds=_STORAGE_SECONDS)


def _execute(database_url: str, statement: LiteralString, *values: str, seconds: float) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that bears to be done twice, waiting so long for a Postgres that starts again."""
    import psycopg

    def attempt() -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url, connect_timeout=10, tcp_user_timeout=30_000) as database:
            cursor = database.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    return jobs.patiently(attempt, psycopg.OperationalError, seconds=seconds)
