"""Hosts that answer the probe's requests in sessions, beside all that agents answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fleetctl.errors import ConnectError
from fleetctl.model import Host
from tests.unit.core.surveys import NOW
from tests.workflows.broker import BrokerRemote


@dataclass
class FakeSession:
    """One probe: answers what its remote says of the host at that moment."""

    remote: SessionRemote
    host: Host

    def ask(self, line: str, *, timeout: float) -> str:
        del timeout
        self.remote.requests.append((self.host.name, json.loads(line)))
        if self.host.name in self.remote.dead:
            raise ConnectError(f"{self.host.name}: no answer within 10 s")
        if self.host.name in self.remote.hanging:
            self.remote.released.wait(30)
        if (text := self.remote.garbage.get(self.host.name)) is not None:
            return text
        return json.dumps({"facts": self.remote.said[self.host.name], "problems": {}, "time": NOW, "took": 0.0})


@dataclass
class SessionRemote(BrokerRemote):
    """`said`: host -> facts; `garbage`: host -> a line that is no answer; `hanging` hosts take too long."""

    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    garbage: dict[str, str] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    deaf: set[str] = field(default_factory=set)  # units that consume no canary

    @contextmanager
    def session(self, host: Host, argv: Sequence[str], *, stdin: str = "", timeout: float) -> Iterator[FakeSession]:
        del argv, timeout
        self.opened.append(host.name)
        if host.name in self.dead:
            raise ConnectError(f"{host.name}: timed out")
        self.texts.append(stdin)
        try:
            yield FakeSession(self, host)
        finally:
            self.closed.append(host.name)

    def _act(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "canary":
            return {"answers": {name: None if name in self.deaf else 0.01 for name in request["units"]}}
        return super()._act(request)
