"""Stages what workers install: fleetctl's worker runtime and the user's app, as inputs for pip on a host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from fleetctl.adapters import assets
from fleetctl.spec.models import App

_SECRET = (".env", ".env.*")  # never copied, not even where git tracks them
_SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", "venv", "__pycache__", "*.pyc", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    "node_modules", "*.egg-info", "build", "dist", *_SECRET,
)  # fmt: skip
_PROJECT_FILES = ("pyproject.toml", "setup.py")
_GIT_SECONDS = 60


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
        yield _pinned(app.git if app.git.startswith("git+") else f"git+{app.git}")
    elif app.path is not None:
        source = Path(app.path)
        if any((source / name).is_file() for name in _PROJECT_FILES):
            _copy(source, bundle / "app")
            yield "./app"
        else:
            _copy(source, bundle / "source")
            if (source / "requirements.txt").is_file():
                yield "-r source/requirements.txt"


def _pinned(requirement: str) -> str:
    """Return `git+URL[@REF][#...]` with the commit that REF (default: HEAD) names now: a push makes another bundle.

    As it was written where REF is a commit, or the repository does not answer here. A branch goes before a tag, as in
    pip; of an annotated tag it is the commit (`^{}`), not the tag's own object.
    """
    url, _, fragment = requirement.partition("#")
    _, is_given, ref = urlsplit(url).path.rpartition("@")
    ref = ref if is_given else "HEAD"
    if re.fullmatch("[0-9a-f]{40}", ref):
        return requirement
    repository = url.removesuffix(f"@{ref}")
    answer = _git("ls-remote", "--", repository.removeprefix("git+"), ref, f"{ref}^{{}}")
    commits = {name: commit for commit, name in (line.split("\t") for line in answer.splitlines())}
    for name in (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref):
        if name in commits:
            return f"{repository}@{commits[name]}" + (f"#{fragment}" if fragment else "")
    return requirement


def _copy(source: Path, target: Path) -> None:
    """Copy what git tracks (with changes not committed), or all but the usual leftovers where git knows nothing."""
    answer = _git("-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [Path(name) for name in answer.split("\0") if name]
    if not names:  # no repository, no git, or a directory that git ignores
        shutil.copytree(source, target, ignore=_SKIPPED)
    for name in names:
        is_secret = any(fnmatchcase(part, pattern) for part in name.parts for pattern in _SECRET)
        if not is_secret and (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)


def _git(*arguments: str) -> str:
    """Return what git printed, "" where it is missing, fails or does not answer; without a terminal, it can't ask.

    Root may read another user's checkout, but runs no program that the checkout's settings name.
    """
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_GIT_SECONDS,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""
