"""Stages what workers install: fleetctl's worker runtime and the user's app, as inputs for pip on a host."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetctl.adapters import assets
from fleetctl.spec.models import App

_SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", "venv", "__pycache__", "*.pyc", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    "node_modules", "*.egg-info", "build", "dist", ".env", ".env.*",
)  # fmt: skip
_PROJECT_FILES = ("pyproject.toml", "setup.py")


@dataclass(frozen=True)
class Bundle:
    """A staged directory, named by the digest of its content."""

    path: Path
    digest: str


def stage(app: App, directory: Path) -> Bundle:
    """Return the bundle for `app` below `directory`, made unless one of the same content is there.

    It holds runtime/ (the project `fleetctl-worker`), requirements.txt, constraints.txt, and the app as app/ (a Python
    project), source/ (plain modules) or a wheel. Paths in requirements.txt are relative to the bundle.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=directory) as scratch:
        new = Path(scratch) / "bundle"
        _stage_runtime(new / "runtime")
        shutil.copy(assets.root() / "constraints.txt", new / "constraints.txt")
        lines = ["./runtime", *_stage_app(app, new)]
        (new / "requirements.txt").write_text("\n".join(lines) + "\n")
        digest = assets.tree_digest([new])
        final = directory / digest
        if not final.exists():
            new.rename(final)
    return Bundle(final, digest)


def _stage_runtime(target: Path) -> None:
    package = target / "src" / "fleetctl"
    package.mkdir(parents=True)
    shutil.copy(assets.root() / "templates" / "worker-runtime" / "pyproject.toml", target)
    shutil.copy(assets.package() / "__init__.py", package)
    shutil.copytree(assets.package() / "worker", package / "worker", ignore=_SKIPPED)


def _stage_app(app: App, bundle: Path) -> Iterator[str]:
    if app.wheel is not None:
        wheel = Path(app.wheel)
        shutil.copy(wheel, bundle)
        yield f"./{wheel.name}"
    elif app.requirement is not None:
        yield app.requirement
    elif app.git is not None:
        yield app.git if app.git.startswith("git+") else f"git+{app.git}"
    elif app.path is not None:
        source = Path(app.path)
        if any((source / name).is_file() for name in _PROJECT_FILES):
            _copy(source, bundle / "app")
            yield "./app"
        else:
            _copy(source, bundle / "source")
            if (source / "requirements.txt").is_file():
                yield "-r source/requirements.txt"


def _copy(source: Path, target: Path) -> None:
    """Copy what git tracks (with changes not committed), or all but the usual leftovers outside a repository."""
    listed = subprocess.run(
        ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        shutil.copytree(source, target, ignore=_SKIPPED)
        return
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
