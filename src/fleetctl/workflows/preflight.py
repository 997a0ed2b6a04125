"""preflight: every ceiling on the way to a number of slots, on what the hosts say where there are some."""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.core import preflight as core
from fleetctl.core.hostfacts import COMMAND, HostFacts, parse
from fleetctl.core.layout import WantedHost
from fleetctl.core.preflight import Preflight
from fleetctl.errors import FleetError
from fleetctl.model import Host
from fleetctl.ports import Fleet
from fleetctl.workflows import survey as ask
from fleetctl.workflows.capacity import max_clients, max_connections

_SECONDS = 15


def preflight(
    fleet: Fleet, wanted: Sequence[WantedHost], hosts: Sequence[Host], helpers: Sequence[Host], *, slots: int
) -> Preflight:
    """Return the ceilings. `hosts` are those that run; without any, fleet.yml alone is judged."""
    facts: dict[str, HostFacts] = {}
    unknown: dict[str, str] = {}
    for outcome in fleet.remote.fan_out(hosts, ["sh", "-c", COMMAND], timeout=_SECONDS):
        if outcome.value is None:
            unknown[outcome.host] = outcome.error or "no answer"
        elif outcome.value.code:
            unknown[outcome.host] = outcome.value.stderr.strip()[-200:] or f"exit code {outcome.value.code}"
        else:
            facts[outcome.host] = parse(outcome.value.stdout)
    alive = [host for host in helpers if host.name in facts]
    clients, notes = None, []
    if alive:
        try:
            clients = max_clients(ask.survey(fleet, alive))
        except FleetError as error:
            notes.append(f"Redis was not asked: {error.message}")
    return core.preflight(
        fleet.spec, slots, wanted=wanted, facts=facts, unknown=unknown,
        max_connections=max_connections(fleet, alive) if alive else None, max_clients=clients, notes=notes,
    )  # fmt: skip
