"""destroy: remove everything that was made for a fleet."""

from __future__ import annotations

from fleetctl.model import OnEvent
from fleetctl.ports import Elastic, Fleet
from fleetctl.workflows.observe import stamps
from fleetctl.workflows.retire import retire


def destroy(fleet: Fleet, on_event: OnEvent) -> dict[str, str]:
    """Remove the fleet. Return host -> error for those that could not be retired (static providers).

    An elastic provider's machines go at once, jobs and data with them: that is what was confirmed.
    """
    if isinstance(fleet.source, Elastic):
        fleet.source.destroy(on_event)
        return {}
    carrying, silent = stamps(fleet.source.hosts(), fleet.remote)
    return silent | retire(fleet, tuple(carrying), fleet.context(), on_event)
