"""status: what there is, beside what fleet.yml asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetctl.core.layout import WantedHost
from fleetctl.core.plan import CHANGING
from fleetctl.model import HostState
from fleetctl.ports import HostSource, Remote
from fleetctl.spec.models import FleetSpec

_SECONDS = 15
# First line the stamp, then "fleet-worker@worker-1.service loaded active running ..." for each unit.
_ASK = (
    "cat /etc/fleet/stamp 2>/dev/null || echo -; "
    "systemctl list-units --all --plain --no-legend --no-pager 'fleet-worker@*'"
)


@dataclass(frozen=True)
class HostStatus:
    """One host: what it is for, whether it answers, which of its units run."""

    name: str
    address: str | None
    state: str  # of the provider, or "missing"
    groups: tuple[str, ...]
    is_set_up: bool  # carries a stamp
    units: dict[str, str] = field(default_factory=dict)  # unit -> systemd's state; "unknown": the host does not answer
    slots: int = 0
    error: str | None = None


@dataclass(frozen=True)
class FleetStatus:
    """All hosts; `notes` say where the fleet differs from fleet.yml."""

    fleet: str
    provider: str
    hosts: tuple[HostStatus, ...]
    notes: tuple[str, ...]


def status(
    spec: FleetSpec, deployed: FleetSpec, layout: Sequence[WantedHost], source: HostSource, remote: Remote
) -> FleetStatus:
    """Return the status; `deployed` and `layout` are the spec fitted to what exists (core.layout.fit)."""
    wanted = {host.name: host for host in layout}
    hosts = {host.name: host for host in source.hosts()}
    running = [host for host in hosts.values() if host.state is HostState.RUNNING]
    answers = {outcome.host: outcome for outcome in remote.fan_out(running, ["sh", "-c", _ASK], timeout=_SECONDS)}
    rows = []
    for name in [*wanted, *(name for name in hosts if name not in wanted)]:
        of, host, answer = wanted.get(name), hosts.get(name), answers.get(name)
        lines = answer.value.stdout.splitlines() if answer is not None and answer.value is not None else []
        states = _unit_states(lines[1:])
        units = of.units if of is not None else ()
        rows.append(
            HostStatus(
                name=name,
                address=host.address if host is not None else None,
                state=str(host.state) if host is not None else "missing",
                groups=of.groups if of is not None else (),
                is_set_up=bool(lines) and lines[0] not in ("-", CHANGING),
                units={unit.name: states.get(unit.name, "absent" if lines else "unknown") for unit in units},
                slots=sum(unit.concurrency for unit in units),
                error=answer.error if answer is not None else None,
            )
        )
    return FleetStatus(spec.name, source.kind, tuple(rows), _notes(spec, deployed, bool(hosts)))


def _unit_states(lines: list[str]) -> dict[str, str]:
    rows = [line.split() for line in lines]
    return {row[0].removeprefix("fleet-worker@").removesuffix(".service"): row[2] for row in rows if len(row) > 2}


def _notes(spec: FleetSpec, deployed: FleetSpec, exists: bool) -> tuple[str, ...]:
    if not exists:
        return ("nothing is deployed: fleetctl deploy",)
    return tuple(
        f"pool {name}: fleet.yml asks for {pool.count} units, {deployed.pools[name].count} are there: fleetctl deploy"
        for name, pool in spec.pools.items()
        if pool.count != deployed.pools[name].count
    )
