"""The base image that bare hosts start from: Debian with systemd and sshd, made once for each recipe."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from fleetctl.adapters.providers.local.paths import Paths, locked, write_whole
from fleetctl.adapters.providers.local.recipe import Recipe
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

# What makes a disk one particular host; patterns relative to its root. Directories stay: services want their own.
IDENTITY = (
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "root/.ansible",
    "root/.bash_history",
    "root/.ssh",
    "run/*",
    "tmp/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/log/journal/*",
    "var/tmp/*",
)


def base_directory(paths: Paths, digest: str) -> Path:
    return paths.images / digest / "rootfs"


def build_base(paths: Paths, recipe: Recipe) -> None:
    """Make the base image unless it is there. One process builds; others wait for it and use what it made."""
    final = paths.images / recipe.digest
    if final.is_dir():
        return
    paths.images.mkdir(parents=True, exist_ok=True)
    with locked("images") as lock:
        if final.is_dir():
            return
        building = paths.images / ".building"
        discard(paths, building)
        skeleton, rootfs = building / "skeleton", building / "rootfs"
        _lay_out(skeleton, recipe)
        run(
            [
                "mmdebstrap",
                "--quiet",
                "--mode=unshare",  # as root: its mounts and processes are in namespaces that end with it
                "--format=directory",
                "--variant=minbase",
                f"--architectures={recipe.architecture}",
                f"--include={','.join(recipe.packages)}",
                *(f"--dpkgopt={option}" for option in recipe.dpkg_options),
                *(f"--aptopt={option}" for option in recipe.apt_options),
                # The package lists stay, so that roles can install without an update first.
                "--skip=cleanup/apt/lists",
                # Before the packages beyond the essential ones, so that each is configured once.
                f"--essential-hook=sync-in {skeleton} /",
                recipe.suite,
                str(rootfs),
                "-",
            ],
            stdin="\n".join(recipe.sources) + "\n",
            timeout=1800,
            hint="look at this computer's apt: apt-get update must work",
            keep_open=[lock],
        )
        strip_identity(rootfs)
        (rootfs / "etc/machine-id").write_text("", encoding="utf-8")
        for name in recipe.removed:
            _remove(rootfs / name)
        shutil.rmtree(skeleton)
        write_whole(building / "recipe.json", json.dumps({"sources": recipe.sources, "packages": recipe.packages}))
        building.rename(final)


def strip_identity(tree: Path) -> None:
    """Remove from a disk, or from one layer of it, what makes it a particular host."""
    for pattern in IDENTITY:
        for path in tree.glob(pattern):
            _remove(path)
    for directory, _, names in os.walk(tree / "var/log"):
        for name in names:
            (Path(directory) / name).unlink()


def discard(paths: Paths, directory: Path) -> None:
    """Remove an image's directory: for others it is gone at once. The caller holds the lock "images"."""
    for doomed in (paths.images / ".removing", directory):
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        if below := [line.split()[4] for line in mounts if line.split()[4].startswith(f"{doomed}/")]:
            raise ProviderError(f"{below[0]} is mounted", hint=f"umount {below[0]}")
    shutil.rmtree(paths.images / ".removing", ignore_errors=True)
    if directory.is_dir():
        directory.rename(paths.images / ".removing")
        shutil.rmtree(paths.images / ".removing")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _lay_out(skeleton: Path, recipe: Recipe) -> None:
    for name, (kind, content) in recipe.files.items():
        path = skeleton / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(content)
        else:
            path.write_text(content, encoding="utf-8")
            path.chmod(int(kind, 8))
    for directory, _, _ in os.walk(skeleton):
        Path(directory).chmod(0o755)  # whatever the umask says: they become the guests' own
