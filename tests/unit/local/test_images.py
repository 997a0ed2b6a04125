"""Sealed images: what stays in them, and which of them stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleetctl.adapters.providers.local import sealed
from fleetctl.adapters.providers.local.image import strip_identity
from fleetctl.adapters.providers.local.paths import Paths

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="locks are below /run")


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def host_disk(tree: Path) -> None:
    names = ("etc/machine-id", "etc/hostname", "etc/ssh/ssh_host_ed25519_key", "root/.ssh/authorized_keys")
    for name in (*names, "var/log/redis/redis.log", "var/log/journal/0a/system.journal", "opt/fleet/app/code.py"):
        write(tree / name)
    write(tree / "etc/ssh/sshd_config.d/10-mine.conf")


def test_identity_goes_and_everything_else_stays(tmp_path: Path) -> None:
    host_disk(tmp_path)
    strip_identity(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["etc/ssh/sshd_config.d/10-mine.conf", "opt/fleet/app/code.py"]
    assert (tmp_path / "var/log/redis").is_dir()  # the service will want to write there


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Two base images, and eight sealed ones on the first; the lower the number, the longer unused."""
    paths = Paths(tmp_path, "demo")
    for base in ("base-1", "base-2"):
        write(paths.images / base / "recipe.json", "{}")
    for number in range(sealed.KEPT + 2):
        upper = tmp_path / "fleets" / "demo" / str(number) / "upper"
        host_disk(upper)
        sealed.keep(paths, image=f"image-{number}", upper=upper, base="base-1")
        os.utime(paths.baked / f"image-{number}", (number, number))
    return paths


@needs_root
def test_images_that_are_unused_longest_are_removed_but_for_those_of_machines(paths: Paths) -> None:
    sealed.collect_garbage(paths, images={"image-0"}, bases={"base-2"})
    assert sealed.keys(paths) == {"image-0", *(f"image-{number}" for number in range(2, sealed.KEPT + 2))}
    assert {path.name for path in paths.images.iterdir()} == {"base-1", "base-2", "baked"}


@needs_root
def test_use_keeps_an_image(paths: Paths) -> None:
    assert sealed.base_of(paths, "image-0") == "base-1"
    sealed.collect_garbage(paths, images=(), bases=())
    assert "image-0" in sealed.keys(paths)
    assert "image-2" not in sealed.keys(paths)
    assert {path.name for path in paths.images.iterdir()} == {"base-1", "baked"}


@needs_root
def test_an_image_without_its_base_cannot_be_started_from(paths: Paths) -> None:
    (paths.images / "base-1" / "recipe.json").unlink()
    (paths.images / "base-1").rmdir()
    assert sealed.keys(paths) == frozenset()
    assert sealed.base_of(paths, "image-3") is None


@needs_root
def test_the_first_image_of_a_key_stays(paths: Paths, tmp_path: Path) -> None:
    write(tmp_path / "late" / "upper" / "file")
    sealed.keep(paths, image="image-3", upper=tmp_path / "late" / "upper", base="base-2")
    assert sealed.base_of(paths, "image-3") == "base-1"
    assert not (paths.baked / "image-3" / "layer" / "file").exists()
