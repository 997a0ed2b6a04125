"""Who holds which job, as the workers' ledger says; and giving back what a dead host held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fleetctl.core.layout import WantedHost
from fleetctl.errors import UsageError
from fleetctl.model import Host, HostState
from fleetctl.ports import Elastic, Fleet
from fleetctl.workflows.agent import answering, ask_any, with_app

_SECONDS = 60


@dataclass(frozen=True)
class Rescue:
    """What became of the jobs that a dead host held."""

    host: str
    restored: tuple[str, ...] = ()  # jobs that are in their queues again
    quarantined: tuple[str, ...] = ()  # jobs whose workers have died under them too often


def running_jobs(fleet: Fleet, helpers: Sequence[Host]) -> dict[str, int]:
    """Return host -> jobs that it holds, asked of one of `helpers`. Raises FleetError when none can say."""
    request = {"command": "claims", "redis_url": fleet.redis_url("worker")}
    answer = ask_any(fleet.remote, helpers, request, timeout=_SECONDS)
    return dict(Counter(claim["host"] for claim in answer["claims"]))


def rescue(fleet: Fleet, wanted: Sequence[WantedHost], name: str, *, confirmed_dead: bool) -> Rescue:
    """Give back the jobs of a host that is dead. Raises UsageError while it may be alive: its jobs would run twice.

    It is dead when an elastic provider says that it is gone or stopped, or when the operator says so and it does not
    answer. Where the provider runs another machine under its name, the jobs of the earlier machine are given back.
    """
    there = {host.name: host for host in fleet.source.hosts() if host.state is not HostState.STOPPED}
    runs = there.get(name)
    doubt = _may_be_alive(name, fleet.source.kind)
    if not confirmed_dead and (not isinstance(fleet.source, Elastic) or (runs is not None and runs.machine_id is None)):
        raise doubt
    if confirmed_dead and runs is not None and answering(fleet.remote, [runs]):
        raise UsageError(f"{name} is alive: it answers", hint=f"fleetctl ssh {name} systemctl status 'fleet-worker@*'")
    machine = runs.machine_id if runs is not None and not confirmed_dead else None
    others = [host for host in there.values() if host.state is HostState.RUNNING and host.name != name]
    found = give_back(fleet, answering(fleet.remote, with_app(wanted, others)), name, machine=machine)
    if machine is not None and not (found.restored or found.quarantined):
        raise doubt
    return found


def give_back(fleet: Fleet, helpers: Sequence[Host], name: str, *, machine: str | None = None) -> Rescue:
    """Give back what a host holds, without asking whether it is dead; `machine`: all but that machine's."""
    request = {"command": "rescue", "host": name, "machine": machine, "redis_url": fleet.redis_url("worker")}
    answer = ask_any(fleet.remote, helpers, request, timeout=_SECONDS)
    return Rescue(name, tuple(answer["restored"]), tuple(answer["quarantined"]))


def _may_be_alive(name: str, kind: str) -> UsageError:
    said = "cannot know" if kind == "static" else "says that it runs"
    hint = f"make sure that it is off, then: fleetctl rescue {name} --confirmed-dead"
    return UsageError(f"{name} may be alive: provider {kind} {said}, and its jobs would run twice", hint=hint)
