"""Where the local provider keeps things, and locks between processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path("/var/lib/fleetctl")
RUNTIME = Path("/run/fleetctl")  # what a restart of this computer undoes: locks, raised sysctls


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

    @property
    def machines(self) -> Path:
        return self.fleet / "machines"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold this computer's lock of that name; waits for the holder. The file goes with its last user."""
    RUNTIME.mkdir(mode=0o755, exist_ok=True)
    path = RUNTIME / f"{name}.lock"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)  # removed by the holder that we waited for: take the new file
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that it is there with all its text or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file; None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
