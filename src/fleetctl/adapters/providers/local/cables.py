"""A fleet's bridge on this computer, and for each machine a cable to it: into a namespace, or into a process."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from fleetctl.adapters.providers.local.network import NETNS, Network
from fleetctl.adapters.providers.local.shell import run, succeeds
from fleetctl.errors import ProviderError

_LINKS = Path("/sys/class/net")

# No IPv6 on a machine's interface: what follows would let it talk to this computer's link-local addresses.
_INSIDE = "f=/proc/sys/net/ipv6/conf/eth0/disable_ipv6; [ ! -e $f ] || echo 1 >$f; exec ip -batch -"


def has_link(name: str) -> bool:
    return (_LINKS / name).exists()


def raise_bridge(network: Network) -> None:
    """Make the bridge and give it the gateway's address, as far as that is missing."""
    bridge = network.bridge
    if not has_link(bridge):
        _ip(f"link add {bridge} address {network.mac(0)} mtu {uplink_mtu()} type bridge stp_state 0 forward_delay 0")
    _ip(f"link set {bridge} alias fleetctl:{network.fleet} addrgenmode none")
    ipv6 = Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1\n", encoding="ascii")
    _ip(f"address replace {network.gateway}/{network.subnet.prefixlen} dev {bridge}", f"link set {bridge} up")


def plug(network: Network, hosts: Sequence[tuple[str, int]]) -> None:
    """Make namespace, cable and address for each (host, number), as far as they are missing or half made."""
    mtu = uplink_mtu()
    for host, number in hosts:
        space, link = network.namespace(host), network.link(number)
        if not os.path.ismount(NETNS / space):  # Path.is_mount knows directories only
            (NETNS / space).unlink(missing_ok=True)
            _ip(f"netns add {space}")
        if (_LINKS / link / "master").exists():  # set last
            continue
        remove_link(link)
        _ip(
            f"link add {link} mtu {mtu} type veth peer name eth0 address {network.mac(number)} mtu {mtu} netns {space}",
            f"link set {link} alias fleetctl:{network.fleet}:{host} addrgenmode none",
        )
        inside = [
            "link set lo up",
            "link set eth0 addrgenmode none",
            f"address add {network.address(number)}/{network.subnet.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {network.gateway}",
        ]
        run(["nsenter", f"--net={NETNS / space}", "sh", "-c", _INSIDE], stdin="\n".join(inside) + "\n")
        _ip(f"link set {link} master {network.bridge} up")


def plug_taps(network: Network, hosts: Sequence[tuple[str, int]]) -> None:
    """Make for each (host, number) the interface that user-mode Linux opens, as far as it is missing or half made."""
    mtu = uplink_mtu()
    for host, number in hosts:
        link = network.link(number)
        if (_LINKS / link / "master").exists():  # set last
            continue
        remove_link(link)
        _ip(
            f"tuntap add dev {link} mode tap",
            f"link set {link} mtu {mtu} alias fleetctl:{network.fleet}:{host} addrgenmode none",
            f"link set {link} master {network.bridge} up",
        )


def unplug(namespace: str) -> None:
    """Remove a namespace, and with it its cable; one that is gone is not an error."""
    if os.path.ismount(NETNS / namespace):
        run(["ip", "netns", "delete", namespace])
    (NETNS / namespace).unlink(missing_ok=True)


def remove_link(name: str) -> None:
    """Remove an interface; one that is gone, or goes meanwhile with its namespace, is not an error."""
    if has_link(name) and not succeeds(["ip", "link", "delete", name]) and has_link(name):
        raise ProviderError(f"cannot remove network interface {name}", hint=f"ip link delete {name}")


def set_forwarding(network: Network, number: int, *, is_on: bool) -> None:
    """Let the bridge forward what comes and goes by a machine's cable, or drop it; the machine sees no difference.

    Not by taking the interface down: user-mode Linux would not get over that.
    """
    disabled, forwarding = 0, 3
    run(["bridge", "link", "set", "dev", network.link(number), "state", str(forwarding if is_on else disabled)])


def uplink_mtu() -> int:
    """Return the MTU towards the world, so that guests never send what it cannot carry."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "default"]))
    if not routes or "dev" not in routes[0]:
        return 1500
    return int(json.loads(run(["ip", "-json", "link", "show", routes[0]["dev"]]))[0]["mtu"])


def _ip(*commands: str) -> None:
    run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")
