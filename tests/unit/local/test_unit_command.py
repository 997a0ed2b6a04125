"""Machines on a computer whose PID 1 is systemd are delegated units; tried for real by the drill of that name."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from fleetctl.adapters.providers.local.machine import REBOOTED, Machine, unit_command
from fleetctl.adapters.providers.local.network import Network
from fleetctl.adapters.providers.local.nspawn import Nspawn


def test_a_machine_s_unit_is_delegated_and_comes_back_after_a_reboot_alone() -> None:
    machine = Machine("demo", "w1", Path("/var/lib/fleetctl/fleets/demo/machines/w1"))
    command = unit_command(machine, Nspawn("demo.w1"))
    assert command[0] == "systemd-run"
    assert "--unit=fleetctl-demo.w1.service" in command
    assert {"--property=Delegate=yes", f"--property=RestartForceExitStatus={REBOOTED}"} < set(command)
    assert not [word for word in command if word.startswith("--property=Restart=")]
    assert command[-2:] == ["sh", "/var/lib/fleetctl/fleets/demo/machines/w1/boot"]
    assert not [word for word in command if "proxy" in word.lower()]


def test_two_fleets_never_share_a_name() -> None:
    pairs = [("prod", "eu-worker-1"), ("prod-eu", "worker-1")]
    machines = [Machine(fleet, host, Path("/nowhere")) for fleet, host in pairs]
    networks = [Network(fleet, IPv4Network("10.160.0.0/24")) for fleet, _ in pairs]
    assert len({machine.unit for machine in machines} | {machine.title for machine in machines}) == 4
    assert len({network.namespace(host) for network, (_, host) in zip(networks, pairs, strict=True)}) == 2
    assert len({name for network in networks for name in (network.bridge, network.table, network.link(1))}) == 6
