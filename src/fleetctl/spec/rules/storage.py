"""Where the shared file system may be mounted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.models import FleetSpec

# Mounting over these, or below those that the system or fleetctl owns, breaks the host.
_NEVER = frozenset({"/", "/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/lib", "/var/log", "/var/tmp"})  # noqa: S108
_NEVER_BELOW = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/fleet", "/proc", "/root", "/run"),
    *("/sbin", "/sys", "/usr"),
)


def check(spec: FleetSpec) -> Iterator[Finding]:
    """Check the mount point and the two directories below it."""
    loc: Loc = ("storage", "path")
    path = PurePosixPath(spec.storage.path)
    if ".." in path.parts:
        yield Finding(loc, "goes up with ..", "write the path itself, such as /shared/fleet")
    elif str(path) in _NEVER or any(path.is_relative_to(owner) for owner in _NEVER_BELOW):
        yield Finding(loc, "belongs to the operating system", "use a directory of its own, such as /shared/fleet")
    elif str(path) != spec.storage.path:
        yield Finding(loc, "not in its shortest form", f"write `path: {path}`")
    for key in ("jobs", "uploads"):
        parts = str(getattr(spec.storage, key)).split("/")
        if {".", ".."} & set(parts):
            yield Finding(("storage", key), "holds . or ..", f"name a directory below storage.path, such as {key}")
        elif parts[0] == ".fleetctl":
            yield Finding(("storage", key), "kept for fleetctl's own checks", f"use another name, such as {key}")
    if spec.storage.jobs == spec.storage.uploads:
        yield Finding(
            ("storage", "uploads"), "the same directory as jobs", "use two directories", (("storage", "jobs"),)
        )
