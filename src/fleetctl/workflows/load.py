"""load: submit built-in jobs, watch them, report from the jobs' own records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fleetctl.core.layout import WantedHost
from fleetctl.errors import FleetError
from fleetctl.model import Event, Host, LoadReport, OnEvent
from fleetctl.ports import Remote
from fleetctl.workflows.verify import AGENT

PHASE = "load"


def load(
    host: Host,
    queue: str,
    remote: Remote,
    *,
    jobs: int,
    seconds: float,
    work: str,
    run: str,
    redis_url: str,
    timeout: float,
    on_event: OnEvent,
) -> LoadReport:
    """Return what became of `jobs` jobs of `seconds` each, submitted from `host` to `queue`.

    Waits for them at most `timeout` seconds; what is neither done nor failed then is lost. Raises FleetError when the
    host's agent cannot be run.
    """
    request = {
        "command": "load", "jobs": jobs, "seconds": seconds, "work": work, "run": run, "queue": queue,
        "redis_url": redis_url, "timeout": timeout,
    }  # fmt: skip
    last: dict[str, Any] = {}

    def take(line: str) -> None:
        if not line.startswith("{"):
            return
        event = json.loads(line)
        if event["event"] == "progress":
            message = f"{event['submitted']} submitted, {event['running']} running, {event['failed']} failed"
            on_event(Event("step", PHASE, message, None, event["done"], jobs))
        elif event["event"] in ("result", "error"):
            last.update(event)

    result = remote.run(host, AGENT, stdin=json.dumps(request) + "\n", timeout=timeout + 120, on_line=take)
    if result.code != 0 or "submitted" not in last:
        reason = last.get("message") or result.stderr.strip()[-600:]
        raise FleetError(f"the load could not be run from {host.name}: {reason}", hint="fleetctl verify")
    fields = LoadReport.__dataclass_fields__
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in last.items() if key in fields
    }
    return LoadReport(**values)


def host_of(queue: str, wanted: Sequence[WantedHost], hosts: Sequence[Host], remote: Remote) -> Host | None:
    """Return a host that serves the queue and answers, from which a load can be submitted."""
    serving = {host.name for host in wanted for unit in host.units if queue in unit.queues}
    outcomes = remote.fan_out([host for host in hosts if host.name in serving], ["true"], timeout=15)
    answering = {outcome.host for outcome in outcomes if outcome.is_ok}
    return next((host for host in hosts if host.name in answering), None)
