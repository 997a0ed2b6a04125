"""A machine as user-mode Linux: a kernel of its own in an ordinary process, and so NFS of its own."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetctl.adapters.providers.local import process
from fleetctl.adapters.providers.local.identity import File
from fleetctl.adapters.providers.local.machine import REBOOTED, Machine
from fleetctl.adapters.providers.local.paths import RUNTIME
from fleetctl.adapters.providers.local.recipe import INIT
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

MEMORY = Path("/dev/shm")  # noqa: S108 - where user-mode Linux keeps its guests' memory; on a disk it would be slow
DATA_BYTES = 8 * 1024**3  # of a data disk; its file is sparse

_SOCKETS = RUNTIME / "uml"  # here, because a socket's path holds 108 characters
_IDENTITY = "identity.tar"
_DATA = "data.img"

# The kernel ends alike when it was told to halt and to reboot; its last words tell them apart. It runs beside the
# shell, because the shell must read them.
_BOOT = """\
said=$(stat --format %s {console})
{command} &
echo $! >{pid}
wait $!
code=$?
tail --bytes=+$((said + 1)) {console} | grep -q '^reboot: Restarting system' && exit {rebooted}
exit $code"""


@dataclass(frozen=True)
class Uml:
    """What the guest has beside its directory. Implements Guest."""

    link: str  # the tap interface, which is also what the kernel calls itself
    mac: str
    mtu: int
    address: str  # with its prefix: 10.0.0.2/24
    gateway: str
    image: Path  # what its disk lies on
    memory_mib: int
    cpu: int  # the processor of this computer that runs it
    has_data_disk: bool = False

    @property
    def environment(self) -> Mapping[str, str]:
        return {"TMPDIR": str(MEMORY)}

    def boot(self, machine: Machine) -> str:
        # Pinned: a system call in the guest is a switch between two processes, and on one processor that takes a
        # seventh of the time (fork and exec 24 ms instead of 174, measured on two).
        command = [
            "taskset",
            "--cpu-list",
            str(self.cpu),
            process.UML,
            "noreboot",  # it could not open its interface again
            f"mem={self.memory_mib}M",
            f"uml_dir={_SOCKETS}/",
            f"umid={self.link}",
            f"ubd0={process.cow(machine.directory)},{self.image}",
            f"ubd1r={machine.directory / _IDENTITY}",
            *([f"ubd2={machine.directory / _DATA}"] if self.has_data_disk else []),
            "root=/dev/ubda",
            "rw",
            f"vec0:transport=tap,ifname={self.link},depth=128,gro=1,mac={self.mac}",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            f"init={INIT}",
            f"fleet_address={self.address}",
            f"fleet_gateway={self.gateway}",
            f"fleet_mtu={self.mtu}",
        ]
        return _BOOT.format(
            console=shlex.quote(str(machine.console)),
            pid=shlex.quote(str(machine.directory / process.PID)),
            command=shlex.join(command),
            rebooted=REBOOTED,
        )

    def shut_down(self, pid: int) -> None:
        """Press Ctrl-Alt-Del, for which these guests power off."""
        del pid
        run(["uml_mconsole", str(sockets(self.link) / "mconsole"), "cad"])

    def cut_power(self, machine: Machine, pid: int) -> None:
        del pid
        process.kill_all(machine.directory)


def sockets(link: str) -> Path:
    """Return the directory in which the kernel of that name keeps its pid and its console's socket."""
    return _SOCKETS / link


def lay_out(directory: Path, link: str, files: Mapping[str, File], *, has_data_disk: bool) -> None:
    """Write what a guest needs beside its image; its own changes and its data stay as they are."""
    forget(sockets(link))
    _SOCKETS.mkdir(parents=True, exist_ok=True)
    with (directory / _IDENTITY).open("wb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        for name, (text, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    (directory / _IDENTITY).chmod(0o600)
    if has_data_disk and not (directory / _DATA).exists():
        with (directory / _DATA).open("wb") as file:
            file.truncate(DATA_BYTES)


def forget(sockets: Path) -> None:
    """Remove what a kernel keeps beside its directory; what is gone is not an error."""
    shutil.rmtree(sockets, ignore_errors=True)
    for directory in (_SOCKETS, RUNTIME):
        with contextlib.suppress(OSError):  # others have theirs there
            directory.rmdir()


def choose_cpu(number: int) -> int:
    """Return the processor for a machine of that number: all that we may use, in turn."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[number % len(cpus)]


def check_memory(count: int, running: int, memory_mib: int) -> None:
    """Raise ProviderError unless so many more than run can have all of their memory: they take it as they go."""
    if not count:
        return
    found = os.statvfs(MEMORY)
    size, needed = found.f_blocks * found.f_frsize // 2**20, (running + count) * memory_mib
    if needed > size:
        raise ProviderError(
            f"{running + count} machines of {memory_mib} MiB need {needed} MiB in {MEMORY}, which holds {size}",
            hint=f"lower provider.memory in fleet.yml, or: mount -o remount,size={needed + 512}M {MEMORY}",
        )
