"""Finding the processes that keep a machine running, by what their command lines say: pids alone are reused."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

PID = "pid"  # of systemd-nspawn, and before that of the script that becomes it; of user-mode Linux
LOOP_PID = "loop.pid"
BOOT = "boot"
LOOP = "loop"
UML = "linux.uml"


def find(directory: Path) -> tuple[int, ...]:
    """Return all processes that keep the machine of that directory running. Looks at every process there is."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(pid for pid in pids if _keeps(pid, directory))


def is_running(directory: Path) -> bool:
    """Tell whether the machine of that directory has its processes. Made for listing many: no search."""
    pids = (read_pid(directory / name) for name in (PID, LOOP_PID))
    return any(pid is not None and _keeps(pid, directory) for pid in pids)


def leader_of(directory: Path) -> int | None:
    """Return the id of the process that is the machine; None when it is not running."""
    pid = read_pid(directory / PID)
    return pid if pid is not None and _keeps(pid, directory) else None


def cow(directory: Path) -> Path:
    """Return the file that holds what a user-mode Linux guest has changed of its image, and names its processes."""
    return directory / "disk.cow"


def children_of(parent: int) -> tuple[int, ...]:
    """Return the children of a process: of nspawn the guest's PID 1, of user-mode Linux all in the guest."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return tuple(found)


def kill_all(directory: Path) -> None:
    """Kill the machine's processes; none of them does anything more.

    The leader is stopped first and killed last: what runs in user-mode Linux is held by it at every step, and would run
    loose on this computer without it.
    """
    leader = leader_of(directory)
    children: tuple[int, ...] = ()
    if leader is not None:
        send(leader, signal.SIGSTOP)
        children = children_of(leader)
    for pid in {*find(directory), *children} - {leader}:
        send(pid, signal.SIGKILL)
    if leader is not None:
        send(leader, signal.SIGKILL)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone is not an error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _keeps(pid: int, directory: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return False
    program = Path(words[0]).name  # systemd starts the script by its shell's whole path
    if program == "systemd-nspawn":
        return f"--directory={directory / 'root'}" in words
    if program in (UML, "taskset"):  # which becomes it
        return any(word.startswith(f"ubd0={cow(directory)},") for word in words)
    return program == "sh" and words[1:2] in ([str(directory / LOOP)], [str(directory / BOOT)])
