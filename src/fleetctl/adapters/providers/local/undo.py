"""The removal of what a record names: in the reverse order of its making, each step harmless when done before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleetctl.adapters.providers.local import cables, cgroup, disk, firewall, machine, sysctl, uml
from fleetctl.adapters.providers.local.machine import Machine
from fleetctl.adapters.providers.local.parallel import each
from fleetctl.adapters.providers.local.record import Resource
from fleetctl.model import Event, OnEvent


def undo(fleet: str, resources: Sequence[Resource], on_event: OnEvent = lambda _: None) -> None:
    """Remove all of these: hosts side by side, then what they shared. Raise the first error after trying all hosts."""
    by_host: dict[str, list[Resource]] = {}
    shared = []
    for resource in reversed(resources):
        if resource.host is None:
            shared.append(resource)
        else:
            by_host.setdefault(resource.host, []).append(resource)
    each(
        lambda host: _remove_all(fleet, by_host[host]),
        list(by_host),
        on_done=lambda host: on_event(Event("step", "destroy", "gone", host=host, done=1, total=1)),
    )
    _remove_all(fleet, shared)


def _remove_all(fleet: str, resources: Sequence[Resource]) -> None:
    groups = tuple(Path(resource.name) for resource in resources if resource.kind == "cgroup")
    for resource in resources:
        name = resource.name
        match resource.kind:
            case "machine":
                machine.end(Machine(fleet, str(resource.host), Path(name), groups=groups))
            case "cgroup":
                cgroup.remove(Path(name))
            case "mount":
                disk.unmount(Path(name))
            case "sockets":
                uml.forget(Path(name))
            case "netns":
                cables.unplug(name)
            case "link" | "bridge":
                cables.remove_link(name)
            case "table":
                firewall.remove_table(name)
            case "forward":
                firewall.stop_forwarding(fleet, name)
            case "directory":
                disk.remove(Path(name))
            case "sysctls":
                # Docker, come meanwhile, needs forwarding too; its sign is that it drops what it does not know.
                sysctl.release(Path(name), keep=[sysctl.IP_FORWARD] if firewall.forward_is_dropped() else [])
