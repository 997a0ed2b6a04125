"""A control group for each machine in every mounted hierarchy, below the caller's own.

On a computer whose PID 1 is systemd none of this is used: there each machine is a delegated unit (machine.py).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fleetctl.errors import ProviderError

_PASSED_ON = {"cpu", "memory", "pids"}  # what units of guests are limited by


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy: its controllers ("" for cgroup2) and the caller's own directory in it."""

    controllers: frozenset[str]
    directory: Path


def parse_hierarchies(membership: str, mountinfo: str) -> tuple[Hierarchy, ...]:
    """Read /proc/self/cgroup and /proc/self/mountinfo. Pure."""
    mounts: dict[frozenset[str], tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2":
            mounts.setdefault(frozenset(), (root, point))
        elif kind == "cgroup":
            mounts.setdefault(frozenset(options.split(",")), (root, point))
    found = []
    for line in membership.splitlines():
        _, names, own = line.split(":", 2)
        controllers = frozenset(names.split(",")) - {""}
        match = next(
            (
                mount
                for options, mount in mounts.items()
                if controllers <= options and bool(controllers) == bool(options)
            ),
            None,
        )
        if match:
            root, point = match
            below = PurePosixPath(own)
            if root != "/" and below.is_relative_to(root):
                below = below.relative_to(root)
            found.append(Hierarchy(controllers, Path(point) / str(below).lstrip("/")))
    return tuple(found)


def own_hierarchies() -> tuple[Hierarchy, ...]:
    texts = [Path(f"/proc/self/{name}").read_text(encoding="utf-8") for name in ("cgroup", "mountinfo")]
    return tuple(found for found in parse_hierarchies(*texts) if found.directory.is_dir())


def make(hierarchy: Hierarchy, directory: Path) -> None:
    """Make a control group below the caller's own, ready to take processes."""
    path = hierarchy.directory
    for part in directory.relative_to(hierarchy.directory).parts:
        parent, path = path, path / part
        path.mkdir(exist_ok=True)
        if not hierarchy.controllers:
            _pass_on(parent)
        if "cpuset" in hierarchy.controllers:  # a new cpuset is empty, and an empty one takes no process
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (path / name).read_text(encoding="ascii").strip():
                    (path / name).write_text((parent / name).read_text(encoding="ascii"), encoding="ascii")


def _pass_on(directory: Path) -> None:
    """Let the groups below a cgroup2 group use its controllers, without which limits in the guest do nothing.

    Raise ProviderError where the kernel does not let us: a group but the root has processes or passes on controllers.
    Where all controllers are in hierarchies of their own there is nothing to do.
    """
    offered = set((directory / "cgroup.controllers").read_text(encoding="ascii").split()) & _PASSED_ON
    switch = directory / "cgroup.subtree_control"
    if not (lacking := sorted(offered - set(switch.read_text(encoding="ascii").split()))):
        return
    try:
        switch.write_text(" ".join(f"+{name}" for name in lacking), encoding="ascii")
    except OSError as exc:
        raise ProviderError(
            f"control group {directory} cannot pass on {', '.join(lacking)}: {exc.strerror}",
            hint="run fleetctl where PID 1 is systemd, or from the root control group: limits would do nothing",
        ) from exc


def processes(directory: Path) -> Iterator[int]:
    """Processes of a control group and those below it."""
    for parent, _, _ in os.walk(directory):
        try:
            yield from map(int, (Path(parent) / "cgroup.procs").read_text(encoding="ascii").split())
        except OSError:  # gone meanwhile
            continue


def kill_all(directories: Iterable[Path], *, seconds: float = 20) -> None:
    """End every process of these control groups; raise ProviderError when some will not go."""
    directories = [directory for directory in directories if directory.is_dir()]
    deadline = time.monotonic() + seconds
    while found := {pid for directory in directories for pid in processes(directory)}:
        if time.monotonic() > deadline:
            raise ProviderError(
                f"processes {sorted(found)[:5]} do not end", hint="look at them with ps; then destroy again"
            )
        for directory in directories:
            set_frozen(directory, is_frozen=False)  # a frozen process does not die
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def remove(directory: Path) -> None:
    """Remove a control group without processes, and those below it."""
    for parent, _, _ in os.walk(directory, topdown=False):
        for attempt in range(50):
            try:
                Path(parent).rmdir()
            except FileNotFoundError:
                break
            except OSError as exc:  # the kernel lets go of a dead process a moment later
                if attempt == 49:
                    raise ProviderError(f"cannot remove control group {parent}: {exc.strerror}") from exc
                time.sleep(0.02)
            else:
                break


def set_frozen(directory: Path, *, is_frozen: bool) -> bool:
    """Freeze or thaw a control group where its hierarchy can; whether it could."""
    for name, words in (("freezer.state", ("THAWED", "FROZEN")), ("cgroup.freeze", ("0", "1"))):
        if (directory / name).exists():
            (directory / name).write_text(words[is_frozen], encoding="ascii")
            return True
    return False
