"""desired - observed -> Plan. Pure: what deploy would do, as a value that it shows and then applies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleetctl.core.layout import APP_GROUPS, WantedHost
from fleetctl.model import Host, HostRequest, HostState

NEW = "does not exist"  # the reason for launching a host that was not there
EXPORTING = "exports the storage to hosts that come"
CHANGING = "changing"  # the stamp of a host whose last change did not come to its end


@dataclass(frozen=True)
class Plan:
    """What a deploy does. Every host of the spec is in exactly one of launch, converge and keep, except that launched
    hosts are converged too; others are retired, or left alone where they are not the fleet's."""

    bake: tuple[HostRequest, ...] = ()  # throw-away machines whose disks become images; `image` is the key
    launch: tuple[HostRequest, ...] = ()
    converge: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    retire: tuple[str, ...] = ()  # idle ones first
    busy: Mapping[str, int] = field(default_factory=dict)  # host to retire -> jobs that run there, where it is known
    reasons: Mapping[str, str] = field(default_factory=dict)  # host -> why
    unknown: Mapping[str, str] = field(default_factory=dict)  # host outside the spec that could not be asked -> why

    @property
    def is_empty(self) -> bool:
        return not (self.bake or self.launch or self.converge or self.retire)


@dataclass(frozen=True)
class Observed:
    """What there is: the provider's hosts and the stamp that each carries (absent: not set up, or not readable)."""

    hosts: tuple[Host, ...]
    stamps: Mapping[str, str]
    images: frozenset[str] = frozenset()
    silent: Mapping[str, str] = field(default_factory=dict)  # host -> why it could not be asked


def make(
    wanted: Sequence[WantedHost],
    observed: Observed,
    *,
    stamps: Mapping[str, str],
    images: Mapping[tuple[str, ...], str],
    is_elastic: bool,
    storage: bool,
    exports: bool = False,
    running_jobs: Mapping[str, int] | None = None,
    force: bool = False,
) -> Plan:
    """Return the plan. `stamps`: host -> stamp it should carry (absent while its address is unknown). `images`: groups
    -> key of the image that such hosts start from (empty where the provider bakes none). `running_jobs`: host -> jobs,
    where it was asked. `exports`: the hosts of group nfs export the storage, by address. `force` converges all."""
    existing = {host.name: host for host in observed.hosts}
    reasons: dict[str, str] = {}
    launch: list[HostRequest] = []
    converge: list[str] = []
    keep: list[str] = []
    for host in wanted:
        there = existing.get(host.name)
        if is_elastic and (there is None or there.state is HostState.STOPPED):
            reasons[host.name] = NEW if there is None else "is stopped"
            launch.append(HostRequest(host.name, host.groups, images.get(host.groups), storage))
            converge.append(host.name)
        elif force:
            reasons[host.name] = "every role is asked for"
            converge.append(host.name)
        elif host.name not in observed.stamps:
            reasons[host.name] = observed.silent.get(host.name, "carries no stamp")
            converge.append(host.name)
        elif observed.stamps[host.name] == CHANGING:
            reasons[host.name] = "its last change did not come to its end"
            converge.append(host.name)
        elif observed.stamps[host.name] != stamps.get(host.name):
            reasons[host.name] = "was set up from other roles, settings, app or secrets"
            converge.append(host.name)
        else:
            keep.append(host.name)
    if exports and any(reasons[request.name] == NEW and _mounts(request) for request in launch):
        # Their addresses are not known yet, so the stamps do not tell.
        exporting = [host.name for host in wanted if host.name in keep and "nfs" in host.groups]
        reasons |= dict.fromkeys(exporting, EXPORTING)
        converge += exporting
        keep = [name for name in keep if name not in exporting]
    names = {host.name for host in wanted}
    strangers = [host.name for host in observed.hosts if host.name not in names]
    jobs = running_jobs or {}
    retire = sorted((n for n in strangers if is_elastic or n in observed.stamps), key=lambda name: jobs.get(name, 0))
    for name in retire:
        reasons[name] = "is not wanted any more" + (f", {jobs[name]} jobs run there" if jobs.get(name) else "")
    needed = {request.roles: request.image for request in launch if request.image is not None}
    bake = [
        HostRequest(f"bake-{'-'.join(groups)}", groups, key)
        for groups, key in needed.items()
        if key not in observed.images
    ]
    unknown = {name: observed.silent[name] for name in strangers if name not in retire and name in observed.silent}
    busy = {name: jobs[name] for name in retire if jobs.get(name)}
    return Plan(tuple(bake), tuple(launch), tuple(converge), tuple(keep), tuple(retire), busy, reasons, unknown)


def _mounts(request: HostRequest) -> bool:
    return "nfs" not in request.roles and not APP_GROUPS.isdisjoint(request.roles)
