"""Files that only their owner may read."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from fleetctl.errors import FleetError, UsageError


def make_private(directory: Path) -> None:
    """Make a directory that only its owner can enter; refuse one that others may change."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as exc:
        raise FleetError(f"cannot make {directory}: {exc.strerror}", hint="set FLEETCTL_HOME to another place") from exc
    if status.st_mode & 0o022:
        raise UsageError(f"others may change {directory}", hint=f"chmod 700 {directory}")


def read_private(path: Path) -> str | None:
    """Read a file that only its owner, this user, may read; None when there is none. Links are not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", hint=f"ls -l {path}") from exc
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid():
            raise UsageError(f"{path} belongs to another user", hint="run fleetctl as the user that deployed the fleet")
        if stat.S_IMODE(status.st_mode) & ~0o600:
            raise UsageError(f"{path} may be read by others", hint=f"chmod 600 {path}")
        try:
            return file.read().decode()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"{path} is not a readable text file", hint="restore it") from None


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step: it is never half written, and never readable by others."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secrets-")  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise FleetError(f"cannot write {path}: {exc.strerror}", hint="is the disk full?") from exc
