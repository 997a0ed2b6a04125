"""The built-in jobs that every unit knows: they prove a fleet, load it, and need nothing of the user's app.

`run` names a load or a check: with it a job leaves a record of itself (records.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery, Task

from fleetctl.worker import records, storage
from fleetctl.worker.credentials import ConfigurationError

NOOP, SLEEP, IO, CANARY = "fleet.noop", "fleet.sleep", "fleet.io", "fleet.canary"

TABLE = """
CREATE TABLE IF NOT EXISTS fleet_load (
    run text NOT NULL, job text NOT NULL, unit text NOT NULL, host text NOT NULL, pid integer NOT NULL,
    files integer NOT NULL, committed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run, job)
)"""
_INSERT = (
    "INSERT INTO fleet_load (run, job, unit, host, pid, files) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)


PATIENCE_SECONDS = 300.0  # Postgres may be on a host that has lost its power
_RETRY_SECONDS = 1.0

T = TypeVar("T")
log = logging.getLogger(__name__)

if TYPE_CHECKING:
    _Task = Task[Any, Any]
else:
    _Task = Task  # generic in its stubs only


class BuiltIn(_Task):
    """A job with settings of its own: the app's settings, base class and annotations do not reach it."""

    abstract = True
    serializer = "json"
    acks_late = True
    reject_on_worker_lost = True
    retry_on_worker_lost = False
    ignore_result = False
    track_started = False
    rate_limit = None

    @classmethod
    def annotate(cls) -> None:
        """Leave the app's task_annotations out."""


def register(app: Celery[Any]) -> None:
    """Add the built-in jobs to the app."""

    def add(name: str, function: Any) -> None:
        app.task(name=name, base=BuiltIn, bind=True, shared=False)(function)

    add(NOOP, noop)
    add(SLEEP, sleep)
    add(IO, io)
    add(CANARY, canary)


def noop(self: BuiltIn, run: str | None = None) -> None:
    """Do nothing."""
    with recorded(self, run):
        pass


def sleep(self: BuiltIn, seconds: float, run: str | None = None) -> None:
    """Hold a slot for so long."""
    with recorded(self, run):
        time.sleep(seconds)


def canary(self: BuiltIn, sent_at: float | None = None) -> dict[str, Any]:
    """Return which process ran this, and when."""
    unit, host = who(self)
    return {"unit": unit, "host": host, "pid": os.getpid(), "sent_at": sent_at, "started_at": time.time()}


def io(self: BuiltIn, seconds: float, run: str) -> None:
    """Hold a slot and a Postgres connection for so long; publish 16 files, then commit the row that tells of them.

    A second delivery finds files and row in place and leaves them. Postgres may restart in between, and a storage that
    stalls is waited for: the pool's time limit is the bound.
    """
    import psycopg  # the parent has it already; here, so that programs that publish need not

    begun = time.monotonic()
    job = str(self.request.id)
    unit, host = who(self)
    row = (run, job, unit, host, os.getpid(), storage.FILES)
    address = _variable("DATABASE_URL")

    def connect() -> psycopg.Connection:
        return psycopg.connect(address, connect_timeout=30, tcp_user_timeout=30_000, autocommit=True)

    with recorded(self, run):
        database = patiently(connect, psycopg.OperationalError)
        try:
            storage.publish(storage.job_directory(_variable("FLEET_STORAGE"), run, job), job)
            time.sleep(max(0.0, seconds - (time.monotonic() - begun)))

            def commit() -> None:
                nonlocal database
                if database.closed:
                    database = connect()
                database.execute(_INSERT, row)

            patiently(commit, psycopg.OperationalError)
        finally:
            database.close()


def patiently(attempt: Callable[[], T], error: type[Exception], *, seconds: float = PATIENCE_SECONDS) -> T:
    """Return what `attempt` does, made again for so long while it raises `error`: a service that restarts comes back.

    What it does must bear to be done twice: the first may have been carried out without an answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except error as exc:
            if time.monotonic() >= deadline:
                raise
            log.warning("to be tried again: %s", exc)
        time.sleep(_RETRY_SECONDS)


@contextmanager
def recorded(task: BuiltIn, run: str | None) -> Iterator[None]:
    """Leave a record of this run, also of one that fails."""
    start = time.time()
    error: str | None = None
    try:
        yield
    except BaseException as exc:
        error = f"{type(exc).__name__}: {exc}"
        raise
    finally:
        if run is not None:
            unit, host = who(task)
            record = records.Record(str(task.request.id), unit, host, os.getpid(), start, time.time(), error)
            backend: Any = task.app.backend
            records.append(backend.client, records.key(_variable("FLEET_KEY_PREFIX"), run), record)


def who(task: BuiltIn) -> tuple[str, str]:
    """Return unit and host of this process: the halves of Celery's node name."""
    unit, _, host = str(task.request.hostname).partition("@")
    return unit, host


def _variable(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(f"{name} is not set on this unit") from None
