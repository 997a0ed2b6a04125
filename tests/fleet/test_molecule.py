"""Each role's scenario on a real machine: dry run on a bare host, converge, a second run without change, verify.

Two at a time: for most of its time a scenario waits for its machine. The longest begins first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import cast

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
LONGEST = "celery_worker"
SCENARIOS = sorted(
    (path.parents[2] for path in (ROOT / "roles").glob("*/molecule/default/molecule.yml")),
    key=lambda role: (role.name != LONGEST, role.name),
)

pytestmark = pytest.mark.fleet


@dataclass
class Runs:
    """Scenarios of roles, each with a directory of its own, which molecule believes to be empty."""

    directory: Path
    processes: dict[Path, subprocess.Popen[str]] = field(default_factory=dict)
    is_over: bool = False
    lock: Lock = field(default_factory=Lock)

    def run(self, role: Path) -> tuple[int, str]:
        """Return the exit code and all that molecule said."""
        with self.lock:
            if self.is_over:
                return 130, "interrupted"
            process = self.processes[role] = subprocess.Popen(
                [str(PROGRAMS / "molecule"), "test"],
                cwd=role,
                env=self._environment(role),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        try:
            said, _ = process.communicate(timeout=1500)
        except subprocess.TimeoutExpired:
            _end(process)
            said, _ = process.communicate()
        return process.returncode, said

    def end(self) -> None:
        """End what still runs, and remove the machines of runs that didn't get to it themselves."""
        with self.lock:
            self.is_over = True
            running = {role: process for role, process in self.processes.items() if process.poll() is None}
        for process in running.values():
            _end(process)
        for role, process in self.processes.items():
            if process.returncode != 0:
                down = [ROOT / "tests" / "molecule" / "machines.py", "down", role.name, self.directory / role.name]
                subprocess.run([sys.executable, *map(str, down)], check=True)

    def _environment(self, role: Path) -> dict[str, str]:
        own = {
            # molecule looks for ansible-playbook and pytest on PATH
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(self.directory / role.name),
        }
        return os.environ | own


def _end(process: subprocess.Popen[str]) -> None:
    # first in order: Ansible's workers are sessions of their own, which only Ansible ends
    with contextlib.suppress(subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGINT)
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[tuple[int, str]]]]:
    """Start the scenarios of the selected tests; give each one's result to come."""
    items = [item for item in request.session.items if item.path == request.path]
    roles = [cast("Path", item.callspec.params["role"]) for item in items if isinstance(item, pytest.Function)]
    runs = Runs(tmp_path_factory.mktemp("molecule"))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # or nobody would remove the machines
    pool = ThreadPoolExecutor(2)
    try:
        yield {role: pool.submit(runs.run, role) for role in roles}
    finally:
        runs.end()
        pool.shutdown(cancel_futures=True)
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("role", SCENARIOS, ids=lambda role: role.name)
def test_the_roles_scenario_passes(role: Path, results: dict[Path, Future[tuple[int, str]]]) -> None:
    code, said = results[role].result()
    assert code == 0, said
