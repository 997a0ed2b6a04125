"""The base image that bare hosts start from, and the sealed ones on top of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from fleetctl.adapters.providers.local.paths import Paths, locked, read_json, write_whole
from fleetctl.adapters.providers.local.recipe import Recipe
from fleetctl.adapters.providers.local.shell import run

KEPT_IMAGES = 6

# What makes a disk one particular host; patterns relative to its root. Directories stay, services want their own.
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
    with locked("images"):
        if final.is_dir():
            return
        building = paths.images / ".building"
        _remove(building)
        skeleton = building / "skeleton"
        for name, (kind, content) in recipe.files.items():
            path = skeleton / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "link":
                path.symlink_to(content)
            else:
                path.write_text(content, encoding="utf-8")
                path.chmod(int(kind, 8))
        rootfs = building / "rootfs"
        run(
            [
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--format=directory",
                "--variant=minbase",
                f"--architectures={recipe.architecture}",
                f"--include={','.join(recipe.packages)}",
                *(f"--dpkgopt={option}" for option in recipe.dpkg_options),
                *(f"--aptopt={option}" for option in recipe.apt_options),
                # The package lists stay, so that a role can install without an update first.
                "--skip=cleanup/apt/lists",
                f"--essential-hook=sync-in {skeleton} /",
                recipe.suite,
                str(rootfs),
                "-",
            ],
            stdin="\n".join(recipe.sources) + "\n",
            timeout=1800,
            hint="look at this computer's apt: sudo apt-get update must work",
        )
        strip_identity(rootfs)
        (rootfs / "etc/machine-id").write_text("", encoding="utf-8")
        shutil.rmtree(rootfs / "etc/update-motd.d", ignore_errors=True)
        _remove(skeleton)
        write_whole(building / "recipe.json", json.dumps({"sources": recipe.sources, "packages": recipe.packages}))
        building.rename(final)


def baked_images(paths: Paths) -> frozenset[str]:
    """Keys of the sealed images whose base image is still there."""
    if not paths.baked.is_dir():
        return frozenset()
    return frozenset(key for key in os.listdir(paths.baked) if _base_of(paths, key) is not None)


def layers(paths: Paths, key: str | None, base: str) -> tuple[Path, ...]:
    """Directories that a host's disk lies on, the topmost first."""
    if key is None:
        return (base_directory(paths, base),)
    return (paths.baked / key / "layer", base_directory(paths, _base_of(paths, key) or base))


def touch(paths: Paths, key: str) -> None:
    """Note that an image was used just now."""
    os.utime(paths.baked / key)


def keep_layer(paths: Paths, key: str, upper: Path, base: str) -> None:
    """Turn a stopped host's upper directory into the image `key`: there in one step, or not at all."""
    strip_identity(upper)
    sealed = upper.parent / "sealed"
    sealed.mkdir(exist_ok=True)
    write_whole(sealed / "image.json", json.dumps({"base": base}))
    upper.rename(sealed / "layer")
    paths.baked.mkdir(parents=True, exist_ok=True)
    with locked("images"):
        if not (paths.baked / key).exists():
            sealed.rename(paths.baked / key)


def collect_garbage(paths: Paths, *, used: frozenset[str], bases: frozenset[str]) -> None:
    """Remove sealed images beyond the most recently used ones, and base images that nothing rests on."""
    with locked("images"):
        newest = sorted(baked_images(paths), key=lambda key: (paths.baked / key).stat().st_mtime, reverse=True)
        for key in newest[KEPT_IMAGES:]:
            if key not in used:
                _remove(paths.baked / key)
        kept = set(bases) | {_base_of(paths, key) for key in baked_images(paths)}
        for path in paths.images.iterdir():
            if (path / "recipe.json").is_file() and path.name not in kept:
                _remove(path)


def strip_identity(tree: Path) -> None:
    """Remove from a disk, or from one layer of it, what makes it a particular host."""
    for pattern in IDENTITY:
        for path in tree.glob(pattern):
            _remove(path)
    for directory, _, names in os.walk(tree / "var/log"):
        for name in names:
            _remove(Path(directory) / name)


def _base_of(paths: Paths, key: str) -> str | None:
    content = read_json(paths.baked / key / "image.json")
    base = content["base"] if content else None
    return base if base and (paths.images / base).is_dir() else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        doomed = path
        if not path.name.startswith(".removing-") and path.parent.name in ("images", "baked"):
            doomed = path.with_name(f".removing-{path.name}")  # gone for others at once
            if doomed.exists():
                shutil.rmtree(doomed)
            path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)
