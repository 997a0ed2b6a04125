"""What there is: hosts of the provider and the stamps that they carry."""

from __future__ import annotations

from collections.abc import Sequence

from fleetctl.core.plan import Observed
from fleetctl.model import Host, HostState
from fleetctl.ports import Baker, HostSource, Remote

_STAMP_SECONDS = 15


def observe(source: HostSource, remote: Remote) -> Observed:
    """Return the provider's hosts with their stamps. A host that does not answer has none."""
    hosts = source.hosts()
    carried, silent = stamps(hosts, remote)
    return Observed(hosts, carried, source.images() if isinstance(source, Baker) else frozenset(), silent)


def stamps(hosts: Sequence[Host], remote: Remote) -> tuple[dict[str, str], dict[str, str]]:
    """Return host -> stamp for those running hosts that carry one, and host -> error for those that do not answer."""
    running = [host for host in hosts if host.state is HostState.RUNNING]
    outcomes = remote.fan_out(running, ["cat", "/etc/fleet/stamp"], timeout=_STAMP_SECONDS)
    carried = {
        outcome.host: outcome.value.stdout.strip()
        for outcome in outcomes
        if outcome.value is not None and outcome.value.code == 0
    }
    return carried, {outcome.host: outcome.error for outcome in outcomes if outcome.error is not None}
