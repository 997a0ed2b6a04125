"""What workflows need of the outside world. Adapters implement these; tests have fakes that do too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from fleetctl.core.inventory import Context
from fleetctl.model import CommandResult, ConvergeReport, Host, HostRequest, OnEvent, Outcome
from fleetctl.spec.models import FleetSpec


@runtime_checkable
class HostSource(Protocol):
    """Hosts that exist. `hosts()` includes pending and stopped ones, sorted by name; the provider is the only
    state: nothing that it answers comes from a file of fleetctl's own that can go stale."""

    @property
    def kind(self) -> str: ...

    @property
    def networks(self) -> tuple[str, ...]:
        """CIDR ranges that may reach the fleet's services."""
        ...

    def hosts(self) -> tuple[Host, ...]: ...


@runtime_checkable
class Elastic(HostSource, Protocol):
    """Hosts that can be made and removed.

    `launch` returns one running host for each request, in order (address known, not yet proven to answer SSH);
    a host of that name that exists is returned as it is when running, started again when stopped: a rerun
    launches nothing twice. `terminate` of one that is gone is not an error. `destroy` removes everything that
    the provider made for this fleet, and nothing else, also after a crash in the middle of any call.
    Raise ProviderError with a hint.
    """

    def launch(self, requests: Sequence[HostRequest], on_event: OnEvent) -> tuple[Host, ...]: ...

    def terminate(self, names: Sequence[str]) -> None: ...

    def destroy(self, on_event: OnEvent) -> None: ...


@runtime_checkable
class Baker(Elastic, Protocol):
    """An elastic provider that can keep a host's disk as an image to start others from.

    `prepare` makes what bare hosts start from (packages, base image) and returns a digest of its recipe, which is
    part of every image key. `seal` stops a host that was launched as a draft, keeps its disk under `key`, and removes
    the host.
    """

    def prepare(self, on_event: OnEvent) -> str: ...

    def images(self) -> frozenset[str]: ...

    def seal(self, name: str, key: str) -> None: ...


class Session(Protocol):
    """A program that stays on a host and answers lines with lines."""

    def ask(self, line: str, *, timeout: float) -> str:
        """Return the next line that it writes after it was sent `line`. Raises ConnectError when none comes in time,
        or when it has ended; then the session is of no more use."""
        ...


class Remote(Protocol):
    """Commands on hosts over SSH, keys pinned.

    `run` sends `stdin` (may hold secrets; argv must not) and raises ConnectError when the host cannot be reached or
    the command passes `timeout` (seconds). `on_line` receives stdout line by line as it comes.
    `fan_out` returns one outcome per host in the caller's order, bounded in parallel; it raises nothing per host.
    Its `stdin` maps host names to texts; `on_done` is told each host's name as it ends.
    `session` starts a program that stays until the end of the `with` block: it raises ConnectError when the host is not
    reached within `timeout`, and sends `stdin` first.
    """

    def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult: ...

    def fan_out(
        self,
        hosts: Sequence[Host],
        argv: Sequence[str],
        *,
        stdin: Mapping[str, str] | None = None,
        timeout: float,
        on_done: Callable[[str], None] | None = None,
    ) -> tuple[Outcome[CommandResult], ...]: ...

    def session(
        self, host: Host, argv: Sequence[str], *, stdin: str = "", timeout: float
    ) -> AbstractContextManager[Session]: ...

    def wait_until_up(self, hosts: Sequence[Host], *, timeout: float) -> tuple[Outcome[None], ...]: ...


class Converger(Protocol):
    """Ansible. `inventory` is the JSON that core.inventory makes; `limit` host names; `tags` None for all."""

    def converge(
        self,
        playbook: str,
        inventory: Mapping[str, Any],
        *,
        phase: str,
        limit: Sequence[str],
        tags: Sequence[str] | None,
        on_event: OnEvent,
    ) -> ConvergeReport: ...


@dataclass(frozen=True)
class Fleet:
    """What a workflow acts on: the spec, and the ports to the world."""

    spec: FleetSpec
    source: HostSource
    remote: Remote
    converger: Converger
    context: Callable[[], Context]
    redis_url: Callable[[str], str]  # of a Redis user ("worker", "producer"), password included
    pin: Callable[[Sequence[Host]], None]  # makes the provider's host keys the only ones that are accepted
