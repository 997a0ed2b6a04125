"""load: submit built-in jobs, watch them, report from the jobs' own records."""

from __future__ import annotations

from typing import Any

from fleetctl.model import Event, Host, LoadReport, OnEvent
from fleetctl.ports import Remote
from fleetctl.workflows.agent import Answer, ask

PHASE = "load"
_AROUND_SECONDS = 480  # what the agent may take beside: it starts, and looks for files and rows that may not be there
_FILES_SECONDS = 1.0  # for each job's files: looked at, and removed


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

    def tell(event: Answer) -> None:
        message = f"{event['submitted']} submitted, {event['running']} running, {event['failed']} failed"
        on_event(Event("step", PHASE, message, None, event["done"], jobs))

    around = _AROUND_SECONDS + (jobs * _FILES_SECONDS if work == "io" else 0)
    answer = ask(remote, host, request, timeout=timeout + around, on_progress=tell)
    fields = LoadReport.__dataclass_fields__
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in answer.items() if key in fields
    }
    return LoadReport(**values)
