"""What a fleet's machines may reach: each other and the world, but no link-local address and no other fleet.

Of link-local addresses they may ask the computer's own name servers for names.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from fleetctl.adapters.providers.local import computer
from fleetctl.adapters.providers.local.network import LINKS, Network
from fleetctl.adapters.providers.local.shell import run, succeeds


def raise_table(network: Network) -> None:
    """Make the fleet's nftables table, or make it anew."""
    run(["nft", "-f", "-"], stdin=rules(network, computer.link_local_name_servers()))


def remove_table(name: str) -> None:
    """Remove a table; one that is gone is not an error."""
    if succeeds(["nft", "list", "table", "inet", name]):
        run(["nft", "delete", "table", "inet", name])


def rules(network: Network, link_local_name_servers: Iterable[IPv4Address] = ()) -> str:
    """Return the fleet's table in nft's language. From outside come only answers."""
    bridge, subnet, table = network.bridge, network.subnet, network.table
    names = "\n        ".join(
        f'iifname "{bridge}" ip daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept'
        for server in link_local_name_servers
    )
    return f"""\
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
    chain input {{
        type filter hook input priority filter - 5; policy accept;
        iifname "{bridge}" meta nfproto ipv6 drop
        iifname "{bridge}" ip saddr != {subnet} drop
        {names}
        iifname "{bridge}" ip daddr 169.254.0.0/16 drop
    }}
    chain forward {{
        type filter hook forward priority filter - 5; policy accept;
        iifname "{bridge}" meta nfproto ipv6 drop
        oifname "{bridge}" meta nfproto ipv6 drop
        iifname "{bridge}" ip saddr != {subnet} drop
        {names}
        iifname "{bridge}" ip daddr 169.254.0.0/16 drop
        iifname "{bridge}" oifname "{bridge}" accept
        iifname "{bridge}" oifname "{LINKS}*" drop
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != "{bridge}" masquerade
    }}
}}
"""


def forward_is_dropped() -> bool:
    """Tell whether iptables, nft-backed or legacy, drops what is forwarded by default, as Docker makes it do."""
    names = Path("/proc/net/ip_tables_names")
    is_legacy = names.exists() and "filter" in names.read_text(encoding="ascii").split()
    if not is_legacy and not succeeds(["nft", "list", "chain", "ip", "filter", "FORWARD"]):
        return False  # asking iptables itself would load its modules
    question = ["iptables", "-w", "-S", "FORWARD"]
    return succeeds(question) and "-P FORWARD DROP" in run(question).splitlines()


def accept_forwarding(fleet: str, bridge: str) -> None:
    """Let the fleet through such an iptables; the fleet's own table goes on filtering."""
    for rule in _forward_rules(fleet, bridge):
        if not succeeds(["iptables", "-w", "-C", *rule]):
            run(["iptables", "-w", "-I", *rule])


def stop_forwarding(fleet: str, bridge: str) -> None:
    for rule in _forward_rules(fleet, bridge):
        while succeeds(["iptables", "-w", "-D", *rule]):
            pass


def _forward_rules(fleet: str, bridge: str) -> tuple[tuple[str, ...], ...]:
    mark = ("-m", "comment", "--comment", f"fleetctl:{fleet}", "-j", "ACCEPT")
    return (("FORWARD", "-i", bridge, *mark), ("FORWARD", "-o", bridge, *mark))
