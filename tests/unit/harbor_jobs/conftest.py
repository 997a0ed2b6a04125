"""A task to run, jobs on a storage of the test's own, and a database that remembers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from harbor_jobs import layout
from harbor_jobs.outcome import Outcome
from harbor_jobs.rows import Database, Job, Row
from harbor_jobs.running import Place

EXAMPLES = Path(__file__).parents[3] / "examples/harbor_jobs/tasks"
PASS = 'echo 1 > "$LOGS_DIR/verifier/reward.txt"'


@dataclass(frozen=True)
class Remembering(Database):
    """Rows in memory; `refusals` are raised first."""

    rows: list[Row] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)

    def start(self, job: Job, started: Row) -> None:  # noqa: ARG002 (as in Database)
        self.rows.append(started | {"state": "running"})

    def settle(self, job: Job, *settled: Row) -> None:  # noqa: ARG002 (as in Database)
        if self.refusals:
            raise self.refusals.pop()
        self.rows.extend(settled)


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of tasks: solve.sh and test.sh as given, within these limits."""

    def make(*, solve: str = "true", test: str = PASS, agent: float = 10, verifier: float = 10) -> Path:
        directory = tmp_path / "task"
        for name, script in (("solution/solve.sh", solve), ("tests/test.sh", test)):
            (directory / name).parent.mkdir(parents=True)
            (directory / name).write_text(f"#!/bin/bash\n{script}\n")
        (directory / "task.toml").write_text(f"[agent]\ntimeout_sec = {agent}\n[verifier]\ntimeout_sec = {verifier}\n")
        return directory

    return make


@dataclass(frozen=True)
class Site:
    """A storage with jobs, and a worker's place on it."""

    where: Place
    database: Remembering

    def directory(self, job: str = "job-1") -> Path:
        return self.where.jobs / job

    def add(self, task: Path, *, executor: str = "local") -> None:
        """Put a job on the storage, as `submit` does."""
        job = Job("job-1", "job", executor, "oracle", None, 3, "2026-01-01T00:00:00+00:00")
        self.directory().mkdir(parents=True)
        shutil.copytree(task, self.directory() / layout.TASK)
        (self.directory() / layout.DESCRIPTION).write_text(json.dumps(asdict(job)))

    def names(self) -> set[str]:
        return {path.name for path in self.directory().iterdir()} - {layout.TASK, layout.DESCRIPTION}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    database = Remembering("nowhere")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Site(Place(tmp_path / "jobs", database, "host-1", "worker-1", scratch), database)


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    """Set variables for a while."""
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def of(outcome: Outcome) -> tuple[str, float | None]:
    return outcome.state, outcome.reward
