"""Tasks for `./invoke`: the fleet commands are forwarded to fleetctl, the rest are chores of development."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

ROOT = Path(__file__).parent
BIN = ROOT / ".venv" / "bin"


def _run(*argv: str) -> None:
    """Run a program of the virtual environment in the foreground; end with its exit code when it fails."""
    code = subprocess.run([str(BIN / argv[0]), *argv[1:]], cwd=ROOT, check=False).returncode
    if code:
        sys.exit(code if code > 0 else 128 - code)


def _become(*argv: str) -> None:
    """Replace this process by a program of the virtual environment, so that Ctrl-C reaches it alone."""
    os.execv(BIN / argv[0], [*argv])  # noqa: S606


def _need_dev() -> None:
    """Install the tools of development, once for each set of pins."""
    mark = BIN.parent / ".installed-dev"
    current = (BIN.parent / ".installed").read_text()
    if mark.exists() and mark.read_text() == current:
        return
    print("installing the tools of development into .venv", file=sys.stderr)
    _run("pip", "install", "-qq", "--disable-pip-version-check", "-c", "constraints.txt", "-e", ".[dev]")
    mark.write_text(current)


def _flags(**options: object) -> list[str]:
    argv = []
    for name, value in options.items():
        if value is True:
            argv.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False and value != "":
            argv += [f"--{name.replace('_', '-')}", str(value)]
    return argv


@task(help={"workers": "units of the only pool", "converge": "run every role", "dry_run": "show the plan"})
def deploy(_: Context, workers: str = "", converge: bool = False, dry_run: bool = False, yes: bool = False,
           json: bool = False, file: str = "") -> None:  # fmt: skip
    """Make the fleet what fleet.yml says, and prove it."""
    options = _flags(workers=workers, converge=converge, dry_run=dry_run, yes=yes, json=json, file=file)
    _become("fleetctl", "deploy", *options)


@task
def status(_: Context, json: bool = False, file: str = "") -> None:
    """Show hosts, units and slots."""
    _become("fleetctl", "status", *_flags(json=json, file=file))


@task
def verify(_: Context, json: bool = False, file: str = "") -> None:
    """Prove that the fleet works."""
    _become("fleetctl", "verify", *_flags(json=json, file=file))


@task
def load(_: Context, jobs: int = 600, seconds: float = 20.0, work: str = "sleep", json: bool = False,
         file: str = "") -> None:  # fmt: skip
    """Submit built-in jobs, watch them, and report."""
    _become("fleetctl", "load", *_flags(jobs=jobs, seconds=seconds, work=work, json=json, file=file))


@task
def destroy(_: Context, yes: bool = False, file: str = "") -> None:
    """Remove everything that was made for the fleet."""
    _become("fleetctl", "destroy", *_flags(yes=yes, file=file))


@task
def lint(_: Context) -> None:
    """Check style, types, layers and roles."""
    _need_dev()
    # The longest, beside the others; on one processor it takes no longer than after them.
    roles = subprocess.Popen([str(BIN / "ansible-lint"), "--offline"], cwd=ROOT)
    try:
        _run("ruff", "check", ".")
        _run("ruff", "format", "--check", ".")
        _run("mypy")
        _run("lint-imports")
    finally:
        code = roles.wait()
    if code:
        sys.exit(code)


@task(help={"args": "more arguments for pytest"})
def test(_: Context, args: str = "") -> None:
    """Run everything that guards a change: lint, types, layers, unit tests, roles, a real small fleet."""
    _need_dev()
    lint(_)
    _run("pytest", "-m", "not drill", *shlex.split(args))


@task(help={"args": "more arguments for pytest"})
def unit(_: Context, args: str = "") -> None:
    """Run the quick tests alone: no machines, no services."""
    _need_dev()
    _run("pytest", "-m", "not fleet and not services and not drill", *shlex.split(args))


@task(help={"args": "more arguments for pytest"})
def drills(_: Context, args: str = "") -> None:
    """Run the long trials on real machines."""
    _need_dev()
    _run("pytest", "-m", "drill", *shlex.split(args))


@task(help={"what": "main, health or capacity", "args": "arguments for benchmarks/WHAT.py"})
def bench(_: Context, what: str = "main", args: str = "") -> None:
    """Measure the bars of the main job, of health or of capacity on this computer, as ratios in one run."""
    _need_dev()
    _run("python", f"benchmarks/{what}.py", *shlex.split(args))


namespace = Collection(deploy, status, verify, load, destroy, lint, test, unit, drills, bench)
