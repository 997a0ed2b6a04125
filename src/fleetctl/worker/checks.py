"""Does this host reach what its units need, and do its units work? Each answer is a claim that was tried.

A right credential is tried before a wrong one: a service that is down refuses everything, which proves nothing.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from fleetctl.worker import records
from fleetctl.worker.settings import Broker

if TYPE_CHECKING:
    from celery import Celery

SERVICE_SECONDS = 10.0
_STATE = "ActiveState,SubState,Result,NRestarts,Job"
_RESTARTS = 3  # of a unit that ends again whenever it is started


@dataclass(frozen=True)
class Check:
    """One claim: whether it holds, what was seen, and what to do when it does not."""

    name: str
    is_ok: bool
    detail: str
    fix: str | None = None


class RefusedError(Exception):
    """The service answered, and it did not let us in."""


def with_password(url: str, password: str | None) -> str:
    """Return the URL with another password, or without one."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    login = user if password is None else f"{user}:{password}"
    return urlunsplit(parts._replace(netloc=f"{login}@{address}" if login else address))


def service(name: str, url: str, enter: Callable[[str], None], *, try_wrong: bool) -> list[Check]:
    """Check that a service lets in the fleet's credentials, and with `try_wrong` neither a wrong password nor none."""
    where = urlsplit(url).netloc.rpartition("@")[2]
    right = f"{name} accepts the fleet's credentials"
    try:
        enter(url)
    except RefusedError as exc:
        fix = f"put the service's password in the fleet's secrets, then: fleetctl deploy --converge ({name} at {where})"
        return [Check(right, False, f"{where}: {exc}", fix)]
    except Exception as exc:
        fix = f"see whether {name} runs on {where} and listens to this host"
        return [Check(right, False, f"{where}: {type(exc).__name__}: {_first_line(exc)}", fix)]
    checks = [Check(right, True, where)]
    if try_wrong:
        for label, password in (("a wrong password", secrets.token_hex(8)), ("no password", None)):
            checks.append(_refuses(name, where, label, with_password(url, password), enter))
    return checks


def _refuses(name: str, where: str, label: str, url: str, enter: Callable[[str], None]) -> Check:
    claim = f"{name} refuses {label}"
    try:
        enter(url)
    except RefusedError as exc:
        return Check(claim, True, str(exc))
    except Exception as exc:
        return Check(claim, False, f"{where}: {type(exc).__name__}: {_first_line(exc)}", f"see whether {name} runs")
    return Check(claim, False, f"{where} let us in with {label}", f"look at the access rules of {name} on {where}")


def enter_postgres(url: str) -> None:
    """Log in and ask for one row; RefusedError when the credentials are not accepted."""
    import psycopg

    try:
        # no file of passwords: libpq must not find one that the address does not have
        with psycopg.connect(url, connect_timeout=int(SERVICE_SECONDS), passfile="/nonexistent") as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as exc:
        text = str(exc)
        if "authentication failed" in text or "no password supplied" in text or "no pg_hba.conf entry" in text:
            raise RefusedError(_first_line(exc)) from exc
        raise


def enter_redis(url: str, *, ca_file: str | None = None) -> None:
    """Log in and ping; RefusedError when the credentials are not accepted."""
    import redis

    if urlsplit(url).password is None:  # a name alone would be sent as a login, and refused for that
        url = urlunsplit(urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]))
    tls = {"ssl_ca_certs": ca_file} if ca_file and url.startswith("rediss:") else {}
    client = redis.Redis.from_url(url, socket_timeout=SERVICE_SECONDS, socket_connect_timeout=SERVICE_SECONDS, **tls)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
        raise RefusedError(_first_line(exc)) from exc
    finally:
        client.close()


def units(app: Celery[Any], broker: Broker, names: Sequence[str], *, seconds: float) -> list[Check]:
    """Check that each unit of this host runs a job sent to it alone, within `seconds` for all of them.

    A unit all of whose slots are taken by other jobs cannot: it counts as good when it answers and says so. One that
    systemd says is stopped is not waited for.
    """
    from celery.utils.nodenames import worker_direct

    from fleetctl.worker import jobs, publish

    host = socket.gethostname()
    run = f"check-{uuid.uuid4()}"
    waiting: dict[str, str] = {}  # job -> unit
    for unit in names:
        job = str(uuid.uuid4())
        queue = worker_direct(f"{unit}@{host}")
        publish.submit(app, jobs.NOOP, [job], queue=queue, kwargs={"run": run}, expires_seconds=seconds)
        waiting[job] = unit
    found: dict[str, Check] = {}
    backend: Any = app.backend
    start = time.monotonic()
    next_look = start + 3.0
    while waiting and time.monotonic() < start + seconds:
        for record in records.fetch(backend.client, records.key(broker.key_prefix, run)):
            if record.id in waiting:
                unit = waiting.pop(record.id)
                took = time.monotonic() - start
                found[unit] = Check(f"{unit} runs a job", True, f"process {record.pid}, after {took:.1f} s")
        is_time_to_look = time.monotonic() > next_look
        for job, unit in list(waiting.items()) if is_time_to_look else []:
            if _is_hopeless(state := service_state(unit)):
                del waiting[job]
                found[unit] = _not_running(unit, "it does not run", state)
        if waiting and is_time_to_look:
            full = full_units(app, [f"{unit}@{host}" for unit in waiting.values()])
            for job, unit in list(waiting.items()):
                if slots := full.get(f"{unit}@{host}"):
                    del waiting[job]
                    found[unit] = Check(f"{unit} runs a job", True, f"busy: all {slots} slots taken")
            next_look = time.monotonic() + 5.0
        time.sleep(0.1)
    for unit in waiting.values():
        found[unit] = _not_running(unit, f"no job ran within {seconds:g} s", service_state(unit))
    return [found[unit] for unit in names]


def full_units(app: Celery[Any], nodes: Sequence[str]) -> dict[str, int]:
    """Return the slots of those of these nodes that answer and have a job running in every slot."""
    inspect = app.control.inspect(destination=list(nodes), timeout=2.0, limit=len(nodes))
    active: Mapping[str, Any] = inspect.active() or {}
    stats: Mapping[str, Any] = inspect.stats() or {}
    slots = {node: int(stats[node]["pool"]["max-concurrency"]) for node in active if node in stats}
    return {node: count for node, count in slots.items() if len(active[node]) >= count}


def _is_hopeless(state: Mapping[str, str]) -> bool:
    """Tell whether a unit is not worth waiting for: it is stopped, or ends again whenever it is started.

    One that has a job in systemd's queue is about to start: it may wait for its mount.
    """
    ends_again = state.get("SubState") == "auto-restart" and int(state.get("NRestarts", 0)) >= _RESTARTS
    is_down = state.get("ActiveState") in ("inactive", "failed") and not state.get("Job")
    return is_down or ends_again


def _not_running(unit: str, why: str, state: Mapping[str, str]) -> Check:
    said = f"systemd says {' '.join(map('='.join, state.items()))}" if state else "systemd did not say"
    return Check(f"{unit} runs a job", False, f"{why}; {said}", f"journalctl -u fleet-worker@{unit} on this host")


def service_state(unit: str) -> dict[str, str]:
    """Return what systemd says of a unit, {} when it does not say."""
    command = ["systemctl", "show", f"--property={_STATE}", f"fleet-worker@{unit}.service"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SERVICE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if not line.endswith("="))


def _first_line(exc: BaseException) -> str:
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)
