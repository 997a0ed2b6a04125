"""Machines on a computer whose PID 1 is systemd are delegated units; tried for real by the drill of that name."""

from __future__ import annotations

from pathlib import Path

from fleetctl.adapters.providers.local.machine import REBOOTED, Machine, unit_command


def test_a_machine_s_unit_is_delegated_and_comes_back_after_a_reboot_alone() -> None:
    machine = Machine("demo", "w1", Path("/var/lib/fleetctl/fleets/demo/machines/w1"), namespace="demo.w1")
    command = unit_command(machine)
    assert command[0] == "systemd-run"
    assert "--unit=fleetctl-demo-w1.service" in command
    assert {"--property=Delegate=yes", f"--property=RestartForceExitStatus={REBOOTED}"} < set(command)
    assert not [word for word in command if word.startswith("--property=Restart=")]
    assert command[-2:] == ["sh", "/var/lib/fleetctl/fleets/demo/machines/w1/boot"]
    assert not [word for word in command if "proxy" in word.lower()]
