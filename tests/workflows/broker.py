"""A broker as agents see it: its answers are a table, and what changes it is carried out on the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.hostfacts import COMMAND
from fleetctl.model import CommandResult, Host
from tests.unit.core.surveys import answer
from tests.workflows.world import FakeRemote

BALANCED = {
    "submitted": 10, "done": 6, "failed": 1, "revoked": 0, "purged": 0, "unrecorded": 0, "open": 3, "queued": 2,
    "reserved": 0, "running": 1, "scheduled": 0, "stranded": 0, "quarantined": 0, "balance": 0,
    "since": 1_790_000_000.0, "orphans": [],
}  # fmt: skip
FACTS = (
    "memory_kib=16777216\ncpus=8\npid_max=4194304\nconntrack_max=262144\ninotify_instances=8192\nnfsd_threads=64\n"
    "LimitNOFILE=16384\nTasksMax=4096\n"
)


@dataclass
class BrokerRemote(FakeRemote):
    """Hosts whose agents all ask one broker. `old` hosts have agents of a release that knows none of these requests."""

    seen: dict[str, Any] = field(default_factory=answer)
    lists: dict[str, int] = field(default_factory=dict)
    books: dict[str, Any] = field(default_factory=lambda: dict(BALANCED))
    postgres: dict[str, Any] = field(default_factory=lambda: {"max_connections": 256})
    facts: str = FACTS
    old: set[str] = field(default_factory=set)

    def run(self, host: Host, argv: Sequence[str], **more: Any) -> CommandResult:
        if list(argv) == ["sh", "-c", COMMAND] and host.name not in self.dead:
            return CommandResult(0, self.facts, "")
        return super().run(host, argv, **more)

    def _agent(self, host: Host, request: dict[str, Any]) -> CommandResult:
        self.asked.append((host.name, request))
        if host.name in self.old:
            said = {"event": "error", "message": f"ConfigurationError: no such command: {request['command']}"}
            return CommandResult(1, json.dumps(said), "")
        return CommandResult(0, json.dumps({"event": "result", **self._act(request)}), "")

    def _act(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["command"]:
            case "survey":
                return self.seen
            case "strays":
                return {"queues": self.lists}
            case "services":
                return {"postgres": self.postgres, "redis": {"latency_seconds": 0.001, "error": None}}
            case "audit":
                return self.books
            case "purge":
                return {"removed": self.lists.pop(request["queue"], 0)}
            case "move":
                return {"moved": self._move(request["from"], request["to"], request["count"])}
            case "requeue":
                return self._requeue(request["jobs"])
            case "canary":
                return {"answers": dict.fromkeys(request["units"], 0.01)}
            case "drain" | "undrain":
                return {"drains": {key: {"at": 1.0} for key in request["keys"] if request["command"] == "drain"}}
            case "job":
                return {"job": request["job"], "state": "running", "events": []}
            case other:
                raise AssertionError(f"nobody should ask for {other}")

    def _move(self, source: str, target: str, count: int | None) -> int:
        there = self.lists.get(source, 0)
        moved = there if count is None else min(count, there)
        self.lists[source] = there - moved
        self.lists[target] = self.lists.get(target, 0) + moved
        return moved

    def _requeue(self, jobs: list[str]) -> dict[str, list[str]]:
        known = [orphan["job"] for orphan in self.books["orphans"]]
        done = [job for job in jobs if job in known]
        self.books["orphans"] = [orphan for orphan in self.books["orphans"] if orphan["job"] not in done]
        self.books["balance"] -= len(done)
        return {"requeued": done, "unknown": [job for job in jobs if job not in known]}
