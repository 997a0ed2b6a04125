"""destroy: remove everything that was made for a fleet."""

from __future__ import annotations

from fleetctl.model import OnEvent
from fleetctl.ports import Elastic, HostSource, Remote
from fleetctl.spec.models import FleetSpec
from fleetctl.workflows.observe import stamps
from fleetctl.workflows.retire import retire


def destroy(spec: FleetSpec, source: HostSource, remote: Remote, on_event: OnEvent) -> dict[str, str]:
    """Remove the fleet. Return host -> error for those that could not be retired (static providers).

    An elastic provider's machines go at once, jobs and data with them: that is what was confirmed.
    """
    if isinstance(source, Elastic):
        source.destroy(on_event)
        return {}
    carrying = stamps(source.hosts(), remote)
    return retire(source, remote, tuple(carrying), spec, on_event)
