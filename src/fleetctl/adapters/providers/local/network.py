"""A fleet's network as values: its subnet, and the names and addresses that follow from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from fleetctl.adapters.providers.local import computer
from fleetctl.adapters.providers.local.paths import Paths, locked, read_json, write_whole
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

HOST_LIMIT = 250
NETNS = Path("/run/netns")
LINKS = "flt"  # how the interfaces of all fleets begin

_FIRST = IPv4Network("10.160.0.0/24")
_COUNT = 64 * 256  # /24 networks from there on: 10.160.0.0 to 10.223.255.0


@dataclass(frozen=True)
class Network:
    """The names and addresses of one fleet. Interface names hold 15 characters, so they carry the name's hash."""

    fleet: str
    subnet: IPv4Network

    @property
    def bridge(self) -> str:
        return f"{LINKS}{hashlib.sha256(self.fleet.encode()).hexdigest()[:7]}"

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

    def mac(self, number: int) -> str:
        """Return a hardware address that stays with the number (0: the bridge), so that no neighbour's cache lies."""
        raw = bytes([0x02]) + hashlib.sha256(self.fleet.encode()).digest()[:3] + number.to_bytes(2)
        return raw.hex(":")


def choose_subnet(fleet: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return a /24 that overlaps nothing of `taken`. Pure; the fleet's name decides where the search starts."""
    taken = tuple(taken)
    start = int.from_bytes(hashlib.sha256(fleet.encode()).digest()[:2])
    for step in range(_COUNT):
        offset = (start + step) % _COUNT * _FIRST.num_addresses
        subnet = IPv4Network((int(_FIRST.network_address) + offset, _FIRST.prefixlen))
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise ProviderError("no free /24 network from 10.160.0.0 to 10.223.255.0", hint="set provider.subnet in fleet.yml")


def check_subnet(text: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the subnet that the user named; raise ProviderError when it cannot serve. Pure."""
    try:
        subnet = IPv4Network(text)
    except ValueError as exc:
        raise ProviderError(f"provider.subnet {text}: {exc}", hint="write a network such as 10.99.0.0/24") from exc
    if not 16 <= subnet.prefixlen <= 28:
        raise ProviderError(f"provider.subnet {text}: not from /16 to /28", hint="write one such as 10.99.0.0/24")
    for other in taken:
        if subnet.overlaps(other):
            raise ProviderError(
                f"provider.subnet {text} overlaps {other}, which this computer uses",
                hint="leave provider.subnet out, and a free one is picked",
            )
    return subnet


def load(paths: Paths) -> Network | None:
    """Return the network that the fleet was given; None before its first launch."""
    content = read_json(paths.network)
    return Network(paths.fleet_name, IPv4Network(content["subnet"])) if content else None


def assign(paths: Paths, wanted: str | None) -> Network:
    """Return the fleet's network: the one that it has, or one that nobody on this computer uses."""
    if network := load(paths):
        if wanted and wanted != str(network.subnet):
            raise ProviderError(
                f"fleet {paths.fleet_name} lives in {network.subnet}, not in {wanted}",
                hint="fleetctl destroy, then deploy anew",
            )
        return network
    with locked("subnets"):
        taken = [*_used_here(), *_used_by_fleets(paths)]
        subnet = check_subnet(wanted, taken) if wanted else choose_subnet(paths.fleet_name, taken)
        write_whole(paths.network, json.dumps({"subnet": str(subnet)}))
    return Network(paths.fleet_name, subnet)


def _used_here() -> list[IPv4Network]:
    """Return what this computer's addresses, routes and name servers occupy."""
    links = json.loads(run(["ip", "-json", "-4", "address"]))
    addresses = [f"{entry['local']}/{entry['prefixlen']}" for link in links for entry in link.get("addr_info", ())]
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]))
    destinations = [route["dst"] for route in routes if route["dst"] != "default"]
    servers = [f"{server}/32" for server in computer.all_name_servers()]
    return [IPv4Network(text, strict=False) for text in (*addresses, *destinations, *servers)]


def _used_by_fleets(paths: Paths) -> list[IPv4Network]:
    contents = [read_json(directory / "network.json") for directory in paths.fleets.iterdir()]
    return [IPv4Network(content["subnet"]) for content in contents if content]
