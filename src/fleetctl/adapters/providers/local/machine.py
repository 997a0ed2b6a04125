"""One systemd machine as processes of this computer: started so that it outlives us, stopped, ended, cut off."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from fleetctl.adapters.providers.local import cgroup, process
from fleetctl.adapters.providers.local.paths import write_whole
from fleetctl.adapters.providers.local.shell import run, succeeds
from fleetctl.errors import ProviderError

REBOOTED = 133  # exit status of the boot script when the guest asked for a reboot, as systemd-nspawn has it
STOP_SECONDS = 90
UP_SECONDS = 180
END_SECONDS = 20

_PROPAGATE = Path("/run/systemd/nspawn/propagate")

# Enters the machine's control groups and becomes, or runs, the machine.
_BOOT = """\
#!/bin/sh
# Starts the machine {title} once. Written by fleetctl.
for group in {groups}; do
    echo 0 >"$group/cgroup.procs" || exit 1
done
{boot}
"""

_LOOP = f"""\
#!/bin/sh
# Keeps the machine {{title}} running over its reboots, as long as the file "on" is there. Written by fleetctl.
echo $$ >{{directory}}/loop.pid
while [ -e {{directory}}/on ]; do
    sh {{directory}}/boot
    [ $? -eq {REBOOTED} ] || exit 0
done
"""


@dataclass(frozen=True)
class Machine:
    """Where a machine lives on this computer."""

    fleet: str
    name: str
    directory: Path
    groups: tuple[Path, ...] = ()  # control groups that it has or had; none where systemd makes a unit

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def title(self) -> str:
        return f"{self.fleet}.{self.name}"

    @property
    def unit(self) -> str:
        return f"fleetctl-{self.title}.service"  # no fleet's name has a dot


class Guest(Protocol):
    """What differs from one kind of machine to another. `pid` is that of the process which is the machine."""

    @property
    def environment(self) -> Mapping[str, str]: ...

    def boot(self, machine: Machine) -> str:
        """Return lines of shell that note the pid, run the machine, and end with REBOOTED when it wants to reboot."""
        ...

    def shut_down(self, pid: int) -> None:
        """Ask for an orderly end."""
        ...

    def cut_power(self, machine: Machine, pid: int) -> None:
        """End everything in it at once; the disk stays as it was written."""
        ...


@cache
def has_systemd() -> bool:
    """Tell whether this computer's PID 1 is systemd: then each machine is a unit of its own."""
    return Path("/proc/1/comm").read_text(encoding="ascii").strip() == "systemd"


def start(machine: Machine, guest: Guest, groups: Sequence[Path]) -> None:
    """Start a machine in these control groups and in a session of its own. Its disk is mounted, its cable plugged."""
    directory = machine.directory
    cgroup.kill_all(groups)  # what a machine that somebody killed has left behind
    boot = _BOOT.format(title=machine.title, groups=shlex.join(map(str, groups)), boot=guest.boot(machine))
    write_whole(directory / process.BOOT, boot)
    write_whole(directory / process.LOOP, _LOOP.format(title=machine.title, directory=shlex.quote(str(directory))))
    for name in (process.PID, process.LOOP_PID):
        (directory / name).unlink(missing_ok=True)
    (directory / "on").touch()
    if has_systemd():
        succeeds(["systemctl", "reset-failed", machine.unit])
        run(unit_command(machine, guest))
        return
    with machine.console.open("ab") as console:
        subprocess.run(
            ["setsid", "--fork", "sh", str(directory / process.LOOP)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd="/",
            env=_environment(guest),
            check=True,
        )


def stop(machine: Machine, guest: Guest, *, seconds: float = STOP_SECONDS) -> None:
    """Shut a machine down in order; raise ProviderError when it is still there after `seconds`."""
    (machine.directory / "on").unlink(missing_ok=True)
    thaw(machine)
    if pid := process.leader_of(machine.directory):
        guest.shut_down(pid)
    if not _wait(lambda: not process.find(machine.directory), seconds):
        raise ProviderError(f"{machine.name}: still running {seconds:.0f} s after it was told to stop{_tail(machine)}")


def end(machine: Machine) -> None:
    """End a machine's processes at once, whatever state they are in."""
    (machine.directory / "on").unlink(missing_ok=True)
    process.kill_all(machine.directory)
    if has_systemd():
        for command in (["kill", "--signal=SIGKILL"], ["stop"], ["reset-failed"]):
            succeeds(["systemctl", *command, machine.unit])
    deadline = time.monotonic() + END_SECONDS
    while found := process.find(machine.directory):
        if time.monotonic() > deadline:
            raise ProviderError(f"{machine.name}: processes {found} do not end", hint="look at them with ps")
        process.kill_all(machine.directory)
        cgroup.kill_all(machine.groups, seconds=END_SECONDS)
    cgroup.kill_all(machine.groups, seconds=END_SECONDS)
    with contextlib.suppress(FileNotFoundError):  # nspawn leaves it where /run is on a disk
        (_PROPAGATE / machine.title).rmdir()


def cut_power(machine: Machine, guest: Guest) -> None:
    """End a running machine at once; its disk stays as it was written."""
    (machine.directory / "on").unlink(missing_ok=True)
    pid = process.leader_of(machine.directory)
    if pid is None:
        raise ProviderError(f"{machine.name} is not running", hint="fleetctl status")
    guest.cut_power(machine, pid)
    thaw(machine)
    if not _wait(lambda: not process.find(machine.directory), END_SECONDS):
        raise ProviderError(f"{machine.name}: still there {END_SECONDS} s after its power was cut{_tail(machine)}")


def freeze(machine: Machine) -> None:
    """Halt a machine's processes where they are: it answers nothing, and its connections stay open."""
    if has_systemd():
        run(["systemctl", "freeze", machine.unit])
        return
    groups = [group for group in machine.groups if group.is_dir()]
    if not [group for group in groups if cgroup.set_frozen(group, is_frozen=True)]:
        raise ProviderError(f"{machine.name}: this computer's control groups cannot freeze")


def thaw(machine: Machine) -> None:
    """Let a frozen machine go on; one that is not frozen is not an error."""
    if has_systemd():
        succeeds(["systemctl", "thaw", machine.unit])
    for group in machine.groups:
        cgroup.set_frozen(group, is_frozen=False)


def wait_until_up(machine: Machine, address: str, cancelled: threading.Event, *, seconds: float = UP_SECONDS) -> None:
    """Wait until the machine's sshd answers; raise ProviderError with the console's last words."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not cancelled.is_set():
        try:
            with socket.create_connection((address, 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        if (machine.directory / process.PID).exists() and not process.is_running(machine.directory):
            break  # it started, and is gone
        time.sleep(0.1)
    raise ProviderError(
        f"{machine.name} ({address}): no answer from its sshd{_tail(machine)}",
        hint=f"read {machine.console}, then deploy again: it goes on where it stopped",
    )


def unit_command(machine: Machine, guest: Guest) -> list[str]:
    """Return the command that makes a delegated unit of a machine, as systemd's own systemd-nspawn@.service is one."""
    properties = {
        "Delegate": "yes",
        "KillMode": "mixed",
        "TasksMax": "infinity",
        "SuccessExitStatus": str(REBOOTED),
        "RestartForceExitStatus": str(REBOOTED),
        "StandardOutput": f"append:{machine.console}",
        "StandardError": f"append:{machine.console}",
        "TimeoutStopSec": str(STOP_SECONDS),
    }
    return [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={machine.unit}",
        f"--description=fleetctl machine {machine.title}",
        *(f"--property={name}={value}" for name, value in properties.items()),
        *(f"--setenv={name}={value}" for name, value in _environment(guest).items()),
        "sh",
        str(machine.directory / process.BOOT),
    ]


def _environment(guest: Guest) -> dict[str, str]:
    """Return what a machine runs under: nothing of the caller's own (proxies, tokens), only where programs are."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **guest.environment}


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _tail(machine: Machine) -> str:
    """Return the console's last lines, ready to stand at the end of a message."""
    try:
        lines = machine.console.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
    except FileNotFoundError:
        return ""
    return "".join(f"\n    {line}" for line in lines)
