"""What fleetctl runs on a worker host: one JSON request on stdin, JSON lines on stdout, the last one the result.

    /opt/fleet/venv/bin/python -m fleetctl.worker.agent < request

Started as root it reads the host's environment and credentials, then becomes the fleet's user before it acts. Requests:

    {"command": "check", "units": ["worker-1"], "wrong_password": true, "timeout": 120}
        -> {"event": "result", "checks": [{"name", "is_ok", "detail", "fix"}]}
    {"command": "load", "jobs": 600, "seconds": 20, "work": "sleep" | "io", "queue": "celery", "run": id,
     "timeout": 600, "keep": false}
        -> {"event": "progress", "submitted", "running", "done", "failed"} about every second,
           {"event": "result", ...the fields of a load report}
    {"command": "claims"}                                 which jobs are in whose hands
        -> {"event": "result", "claims": [{"tag", "job", "task", "queue", "unit", "host", "machine", "boot", "at"}]}
    {"command": "rescue", "host": ..., "boots": [...]}    gives back what these lives of a gone host's units held
        -> {"event": "result", "restored": [job], "quarantined": [job]}
    {"command": "quarantine", "operation": "list"}
        -> {"event": "result", "jobs": [{"job", "task", "queue", "at", "deaths": [...]}]}
    {"command": "quarantine", "operation": "show", "jobs": [job]}
        -> {"event": "result", "jobs": [{... and "message": {"headers", "args", "kwargs"}}]}
    {"command": "quarantine", "operation": "release", "jobs": [job]}
        -> {"event": "result", "released": [job], "unknown": [job]}

    and those of answers.py

Each may carry "redis_url", which takes the place of the host's own.
A request that cannot be carried out ends with {"event": "error", "message": ...} and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from fleetctl.worker import answers, checks, claims, host, publish, quarantine, settings, storage
from fleetctl.worker.credentials import ConfigurationError

if TYPE_CHECKING:
    from celery import Celery

Answer = dict[str, Any]
OnLine = Callable[[Answer], None]
_EXPECTED = (
    ConfigurationError, storage.StorageError, quarantine.UnknownJobError, RedisError, OperationalError,
    OSError, ValueError, TypeError, KeyError,
)  # fmt: skip


def check(request: Mapping[str, Any]) -> Answer:
    """Try what this host's units need, then the units."""
    broker = _broker(request)
    try_wrong = bool(request.get("wrong_password", True))

    def enter_redis(url: str) -> None:
        checks.enter_redis(url, ca_file=broker.ca_file)

    found = checks.service("postgres", _variable("DATABASE_URL"), checks.enter_postgres, try_wrong=try_wrong)
    redis_checks = checks.service("redis", broker.url, enter_redis, try_wrong=try_wrong)
    found += redis_checks
    if names := request.get("units"):
        if redis_checks[0].is_ok:
            found += checks.units(publish.program(broker), broker, names, seconds=float(request.get("timeout", 120)))
        else:
            found += [checks.Check(f"{name} runs a job", False, "not tried: no redis") for name in names]
    return {"checks": [asdict(one) for one in found]}


def load(request: Mapping[str, Any], tell: OnLine) -> Answer:
    """Put a load on the fleet and report on it."""
    from fleetctl.worker.load import Load, put

    broker = _broker(request)
    wanted = Load(**{key: value for key, value in request.items() if key not in ("command", "redis_url")})
    if "queue" not in request and broker.default_queue:
        wanted = replace(wanted, queue=broker.default_queue)
    return put(
        publish.program(broker),
        broker,
        wanted,
        database_url=_variable("DATABASE_URL") if wanted.work == "io" else "",
        storage_path=_variable("FLEET_STORAGE") if wanted.work == "io" else "",
        tell=lambda story: tell({"event": "progress", **story}),
    )


def list_claims(channel: Any) -> Answer:
    """Return which jobs are in whose hands, the oldest claim first."""
    found = sorted(claims.held(channel).items(), key=lambda item: item[1].at)
    return {"claims": [asdict(claim) | {"tag": tag} for tag, claim in found]}


def rescue(request: Mapping[str, Any], channel: Any, app: Celery[Any]) -> Answer:
    """Give back what a host that is gone held, its death counted."""
    boots = frozenset(request["boots"])
    death = claims.died("host", unit="", host=request["host"], detail="the host was given up for dead")

    def is_theirs(claim: claims.Claim) -> bool:
        return claim.boot in boots

    found = claims.rescue(channel, is_theirs=is_theirs, death=death)
    for claim in found["quarantined"]:
        quarantine.mark(app, claim.job)
    return {outcome: [claim.job for claim in found[outcome]] for outcome in ("restored", "quarantined")}


def keep_out(request: Mapping[str, Any], channel: Any, app: Celery[Any]) -> Answer:
    """List, show or release jobs in quarantine."""
    match request.get("operation"):
        case "list":
            return {"jobs": quarantine.listed(channel)}
        case "show":
            return {"jobs": quarantine.show(channel, request["jobs"])}
        case "release":
            return dict(quarantine.release(channel, app, request["jobs"]))
        case other:
            raise ConfigurationError(f"quarantine has no such operation: {other}")


def on_ledger(request: Mapping[str, Any]) -> Answer:
    """Carry out a request about claims or quarantine."""
    app = publish.program(_broker(request))
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        match request["command"]:
            case "claims":
                return list_claims(channel)
            case "rescue":
                return rescue(request, channel, app)
            case _:
                return keep_out(request, channel, app)


def act(request: Mapping[str, Any], tell: OnLine) -> Answer:
    """Carry out one request and return its result."""
    match request.get("command"):
        case "check":
            return check(request)
        case "load":
            return load(request, tell)
        case "claims" | "rescue" | "quarantine":
            return on_ledger(request)
        case str(name) if name in answers.COMMANDS:
            return answers.give(name, request, _broker(request))
        case other:
            raise ConfigurationError(f"no such command: {other}")


def main(argv: list[str] | None = None) -> int:
    """Read the host's files, become the fleet's user, answer one request."""
    parser = argparse.ArgumentParser(prog="fleetctl.worker.agent")
    host.add_options(parser)
    options = parser.parse_args(argv)
    try:
        request = json.load(sys.stdin)
        host.enter(options)
        answer = act(request, _say)
    except _EXPECTED as exc:
        _say({"event": "error", "message": f"{type(exc).__name__}: {exc}"})
        return 1
    _say({"event": "result", **answer})
    return 0


def _broker(request: Mapping[str, Any]) -> settings.Broker:
    broker = settings.read(os.environ)
    return replace(broker, url=request["redis_url"]) if request.get("redis_url") else broker


def _variable(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ConfigurationError(f"{name} is not set in this host's environment or credentials")


def _say(line: Answer) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201  stdout is the protocol


if __name__ == "__main__":
    sys.exit(main())
