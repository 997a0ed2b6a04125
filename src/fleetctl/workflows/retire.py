"""retire: let jobs finish, then take hosts out of the fleet."""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.core.inventory import Context, leaving
from fleetctl.model import Event, HostState, OnEvent
from fleetctl.ports import Elastic, Fleet

PHASE = "retire"


def retire(fleet: Fleet, names: Sequence[str], context: Context, on_event: OnEvent) -> dict[str, str]:
    """Drain the hosts and, where the provider made them, terminate them. Return host -> error for those that failed.

    Stopping a unit waits for its running jobs, at most for its stop timeout. A host that runs and cannot be drained is
    not terminated: its jobs may still be running.
    """
    hosts = [host for host in fleet.source.hosts() if host.name in names]
    running = [host for host in hosts if host.state is HostState.RUNNING]
    failed: dict[str, str] = {}
    if running:
        longest = max(pool.stop_seconds for pool in fleet.spec.pools.values())
        on_event(Event("note", PHASE, f"running jobs may take up to {longest} s to finish"))
        report = fleet.converger.converge(
            "retire.yml",
            leaving(running, context),
            phase=PHASE,
            limit=[host.name for host in running],
            tags=None,
            on_event=on_event,
        )
        failed = {host.host: "; ".join(host.errors) or "failed" for host in report.hosts if not host.is_ok}
    if isinstance(fleet.source, Elastic):
        fleet.source.terminate([host.name for host in hosts if host.name not in failed])
    return failed
