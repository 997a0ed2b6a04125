"""retire: let jobs finish, then remove a host from the fleet."""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.model import Event, OnEvent
from fleetctl.ports import Elastic, HostSource, Remote
from fleetctl.spec.models import FleetSpec

PHASE = "retire"

# Stops every unit of the host at once and waits: systemd gives each its stop timeout, in which running jobs finish.
# What is disabled stays off after a reboot; without its stamp and credentials the host belongs to no fleet.
_LEAVE = (
    "systemctl disable --now $(systemctl list-units --all --plain --no-legend 'fleet-worker@*' | cut -d' ' -f1) "
    "2>/dev/null; rm -rf /etc/fleet/stamp /etc/fleet/credentials.json /etc/systemd/system/fleet-worker@*.service.d; "
    "systemctl daemon-reload"
)


def retire(
    source: HostSource, remote: Remote, names: Sequence[str], spec: FleetSpec, on_event: OnEvent
) -> dict[str, str]:
    """Drain the hosts and, where the provider made them, terminate them. Return host -> error for those that failed.

    A host that cannot be drained is terminated all the same only when the provider says that it does not run.
    """
    hosts = [host for host in source.hosts() if host.name in names]
    longest = max(pool.stop_seconds for pool in spec.pools.values())
    on_event(Event("note", PHASE, f"waiting for running jobs, at most {longest} s"))
    failed: dict[str, str] = {}
    running = [host for host in hosts if host.state == "running"]
    for outcome in remote.fan_out(running, ["sh", "-c", _LEAVE], timeout=longest + 60):
        if outcome.value is None or outcome.value.code != 0:
            failed[outcome.host] = outcome.error or (outcome.value.stderr.strip() if outcome.value else "no answer")
    if isinstance(source, Elastic):
        source.terminate([host.name for host in hosts if host.name not in failed])
    return failed
