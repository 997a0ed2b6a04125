"""What all machines of a fleet stand on: its directory, network, filter, raised settings and shared storage."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from fleetctl.adapters.providers.local import cables, firewall, identity, network, sealed, sysctl
from fleetctl.adapters.providers.local.network import Network
from fleetctl.adapters.providers.local.paths import Paths
from fleetctl.adapters.providers.local.record import Record, Resource
from fleetctl.errors import ProviderError
from fleetctl.model import HostRequest


def check_kind(paths: Paths, machines: str) -> None:
    """Raise ProviderError when the fleet has machines of another kind than fleet.yml says; drafts do not count."""
    known = identity.load_all(paths.fleet / "machines").values()
    if others := [one for one in known if one.machines != machines and not one.draft]:
        raise ProviderError(
            f"{others[0].name} is a machine of kind {others[0].machines}, and fleet.yml says {machines}",
            hint="fleetctl destroy, then deploy anew",
        )


def take(paths: Paths, record: Record, requests: Sequence[HostRequest], *, subnet: str | None) -> Network:
    """Return the fleet's network; raise ProviderError, and leave nothing, when these hosts cannot be made."""
    paths.fleet.mkdir(parents=True, exist_ok=True)
    try:
        net = network.assign(paths, subnet)
        _check(paths, record, requests, net)
    except ProviderError:
        if not record.read():
            remove(paths)
        raise
    return net


def make(paths: Paths, record: Record, net: Network, *, has_storage: bool) -> None:
    """Make what is missing, recorded first."""
    record.add(Resource("sysctls", str(paths.fleet)), Resource("bridge", net.bridge), Resource("table", net.table))
    sysctl.hold(paths.fleet)
    cables.raise_bridge(net)
    firewall.raise_table(net)
    if firewall.forward_is_dropped():
        record.add(Resource("forward", net.bridge))
        firewall.accept_forwarding(net.fleet, net.bridge)
    if has_storage and not paths.storage.is_dir():
        paths.storage.mkdir()
        paths.storage.chmod(0o755)  # whatever the umask says: guests' users pass through it


def remove(paths: Paths) -> None:
    """Remove the fleet's directory, its record last: until then a second destroy finds what it needs."""
    if not paths.fleet.is_dir():
        return
    for path in paths.fleet.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != paths.record:
            path.unlink()
    shutil.rmtree(paths.fleet)


def _check(paths: Paths, record: Record, requests: Sequence[HostRequest], net: Network) -> None:
    known = identity.load_all(paths.fleet / "machines")
    names = known.keys() | {request.name for request in requests}
    if len(names) > net.capacity:
        raise ProviderError(
            f"{len(names)} hosts are too many for this computer: {net.subnet} holds {net.capacity}",
            hint="lower the count of the pools in fleet.yml",
        )
    images = sealed.keys(paths)
    for request in requests:
        if request.name not in known and request.image and request.image not in images:
            raise ProviderError(
                f"{request.name}: there is no image {request.image}", hint="deploy again: it bakes what is missing"
            )
    if cables.has_link(net.bridge) and Resource("bridge", net.bridge) not in record.read():
        raise ProviderError(
            f"this computer has a bridge {net.bridge} that is not of this fleet",
            hint=f"is there a fleet {net.fleet} under another directory? take another name",
        )
