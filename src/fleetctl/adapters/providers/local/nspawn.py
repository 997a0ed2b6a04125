"""A machine as a systemd-nspawn container: this computer's kernel, a disk of layers, a network namespace."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetctl.adapters.providers.local import process
from fleetctl.adapters.providers.local.machine import Machine
from fleetctl.adapters.providers.local.network import NETNS
from fleetctl.adapters.providers.local.recipe import INIT


@dataclass(frozen=True)
class Nspawn:
    """What the container has beside its directory. Implements Guest."""

    namespace: str
    binds: tuple[tuple[Path, str], ...] = ()  # (directory here, mount point there)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
            "SYSTEMD_NSPAWN_TMPFS_TMP": "0",  # /tmp on disk, as on Debian 12
        }

    def boot(self, machine: Machine) -> str:
        """Become nspawn, which therefore has this process id, and ends with REBOOTED by itself."""
        command = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={machine.directory / 'root'}",
            "--register=no",
            "--keep-unit",
            f"--machine={machine.title}",
            f"--hostname={machine.name}",
            f"--network-namespace-path={NETNS / self.namespace}",
            "--capability=CAP_NET_ADMIN",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--kill-signal=SIGRTMIN+3",
            "--console=passive",
            *(f"--bind={source}:{target}" for source, target in self.binds),
            INIT,
        ]
        return f"echo $$ >{shlex.quote(str(machine.directory / process.PID))}\nexec {shlex.join(command)}"

    def shut_down(self, pid: int) -> None:
        process.send(pid, signal.SIGTERM)

    def cut_power(self, machine: Machine, pid: int) -> None:
        """Kill the guest's PID 1: everything in it is gone at once."""
        del machine
        for init in process.children_of(pid):
            process.send(init, signal.SIGKILL)
