"""Sealed images: one host's changes to the base image, kept as a layer that other hosts start from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from fleetctl.adapters.providers.local.image import base_directory, discard, strip_identity
from fleetctl.adapters.providers.local.paths import Paths, locked, read_json, write_whole

KEPT = 12


def keys(paths: Paths) -> frozenset[str]:
    """Return the keys of the images that can be started from: sealed, with their base image still there."""
    if not paths.baked.is_dir():
        return frozenset()
    return frozenset(path.name for path in paths.baked.iterdir() if _base_of(path) is not None)


def layers(paths: Paths, *, image: str | None, base: str) -> tuple[Path, ...]:
    """Return the directories that a host's disk lies on, the topmost first."""
    sealed = (paths.baked / image / "layer",) if image else ()
    return (*sealed, base_directory(paths, base))


def base_of(paths: Paths, image: str) -> str | None:
    """Return the digest of the base image that a sealed one lies on, and note that it was used just now."""
    base = _base_of(paths.baked / image)
    if base is not None:
        os.utime(paths.baked / image)
    return base


def keep(paths: Paths, *, image: str, upper: Path, base: str) -> None:
    """Turn the upper directory of a stopped host into an image: there in one step, or not at all."""
    strip_identity(upper)
    sealed = upper.parent / "sealed"
    shutil.rmtree(sealed, ignore_errors=True)  # of a seal that was cut off
    sealed.mkdir()
    write_whole(sealed / "image.json", json.dumps({"base": base}))
    upper.rename(sealed / "layer")
    paths.baked.mkdir(parents=True, exist_ok=True)
    with locked("images"):
        if not (paths.baked / image).exists():
            sealed.rename(paths.baked / image)


def collect_garbage(paths: Paths, *, images: Collection[str], bases: Collection[str]) -> None:
    """Remove sealed images beyond the most recently used, and base images under none of them.

    Those in `images` and `bases` stay in any case: some machine lies on them.
    """
    with locked("images"):
        newest = sorted(keys(paths), key=lambda key: (paths.baked / key).stat().st_mtime, reverse=True)
        for key in newest[KEPT:]:
            if key not in images:
                discard(paths, paths.baked / key)
        kept = {*bases, *(_base_of(paths.baked / key) for key in keys(paths))}
        for path in list(paths.images.iterdir()):
            if (path / "recipe.json").is_file() and path.name not in kept:
                discard(paths, path)


def _base_of(directory: Path) -> str | None:
    content = read_json(directory / "image.json")
    base: str | None = content["base"] if content else None
    return base if base and (directory.parent.parent / base).is_dir() else None
