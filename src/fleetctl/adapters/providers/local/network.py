"""A fleet's network on this computer: one bridge, one nftables table, and for each machine a namespace and a cable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path

from fleetctl.adapters.providers.local.paths import Paths, locked, read_json, write_whole
from fleetctl.adapters.providers.local.shell import run, succeeds
from fleetctl.errors import ProviderError

HOST_LIMIT = 250
NETNS = Path("/run/netns")
_LINKS = "fc"  # how the names of all fleets' interfaces begin


@dataclass(frozen=True)
class Network:
    """The names and addresses of one fleet. Interface names hold 15 characters, so they carry the name's hash."""

    fleet: str
    subnet: IPv4Network

    @property
    def _token(self) -> str:
        return hashlib.sha256(self.fleet.encode()).hexdigest()[:7]

    @property
    def bridge(self) -> str:
        return f"{_LINKS}{self._token}"

    @property
    def table(self) -> str:
        return f"fleetctl_{self.fleet.replace('-', '_')}"

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet[1]

    @property
    def capacity(self) -> int:
        return min(HOST_LIMIT, self.subnet.num_addresses - 3)

    def link(self, number: int) -> str:
        return f"{self.bridge}-{number}"

    def namespace(self, host: str) -> str:
        return f"{self.fleet}.{host}"

    def address(self, number: int) -> IPv4Address:
        return self.subnet[number + 1]


def choose_subnet(fleet: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """A /24 that overlaps nothing of `taken`. Pure; a fleet's name decides where the search starts."""
    taken = tuple(taken)
    first = int.from_bytes(hashlib.sha256(fleet.encode()).digest()[:2])
    for step in range(64 * 256):
        number = (first + step) % (64 * 256)
        subnet = IPv4Network(((10 << 24) + (160 << 16) + (number << 8), 24))
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise ProviderError("no free /24 in 10.160.0.0/10", hint="set provider.subnet in fleet.yml")


def check_subnet(text: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """The subnet that the user named; raise ProviderError when it cannot serve."""
    try:
        subnet = IPv4Network(text)
    except (AddressValueError, ValueError) as exc:
        raise ProviderError(f"provider.subnet {text}: {exc}", hint="write a network such as 10.99.0.0/24") from exc
    if not 16 <= subnet.prefixlen <= 28:
        raise ProviderError(f"provider.subnet {text}: the prefix must be from /16 to /28")
    for other in taken:
        if subnet.overlaps(other):
            raise ProviderError(
                f"provider.subnet {text} overlaps {other}, which this computer uses",
                hint="leave provider.subnet out, and a free one is picked",
            )
    return subnet


def load(paths: Paths) -> Network | None:
    content = read_json(paths.network)
    return Network(paths.fleet_name, IPv4Network(content["subnet"])) if content else None


def assign(paths: Paths, wanted: str | None) -> Network:
    """The fleet's network: the one that it has, or one that nobody on this computer uses."""
    if network := load(paths):
        if wanted and IPv4Network(wanted) != network.subnet:
            raise ProviderError(
                f"fleet {paths.fleet_name} lives in {network.subnet}, not in {wanted}", hint="fleetctl destroy, then deploy"
            )
        return network
    with locked("subnets"):
        taken = _used_here() + _used_by_fleets(paths)
        subnet = check_subnet(wanted, taken) if wanted else choose_subnet(paths.fleet_name, taken)
        write_whole(paths.network, json.dumps({"subnet": str(subnet)}))
    return Network(paths.fleet_name, subnet)


def raise_bridge(network: Network) -> None:
    """Make the bridge, its filter and its way out, as far as they are missing."""
    if not _has_link(network.bridge):
        mtu = _uplink_mtu()
        _ip(
            f"link add {network.bridge} type bridge stp_state 0 forward_delay 0",
            f"link set {network.bridge} alias fleetctl:{network.fleet} mtu {mtu} addrgenmode none",
        )
    ipv6 = Path(f"/proc/sys/net/ipv6/conf/{network.bridge}/disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1\n", encoding="ascii")
    _ip(
        f"address replace {network.gateway}/{network.subnet.prefixlen} dev {network.bridge}",
        f"link set {network.bridge} up",
    )
    run(["nft", "-f", "-"], stdin=filter_rules(network))


def filter_rules(network: Network) -> str:
    """The fleet's nftables table: out to the world by masquerade; not to link-local addresses, not to other fleets."""
    bridge = network.bridge
    return f"""\
table inet {network.table} {{}}
delete table inet {network.table}
table inet {network.table} {{
    chain input {{
        type filter hook input priority filter - 5; policy accept;
        iifname "{bridge}" meta nfproto ipv6 drop
        iifname "{bridge}" ip daddr 169.254.0.0/16 drop
        iifname "{bridge}" ip saddr != {network.subnet} drop
    }}
    chain forward {{
        type filter hook forward priority filter - 5; policy accept;
        iifname "{bridge}" meta nfproto ipv6 drop
        oifname "{bridge}" meta nfproto ipv6 drop
        iifname "{bridge}" ip daddr 169.254.0.0/16 drop
        iifname "{bridge}" oifname "{bridge}" accept
        iifname "{bridge}" ip saddr != {network.subnet} drop
        iifname "{bridge}" oifname "{_LINKS}*" ip daddr 10.0.0.0/8 drop
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {network.subnet} oifname != "{bridge}" masquerade
    }}
}}
"""


def forward_rules(network: Network) -> tuple[tuple[str, ...], ...]:
    """What iptables must accept where its FORWARD drops by default, as Docker sets it."""
    mark = ("-m", "comment", "--comment", f"fleetctl:{network.fleet}")
    return (
        ("FORWARD", "-i", network.bridge, *mark, "-j", "ACCEPT"),
        ("FORWARD", "-o", network.bridge, *mark, "-j", "ACCEPT"),
    )


def forward_is_dropped() -> bool:
    """Whether an iptables policy, nft-backed or legacy, drops what is forwarded."""
    names = Path("/proc/net/ip_tables_names")
    legacy = names.exists() and "filter" in names.read_text(encoding="ascii").split()
    if not legacy and not succeeds(["nft", "list", "chain", "ip", "filter", "FORWARD"]):
        return False
    return succeeds(["iptables", "-w", "-S", "FORWARD"]) and "-P FORWARD DROP" in run(["iptables", "-w", "-S", "FORWARD"])


def accept_forwarding(network: Network) -> None:
    for rule in forward_rules(network):
        if not succeeds(["iptables", "-w", "-C", *rule]):
            run(["iptables", "-w", "-I", *rule])


def stop_forwarding(network: Network) -> None:
    for rule in forward_rules(network):
        while succeeds(["iptables", "-w", "-D", *rule]):
            pass


def plug(network: Network, hosts: Sequence[tuple[str, int]]) -> None:
    """Make namespace, cable and address for (host, number), as far as they are missing."""
    missing = [(host, number) for host, number in hosts if not (NETNS / network.namespace(host)).exists()]
    if missing:
        _ip(*(f"netns add {network.namespace(host)}" for host, _ in missing))
    cables = [(host, number) for host, number in hosts if not _has_link(network.link(number))]
    mtu = _uplink_mtu()
    for host, number in cables:
        space, link = network.namespace(host), network.link(number)
        _ip(
            f"link add {link} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {space}",
            f"link set {link} alias fleetctl:{network.fleet}:{host} addrgenmode none",
            f"link set {link} master {network.bridge} up",
        )
        commands = [
            "link set lo up",
            "link set eth0 addrgenmode none",
            f"address add {network.address(number)}/{network.subnet.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {network.gateway}",
        ]
        script = 'f=/proc/sys/net/ipv6/conf/eth0/disable_ipv6; [ ! -e $f ] || echo 1 >$f; exec ip -batch -'
        run(["nsenter", f"--net={NETNS / space}", "sh", "-c", script], stdin="\n".join(commands) + "\n")


def _used_here() -> tuple[IPv4Network, ...]:
    """What this computer's addresses, routes and name servers occupy."""
    found = [IPv4Network(f"{server}/32") for server in name_servers(Path("/etc/resolv.conf").read_text(encoding="utf-8"))]
    for link in json.loads(run(["ip", "-json", "-4", "address"])):
        for entry in link.get("addr_info", ()):
            found.append(IPv4Network(f"{entry['local']}/{entry['prefixlen']}", strict=False))
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        if route["dst"] != "default":
            found.append(IPv4Network(route["dst"], strict=False))
    return tuple(found)


def _used_by_fleets(paths: Paths) -> tuple[IPv4Network, ...]:
    contents = [read_json(path / "network.json") for path in paths.fleets.iterdir()]
    return tuple(IPv4Network(content["subnet"]) for content in contents if content)


def name_servers(resolv_conf: str) -> tuple[str, ...]:
    """IPv4 name servers of a resolv.conf that a guest can reach too. Pure."""
    words = (line.split() for line in resolv_conf.splitlines())
    servers = [parts[1] for parts in words if len(parts) > 1 and parts[0] == "nameserver" and ":" not in parts[1]]
    return tuple(server for server in servers if not IPv4Address(server).is_loopback)


def _uplink_mtu() -> int:
    """The MTU towards the world, so that guests never send what it cannot carry."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "default"]))
    if not routes or "dev" not in routes[0]:
        return 1500
    return int(json.loads(run(["ip", "-json", "link", "show", routes[0]["dev"]]))[0]["mtu"])


def _has_link(name: str) -> bool:
    return (Path("/sys/class/net") / name).exists()


def _ip(*commands: str) -> None:
    run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")
