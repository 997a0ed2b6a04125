"""retire: let jobs finish, then take hosts out of the fleet."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fleetctl.core.inventory import Context, leaving
from fleetctl.model import Event, Host, HostState, OnEvent
from fleetctl.ports import Elastic, Fleet

PHASE = "retire"


def retire(
    fleet: Fleet, names: Sequence[str], context: Context, on_event: OnEvent, *, busy: Collection[str] = ()
) -> dict[str, str]:
    """Drain the hosts and, where the provider made them, terminate them. Return host -> error for those that failed.

    Stopping a unit waits for its running jobs, at most for its stop timeout; the hosts that are not `busy` go first, so
    that they wait for nobody. A host that runs and cannot be drained is not terminated: its jobs may still be running.
    """
    hosts = [host for host in fleet.source.hosts() if host.name in names]
    running = [host for host in hosts if host.state is HostState.RUNNING]
    _terminate(fleet, [host.name for host in hosts if host not in running])
    failed: dict[str, str] = {}
    for group in ([h for h in running if h.name not in busy], [h for h in running if h.name in busy]):
        failed |= _drain(fleet, group, context, on_event) if group else {}
        _terminate(fleet, [host.name for host in group if host.name not in failed])
    return failed


def _drain(fleet: Fleet, hosts: Sequence[Host], context: Context, on_event: OnEvent) -> dict[str, str]:
    longest = max(pool.stop_seconds for pool in fleet.spec.pools.values())
    on_event(Event("note", PHASE, f"running jobs may take up to {longest} s to finish"))
    report = fleet.converger.converge(
        "retire.yml",
        leaving(hosts, context),
        phase=PHASE,
        limit=[host.name for host in hosts],
        tags=None,
        on_event=on_event,
    )
    return {host.host: "; ".join(host.errors) or "failed" for host in report.hosts if not host.is_ok}


def _terminate(fleet: Fleet, names: Sequence[str]) -> None:
    if names and isinstance(fleet.source, Elastic):
        fleet.source.terminate(names)
