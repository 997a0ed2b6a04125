"""Where the local provider keeps things, whole writes of files, and locks between processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

ROOT = Path("/var/lib/fleetctl")
RUNTIME = Path("/run/fleetctl")  # what goes with a restart of this computer: locks, the list of raised sysctls

# As `stat -f` names what cannot carry the upper directory of an overlay.
_UNFIT = ("overlayfs", "nfs", "cifs", "smb2", "fuseblk", "v9fs", "vfat", "msdos", "exfat")


@dataclass(frozen=True)
class Paths:
    """The directories of one fleet, and those that all fleets share."""

    root: Path
    fleet_name: str

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def baked(self) -> Path:
        return self.images / "baked"

    @property
    def fleets(self) -> Path:
        return self.root / "fleets"

    @property
    def fleet(self) -> Path:
        return self.fleets / self.fleet_name

    @property
    def record(self) -> Path:
        return self.fleet / "record.jsonl"

    @property
    def network(self) -> Path:
        return self.fleet / "network.json"

    @property
    def key(self) -> Path:
        return self.fleet / "ssh_key"

    @property
    def storage(self) -> Path:
        return self.fleet / "storage"

    def machine(self, host: str) -> Path:
        return self.fleet / "machines" / host


def make_root(root: Path) -> None:
    """Make the directory of all fleets, for root alone: guests' setuid programs shall not be within users' reach.

    Raise ProviderError when machines' disks cannot lie there.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
    except PermissionError as exc:
        raise _needs_root() from exc
    check_kind(root, run(["stat", "-f", "-c", "%T", str(root)]).strip())


def check_kind(root: Path, kind: str) -> None:
    """Raise ProviderError when a file system of that kind cannot carry the disks of machines. Pure."""
    if kind in _UNFIT:
        raise ProviderError(
            f"{root} is on {kind}, which cannot carry the disks of machines",
            hint=f"mount a disk there, or a tmpfs if memory is plenty: mount -t tmpfs tmpfs {root}",
        )


@contextmanager
def locked(name: str, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold this computer's lock of that name and yield its descriptor; calls `on_wait`, and waits, while it is held.

    The lock's file goes with its last holder, so that nothing is left behind.
    """
    path = RUNTIME / f"{name}.lock"
    while True:
        with suppress(FileNotFoundError):  # removed between these lines by another holder: begin again
            descriptor = _open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    break
            os.close(descriptor)  # the file of a holder that we waited for, and that is gone: take the new one
    try:
        yield descriptor
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # others hold theirs
            RUNTIME.rmdir()


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as exc:
        raise _needs_root() from exc


def _needs_root() -> ProviderError:
    return ProviderError("machines on this computer need root", hint="run it with sudo")


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that it is there with all its text or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)  # whatever the umask says
        file.write(text)
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as exc:
        raise _needs_root() from exc
