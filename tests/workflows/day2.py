"""A fleet whose hosts answer what day-2 verbs ask: a broker behind the agent, journals, and commands as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fleetctl.core.inventory import Context
from fleetctl.core.layout import WantedHost, layout
from fleetctl.errors import ConnectError
from fleetctl.model import CommandResult, Host, Outcome
from fleetctl.ports import Fleet
from fleetctl.spec.models import FleetSpec
from fleetctl.workflows.agent import AGENT
from tests.fakes import FakeProvider
from tests.unit.core.conftest import spec

NOW = 1_800_000_000.0
MINUTE = int(NOW // 60)

Command = Callable[[str, Sequence[str], str], CommandResult]


def beat(unit: str, host: str, *jobs: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a heartbeat of four slots."""
    value = {
        "unit": unit, "host": host, "pool": "worker", "at": NOW, "since": NOW - 600, "queues": ["celery"], "slots": 4,
        "busy": len(jobs), "jobs": list(jobs), "reserved": 0, "scheduled": 0, "is_draining": False,
    }  # fmt: skip
    return value | more


def job(name: str, *, started: float, task: str = "plain.work") -> dict[str, Any]:
    return {"id": name, "task": task, "queue": "celery", "started": NOW - started}


@dataclass
class FakeHosts:
    """The Remote port. `dead` hosts answer nothing; commands that are not the agent's go to `command`."""

    command: Command = lambda *_: CommandResult(0, "", "")
    dead: set[str] = field(default_factory=set)
    units: dict[str, dict[str, Any]] = field(default_factory=dict)  # unit@host -> heartbeat
    drains: dict[str, dict[str, Any]] = field(default_factory=dict)
    minutes: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)  # job -> the agent's answer
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)  # command of the agent -> its answer
    asked: list[dict[str, Any]] = field(default_factory=list)
    ran: list[tuple[str, str, str]] = field(default_factory=list)  # host, command, stdin
    looks: list[Callable[[], None]] = field(default_factory=list)  # what happens before each survey, one after another
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        del timeout
        if host.name in self.dead:
            raise ConnectError(f"{host.name}: no answer")
        if tuple(argv) == AGENT:
            return self._agent(host, json.loads(stdin))
        with self.lock:
            self.ran.append((host.name, " ".join(argv), stdin))
        done = self.command(host.name, argv, stdin)
        for line in done.stdout.splitlines() if on_line is not None else ():
            on_line(line) if on_line is not None else None
        return done

    def fan_out(
        self,
        hosts: Sequence[Host],
        argv: Sequence[str],
        *,
        stdin: Mapping[str, str] | None = None,
        timeout: float,
        on_done: Callable[[str], None] | None = None,
    ) -> tuple[Outcome[CommandResult], ...]:
        outcomes = []
        for host in hosts:
            try:
                value = self.run(host, argv, stdin=(stdin or {}).get(host.name, ""), timeout=timeout)
                outcomes.append(Outcome(host.name, value))
            except ConnectError as error:
                outcomes.append(Outcome(host.name, error=error.message))
            if on_done is not None:
                on_done(host.name)
        return tuple(outcomes)

    def wait_until_up(self, hosts: Sequence[Host], *, timeout: float) -> tuple[Outcome[None], ...]:
        del timeout
        return tuple(Outcome(host.name, error="no answer" if host.name in self.dead else None) for host in hosts)

    def _agent(self, host: Host, request: dict[str, Any]) -> CommandResult:
        self.asked.append(request)
        match request["command"]:
            case "survey":
                if self.looks:
                    self.looks.pop(0)()
                value: dict[str, Any] = {
                    "now": NOW, "units": list(self.units.values()), "queues": {}, "drains": self.drains,
                    "minutes": self.minutes, "totals": {}, "open": 0, "quarantined": 0, "redis": None,
                }  # fmt: skip
            case "drain":
                self.drains |= {key: {"at": NOW, "by": request["by"]} for key in request["keys"]}
                value = {"drains": self.drains}
            case "undrain":
                self.drains = {key: of for key, of in self.drains.items() if key not in request["keys"]}
                value = {"drains": self.drains}
            case "job":
                value = self.told.get(request["job"], {"job": request["job"], "state": "unknown", "events": []})
            case "check":
                checks = [f"{unit} runs a job" for unit in request["units"]]
                bad = self.answers.get("bad", {})
                value = {"checks": [{"name": n, "is_ok": host.name not in bad, "detail": "as told", "fix": None}
                                    for n in checks]}  # fmt: skip
            case other:
                value = self.answers.get(other, {})
        return CommandResult(0, json.dumps({"event": "result", **value}) + "\n", "")


@dataclass
class Day2:
    """A fleet of two workers of four slots and its services, as it was deployed."""

    context: Context
    spec: FleetSpec = field(default_factory=spec)
    remote: FakeHosts = field(default_factory=FakeHosts)

    def __post_init__(self) -> None:
        self.wanted: tuple[WantedHost, ...] = layout(self.spec)
        known = {host.name: Host(host.name, f"id-{host.name}", f"10.0.0.{n}") for n, host in enumerate(self.wanted, 2)}
        self.source = FakeProvider(known=known)

    @property
    def running(self) -> dict[str, Host]:
        return dict(self.source.known)

    @property
    def helpers(self) -> tuple[Host, ...]:
        return (self.source.known["nfs"],)

    @property
    def fleet(self) -> Fleet:
        known = replace(self.context, networks=self.source.networks)
        return Fleet(
            self.spec, self.source, self.remote, None, lambda: known,  # type: ignore[arg-type]  # no verb converges
            lambda user: f"redis://{user}@r", lambda _: None,
        )  # fmt: skip

    def live(self, *jobs: Mapping[str, Any], **more: Any) -> None:
        """Let both units speak, worker-1 with these jobs."""
        self.remote.units = {
            "worker-1@worker-1": beat("worker-1", "worker-1", *jobs, **more),
            "worker-2@worker-2": beat("worker-2", "worker-2"),
        }
