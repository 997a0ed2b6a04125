"""Where the local provider keeps things, whole writes of files, and locks between processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetctl.errors import ProviderError

ROOT = Path("/var/lib/fleetctl")
RUNTIME = Path("/run/fleetctl")  # what goes with a restart of this computer: locks, the list of raised sysctls


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


@contextmanager
def locked(name: str) -> Iterator[int]:
    """Hold this computer's lock of that name and yield its descriptor; waits for the holder.

    The lock's file goes with its last holder, so that nothing is left behind.
    """
    path = RUNTIME / f"{name}.lock"
    while True:
        with suppress(FileNotFoundError):  # removed between these lines by another holder: begin again
            descriptor = _open(path)
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
        raise ProviderError("machines on this computer need root", hint="run it with sudo") from exc


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
