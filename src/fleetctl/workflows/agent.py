"""Requests to fleetctl's agent on a host that carries the app: one JSON object in, JSON lines out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fleetctl.core.layout import WantedHost
from fleetctl.errors import ConnectError, FleetError
from fleetctl.model import CommandResult, Host
from fleetctl.ports import Remote

AGENT = ("/opt/fleet/venv/bin/python", "-m", "fleetctl.worker.agent")
_ANSWER_SECONDS = 15
_LOOK_SECONDS = 120  # for what takes a moment; to start, an agent takes one too, and ten on a small machine under load

Answer = dict[str, Any]


def ask(
    remote: Remote,
    host: Host,
    request: Mapping[str, Any],
    *,
    timeout: float,
    on_progress: Callable[[Answer], None] | None = None,
) -> Answer:
    """Return the agent's result. Raises ConnectError when the host cannot be reached, FleetError when it fails."""

    def take(line: str) -> None:
        if on_progress is not None and (event := _event(line)).get("event") == "progress":
            on_progress(event)

    done = remote.run(host, AGENT, stdin=json.dumps(request) + "\n", timeout=timeout, on_line=take)
    answer, error = result(done)
    if error is not None:
        raise FleetError(f"{host.name} could not {request['command']}: {error}", hint="fleetctl verify")
    return answer


def ask_any(remote: Remote, hosts: Sequence[Host], request: Mapping[str, Any]) -> Answer:
    """Return the result of the first of these hosts that can give it. Raises the last one's FleetError when none can.

    A host that does not answer costs its time limit: give those that are known to answer. One that is half set up
    has no agent, and the next is asked.
    """
    last: FleetError = ConnectError("no host that carries the app answers", hint="fleetctl status")
    for host in hosts:
        try:
            return ask(remote, host, request, timeout=_LOOK_SECONDS)
        except FleetError as error:
            last = error
    raise last


def with_app(wanted: Iterable[WantedHost], hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Return those hosts that have an agent, the ones without units first: what is asked there takes no job's time."""
    units = {host.name: len(host.units) for host in wanted if host.has_app}
    return tuple(sorted((host for host in hosts if host.name in units), key=lambda host: units[host.name]))


def answering(remote: Remote, hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Return those hosts that answer, in the same order."""
    outcomes = remote.fan_out(hosts, ["true"], timeout=_ANSWER_SECONDS)
    return tuple(host for host, outcome in zip(hosts, outcomes, strict=True) if outcome.is_ok)


def result(done: CommandResult) -> tuple[Answer, str | None]:
    """Return the last event of an agent that ended, and what was wrong (None: nothing)."""
    lines = done.stdout.strip().splitlines()
    last = _event(lines[-1]) if lines else {}
    if last.get("event") == "error":
        return last, str(last["message"])
    if done.code != 0 or last.get("event") != "result":
        return last, (done.stderr or done.stdout).strip()[-600:] or f"exit code {done.code}"
    return last, None


def _event(line: str) -> Answer:
    try:
        event = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
