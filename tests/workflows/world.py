"""A world of fakes: hosts that answer like the real ones, and an Ansible that sets them up at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetctl.errors import ConnectError
from fleetctl.model import CommandResult, ConvergeReport, Host, HostRecap, OnEvent, Outcome
from fleetctl.workflows.agent import AGENT


@dataclass
class FakeRemote:
    """Answers the commands that workflows send. `dead` hosts answer nothing."""

    stamps: dict[str, str] = field(default_factory=dict)
    machine_ids: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)  # hosts whose shared storage hangs
    apart: set[str] = field(default_factory=set)  # hosts that have a directory of their own in the storage's place
    refused: dict[str, str] = field(default_factory=dict)  # host -> check of the agent that fails
    commands: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)  # job -> "host" or "host machine" that holds it
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # host -> request to its agent

    def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        del timeout, on_line
        self.commands.append((host.name, " ".join(argv)))
        if host.name in self.dead:
            raise ConnectError(f"{host.name}: no answer")
        command = " ".join(argv)
        if tuple(argv) == AGENT:
            return self._agent(host, json.loads(stdin))
        if "machine-id" in command:
            stamp = self.stamps.get(host.name, "none")
            return CommandResult(0, f"{self.machine_ids.get(host.name, host.machine_id)}\n{stamp}\n", "")
        if command == "cat /etc/fleet/stamp":
            found = host.name in self.stamps
            return CommandResult(0 if found else 1, self.stamps.get(host.name, ""), "")
        if "runuser" in command:
            return self._storage(host, argv, stdin)
        return CommandResult(0, "", "")

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
        self.asked.append((host.name, request))
        if request["command"] == "claims":
            claims = [
                {"job": job, "host": of.split()[0], "machine": of.split()[-1], "boot": f"boot of {of}"}
                for job, of in self.claims.items()
            ]
            return CommandResult(0, json.dumps({"event": "result", "claims": claims}), "")
        if request["command"] == "rescue":
            restored = [job for job, of in self.claims.items() if f"boot of {of}" in request["boots"]]
            for job in restored:
                del self.claims[job]
            return CommandResult(0, json.dumps({"event": "result", "restored": restored, "quarantined": []}), "")
        bad = self.refused.get(host.name)
        names = ["postgres", "redis", *(f"job on {unit}" for unit in request["units"])]
        checks = [{"name": name, "is_ok": name != bad, "detail": "as told", "fix": None} for name in names]
        return CommandResult(0, json.dumps({"event": "result", "checks": checks}), "")

    def _storage(self, host: Host, argv: Sequence[str], stdin: str) -> CommandResult:
        if host.name in self.stalled:
            return CommandResult(137, "", "Killed")
        how, token, name = argv[argv.index("-c", 2) + 1], argv[-1], stdin.strip()
        key = f"{host.name}:{name}" if host.name in self.apart else name
        if "mv" in how:
            self.files[key] = token
        elif "rm" in how:
            self.files = {kept: value for kept, value in self.files.items() if f"verify-{token}-" not in kept}
        elif key not in self.files:
            return CommandResult(1, "", f"cat: {name}: No such file or directory")
        return CommandResult(0, self.files.get(key, "") + "\n", "")


@dataclass
class FakeAnsible:
    """Sets hosts up at once: their stamps appear. `failing` hosts fail; every run is kept."""

    remote: FakeRemote
    failing: set[str] = field(default_factory=set)
    halting: set[str] = field(default_factory=set)  # hosts at which a rolling restart stops
    ends_early: bool = False  # when a host fails, as Ansible does when all hosts of a group do
    runs: list[tuple[str, tuple[str, ...], tuple[str, ...] | None]] = field(default_factory=list)

    def converge(
        self,
        playbook: str,
        inventory: Mapping[str, Any],
        *,
        phase: str,
        limit: Sequence[str],
        tags: Sequence[str] | None,
        on_event: OnEvent,
    ) -> ConvergeReport:
        del phase, on_event
        self.runs.append((playbook, tuple(limit), tuple(tags) if tags else None))
        recaps = []
        if self.halting.intersection(limit):
            bad = [
                HostRecap(n, ok=1, failed=1, errors=("Roll | Prove: no job ran",)) for n in limit if n in self.halting
            ]
            rest = tuple(name for name in limit if name not in self.halting)
            return ConvergeReport((*bad, *map(HostRecap, rest)), unfinished=rest, halted=True)
        for name in limit:
            if name in self.failing:
                recaps.append(HostRecap(name, ok=1, failed=1, errors=("Join | Something: broke",)))
                continue
            if playbook == "site.yml":
                self.remote.stamps[name] = inventory["_meta"]["hostvars"][name]["fleet_stamp"]
            recaps.append(HostRecap(name, ok=9, changed=5))
        if self.ends_early and self.failing.intersection(limit):
            rest = tuple(recap.host for recap in recaps if recap.is_ok)
            for name in rest:
                self.remote.stamps.pop(name, None)
            return ConvergeReport(tuple(recaps), unfinished=rest)
        return ConvergeReport(tuple(recaps))
