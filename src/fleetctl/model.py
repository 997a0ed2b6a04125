"""The values that layers exchange. Frozen, without behaviour that touches the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class HostState(StrEnum):
    """What the provider says of a machine, not whether it is healthy."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Host:
    """One machine. `name` is unique in the fleet; `id` is the provider's and is never reused."""

    name: str
    id: str
    address: str
    state: HostState = HostState.RUNNING
    port: int = 22
    user: str = "root"
    key_file: Path | None = None
    become: bool = False
    jump: str | None = None  # user@address:port of a bastion
    host_keys: tuple[str, ...] = ()  # public host keys, "ssh-ed25519 AAAA..."; empty: the user's known_hosts
    machine_id: str | None = None  # expected content of /etc/machine-id; None: not known to the provider
    image: str | None = None  # key of the baked image that it was started from
    price: float | None = None  # USD an hour; None: not known


@dataclass(frozen=True)
class HostRequest:
    """A machine that is wanted."""

    name: str
    roles: tuple[str, ...]  # groups whose roles it will carry, sorted: ("postgres",), ("nfs", "redis"), ("workers",)
    image: str | None = None  # key of the baked image to start from; None: the bare operating system
    storage: bool = False  # attach the provider's own shared storage, where it has one
    draft: bool = False  # to be sealed: any machine whose disk makes an image for the fleet's kind will do


@dataclass(frozen=True)
class Unit:
    """One Celery worker service: fleet-worker@<name>.service."""

    name: str  # <pool>-<number>
    pool: str
    host: str
    concurrency: int
    queues: tuple[str, ...]


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one host's share of a fan-out. Exactly one of `value` and `error` is meant."""

    host: str
    value: T | None = None
    error: str | None = None
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class CommandResult:
    """A command that ran to its end on a host."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Event:
    """A step of the story: told on stderr, drawn as bars on a terminal.

    `kind`: "phase" (a phase starts, `total` steps expected where known), "step" (`done` of `total` for `host`),
    "note" (a line to show), "end" (the phase ended).
    """

    kind: str
    phase: str
    message: str = ""
    host: str | None = None
    done: int = 0
    total: int = 0


OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class HostRecap:
    """What Ansible did on one host."""

    host: str
    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: bool = False
    errors: tuple[str, ...] = ()  # "task: message", first lines

    @property
    def is_ok(self) -> bool:
        return not self.failed and not self.unreachable


@dataclass(frozen=True)
class StepTime:
    """How long one Ansible task took over all hosts, seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class ConvergeReport:
    """One run of a playbook: a recap for each host that was meant, and where the time went."""

    hosts: tuple[HostRecap, ...]
    steps: tuple[StepTime, ...] = ()
    log: Path | None = None
    unfinished: tuple[str, ...] = ()  # hosts that did not fail, in a run that ended before all of its plays
    halted: bool = False  # a rolling restart stopped: another run would go on with what did not work

    @property
    def changed(self) -> int:
        return sum(host.changed for host in self.hosts)


@dataclass(frozen=True)
class PhaseTime:
    """How long one phase of a command took, seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Check:
    """One verified claim: about a host (`host`) or the fleet (`host` is None)."""

    name: str
    is_ok: bool
    detail: str
    host: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class LoadReport:
    """What became of a load of built-in jobs, from the jobs' own records."""

    submitted: int
    done: int
    failed: int
    lost: int
    duplicates: int
    peak_concurrency: int
    distinct_processes: int
    start_p50_seconds: float
    start_p99_seconds: float
    makespan_seconds: float
    repeated: int = 0  # jobs that ran more than once
    quarantined: int = 0  # jobs whose workers died under them too often: neither lost nor failed
    work: str = "sleep"
    per_unit: dict[str, int] = field(default_factory=dict)  # unit -> jobs done
    reasons: tuple[str, ...] = ()  # why jobs failed, the most frequent first
    problems: tuple[str, ...] = ()  # missing files or rows of `io` jobs that are done
