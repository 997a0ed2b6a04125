"""What health looks at and what it finds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fleetctl.core.inventory import Inventory
from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey
from fleetctl.model import Host, Unit
from fleetctl.spec.models import FleetSpec

Level = Literal["green", "yellow", "red"]
Facts = Mapping[str, Any]

ORDER: Mapping[Level, int] = {"green": 0, "yellow": 1, "red": 2}


@dataclass(frozen=True)
class Finding:
    """One check and its result. `name`: "group.check"; `fix`: one command to type, None where nothing is wrong."""

    name: str
    level: Level
    detail: str
    host: str | None = None
    unit: str | None = None
    cause: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Answer:
    """What came of asking one host. `sent` and `received`: seconds since the epoch by the asker's clock."""

    facts: Facts | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    time: float | None = None  # by the host's clock, when it answered
    took: float = 0.0  # seconds that the host needed
    sent: float = 0.0
    received: float = 0.0
    error: str | None = None

    @property
    def offset(self) -> float | None:
        """Seconds that the host's clock is ahead of the asker's; the answer is on its way for half of the rest."""
        return None if self.time is None else self.time - (self.received - self.uncertainty)

    @property
    def uncertainty(self) -> float:
        """How far off `offset` may be, seconds: half of what the question and the answer were on their way."""
        return max(0.0, self.received - self.sent - self.took) / 2


@dataclass(frozen=True)
class Look:
    """What the broker and the database say, by an agent's help. None: nobody could say; `error` says why."""

    survey: Survey | None = None
    later: Survey | None = None  # a second look, after the canary
    strays: Mapping[str, int] | None = None  # list of jobs -> length
    canary: Mapping[str, float | None] = field(default_factory=dict)  # unit@host -> seconds; None: not consumed
    services: Mapping[str, Mapping[str, Any]] | None = None
    error: str | None = None
    helper: str | None = None  # who was asked


@dataclass(frozen=True)
class Ground:
    """What is meant to be. `inventory` is None when it could not be made; `note` says why."""

    spec: FleetSpec
    inventory: Inventory | None = None
    note: str | None = None

    @property
    def storage(self) -> Facts | None:
        """The inventory's word on the shared storage."""
        return None if self.inventory is None else dict(self.inventory["all"]["vars"]["fleet_storage"])

    def group(self, name: str) -> Facts:
        """Return the variables of one of the inventory's groups, {} without an inventory."""
        return {} if self.inventory is None else dict(self.inventory[name]["vars"])

    def stamp(self, host: str) -> str | None:
        """Return the stamp that a host shall have."""
        hosts = {} if self.inventory is None else self.inventory["_meta"]["hostvars"]
        found: str | None = hosts.get(host, {}).get("fleet_stamp")
        return found


@dataclass(frozen=True)
class Place:
    """One host to judge: what it shall be, what it said, and what the broker says of its units."""

    wanted: WantedHost
    host: Host
    facts: Facts
    answer: Answer
    ground: Ground
    look: Look
    skew: float | None = None  # seconds that its clock is ahead of the fleet's

    @property
    def name(self) -> str:
        return self.wanted.name

    def part(self, name: str) -> Facts | None:
        """Return one part of the facts, None when it was not asked for or failed."""
        value = self.facts.get(name)
        return value if isinstance(value, Mapping) else None

    def found(
        self,
        name: str,
        level: Level,
        detail: str,
        *,
        unit: Unit | None = None,
        cause: str | None = None,
        fix: str | None = None,
    ) -> Finding:
        """Return a finding about this host; cause and fix are left out where nothing is wrong."""
        is_bad = level != "green"
        of = unit.name if unit else None
        return Finding(name, level, detail, self.name, of, cause if is_bad else None, fix if is_bad else None)

    def ssh(self, command: str) -> str:
        """Return how to run a command on this host."""
        return f"fleetctl ssh {self.name} '{command}'"


@dataclass(frozen=True)
class HostHealth:
    """One host. `figures` are for its row: units, slots, shares, latencies; None where they are not known."""

    name: str
    level: Level
    groups: tuple[str, ...]
    address: str | None
    seconds: float  # until it had answered
    figures: Mapping[str, float | int | str | None]
    findings: tuple[Finding, ...]
    is_drained: bool = False

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level != "green")


@dataclass(frozen=True)
class FleetHealth:
    """The fleet, its hosts worst first. `level`: the worst of all findings."""

    fleet: str
    level: Level
    hosts: tuple[HostHealth, ...]
    findings: tuple[Finding, ...]
    helper: str | None = None  # the host that spoke for the broker

    @property
    def is_ok(self) -> bool:
        """Tell whether nothing is red: warnings are told, and are no failure."""
        return self.level != "red"

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        return (*(finding for host in self.hosts for finding in host.findings), *self.findings)


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level among findings, green without any."""
    return max((finding.level for finding in findings), key=ORDER.__getitem__, default="green")


def limit(value: float, yellow: float, red: float) -> Level:
    """Return the level of a value that is bad when it is high."""
    return "red" if value >= red else "yellow" if value >= yellow else "green"
