"""What fleetctl runs on a worker host: one JSON request on stdin, JSON lines on stdout, the last one the result.

    /opt/fleet/venv/bin/python -m fleetctl.worker.agent < request

Started as root it reads the host's environment and credentials, then becomes the fleet's user before it acts. Requests:

    {"command": "check", "units": ["worker-1"], "storage_token": {"path": ..., "content": ...}, "wrong_password": true,
     "timeout": 120}
        -> {"event": "result", "checks": [{"name", "is_ok", "detail", "fix"}]}
    {"command": "load", "jobs": 600, "seconds": 20, "work": "sleep" | "io", "queue": "celery", "run": id,
     "timeout": 600, "keep": false, "redis_url": ...}
        -> {"event": "progress", "submitted", "running", "done", "failed"} about every second,
           {"event": "result", ...the fields of a load report}
    {"command": "write", "path": ..., "content": ...}     a file on the shared storage, whole or not at all
    {"command": "remove", "path": ...}                    a file or directory on the shared storage
        -> {"event": "result"}

A request that cannot be carried out ends with {"event": "error", "message": ...} and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetctl.worker import checks, credentials, settings, storage
from fleetctl.worker.credentials import ConfigurationError

if TYPE_CHECKING:
    from celery import Celery

Answer = dict[str, Any]
OnLine = Callable[[Answer], None]


def parse_environment(text: str) -> dict[str, str]:
    """Return the variables of an environment file: lines KEY=VALUE, values quoted as for a shell."""
    return dict(word.partition("=")[::2] for word in shlex.split(text, comments=True))


def become(user: str) -> None:
    """Give up root for `user`; whoever is not root stays who they are."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir


def check(request: Mapping[str, Any]) -> Answer:
    """Try what this host's units need, then the units."""
    broker = settings.read(os.environ)
    try_wrong = bool(request.get("wrong_password", True))

    def enter_redis(url: str) -> None:
        checks.enter_redis(url, ca_file=broker.ca_file)

    found = checks.service("postgres", _variable("DATABASE_URL"), checks.enter_postgres, try_wrong=try_wrong)
    redis_checks = checks.service("redis", broker.url, enter_redis, try_wrong=try_wrong)
    found += redis_checks
    if token := request.get("storage_token"):
        found.append(checks.shared_file(token["path"], token["content"]))
    if names := request.get("units"):
        if redis_checks[0].is_ok:
            found += checks.units(_app(broker), broker, names, seconds=float(request.get("timeout", 120)))
        else:
            found += [checks.Check(f"{name} runs a job", False, "not tried: no redis") for name in names]
    return {"checks": [asdict(one) for one in found]}


def load(request: Mapping[str, Any], tell: OnLine) -> Answer:
    """Put a load on the fleet and report on it."""
    from fleetctl.worker.load import Load, put

    broker = settings.read(os.environ)
    if request.get("redis_url"):
        broker = replace(broker, url=request["redis_url"])
    wanted = Load(**{key: value for key, value in request.items() if key not in ("command", "redis_url")})
    return put(
        _app(broker),
        broker,
        wanted,
        database_url=_variable("DATABASE_URL") if wanted.work == "io" else "",
        storage_path=_variable("FLEET_STORAGE") if wanted.work == "io" else "",
        tell=lambda story: tell({"event": "progress", **story}),
    )


def act(request: Mapping[str, Any], tell: OnLine) -> Answer:
    """Carry out one request and return its result."""
    match request.get("command"):
        case "check":
            return check(request)
        case "load":
            return load(request, tell)
        case "write" | "remove" as operation:
            storage.in_child(operation, dict(request), seconds=checks.STORAGE_SECONDS)
            return {}
        case other:
            raise ConfigurationError(f"no such command: {other}")


def main(argv: list[str] | None = None) -> int:
    """Read the host's files, become the fleet's user, answer one request."""
    parser = argparse.ArgumentParser(prog="fleetctl.worker.agent")
    parser.add_argument("--environment", type=Path, default=Path("/etc/fleet/environment"))
    parser.add_argument("--credentials", type=Path, default=Path("/etc/fleet/credentials.json"))
    parser.add_argument("--user", default="fleet")
    options = parser.parse_args(argv)
    try:
        request = json.load(sys.stdin)
        os.environ.update(parse_environment(options.environment.read_text()))
        os.environ.update(credentials.parse(options.credentials.read_text(), source=str(options.credentials)))
        become(options.user)
        answer = act(request, _say)
    except (ConfigurationError, storage.StorageError, OSError, ValueError, TypeError, KeyError) as exc:
        _say({"event": "error", "message": f"{type(exc).__name__}: {exc}"})
        return 1
    _say({"event": "result", **answer})
    return 0


def _app(broker: settings.Broker) -> Celery[Any]:
    from celery import Celery

    app: Celery[Any] = Celery("fleetctl")
    settings.apply(app, broker, is_worker=False)
    return app


def _variable(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ConfigurationError(f"{name} is not set in this host's environment or credentials")


def _say(line: Answer) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201  stdout is the protocol


if __name__ == "__main__":
    sys.exit(main())
