"""From a task's directory to results, by real workers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from tests.fleet.worker.conftest import StartUnit, eventually, free_port

from .conftest import SOURCES, TASKS, Command, Postgres

pytestmark = pytest.mark.services

APP = {"FLEET_APP": "harbor_jobs.app", "PYTHONPATH": SOURCES}


def packed(task: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(task, ".")
    return stream.getvalue()


def test_a_tar_on_stdin_becomes_runs_with_results(start_unit: StartUnit, harbor_jobs: Command) -> None:
    unit = start_unit("worker-1", FLEET_HOST="host-a", FLEET_UNIT="worker-1", **APP)
    job = harbor_jobs("submit", "--runs", "6", "--name", "hello", "-", stdin=packed(TASKS / "hello")).strip()
    assert harbor_jobs("status", job, "--wait", "--timeout", "30") == f"{job}: 6 done; mean reward 1\n"
    rows = harbor_jobs.json("results", job)
    assert [(row["run"], row["state"], row["reward"], row["host"], row["unit"]) for row in rows] == [
        (number, "done", 1.0, "host-a", "worker-1") for number in range(1, 7)
    ]
    for row in rows:
        path = Path(row["path"])
        assert json.loads((path / "result.json").read_text())["seconds"] == row["seconds"]
        assert {"trial.log", "agent", "verifier"} <= {child.name for child in path.iterdir()}
    status = harbor_jobs.json("status", job)
    assert (status["states"], status["reward"]) == ({"queued": 0, "running": 0, "done": 6, "failed": 0}, 1.0)
    assert status["finished_at"] is not None
    assert "greeting Grace" in harbor_jobs("logs", job, "3")
    assert [entry["job"] for entry in harbor_jobs.json("list")] == [job]
    assert "queued 0 runs" in harbor_jobs("resubmit", job)
    assert not [path.name for path in (harbor_jobs.jobs / job).iterdir() if path.name.startswith(".")]
    assert "NOPERM" not in unit.text
    for question in ("status", "results"):
        nowhere = harbor_jobs(question, job, JOBS_DIR=f"{harbor_jobs.jobs}/gone")
        assert nowhere == harbor_jobs(question, job), "the rows tell, whatever becomes of the storage"

    failing = harbor_jobs("submit", str(TASKS / "failing")).strip()
    assert failing.startswith("failing-")
    assert (
        harbor_jobs("status", failing, "--wait", "--timeout", "30", code=3) == f"{failing}: 1 failed; mean reward 0\n"
    )


def test_a_log_is_followed_until_its_run_ends(
    start_unit: StartUnit, harbor_jobs: Command, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    start_unit("worker-1", **APP)
    task = make_task(f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo second")
    job = harbor_jobs("submit", str(task)).strip()
    with subprocess.Popen(
        harbor_jobs.line("logs", job, "1", "--follow"), env=harbor_jobs.environ, stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        lines = []
        for line in follower.stdout:
            lines.append(line)
            if "first" in line:
                assert harbor_jobs.json("status", job)["states"]["running"] == 1
                (tmp_path / "go").touch()
        assert follower.wait(10) == 0
    text = "".join(lines)
    assert text.count("first") == text.count("second") == 1
    assert lines[-1].endswith("reward 1.0, done\n")
    assert text == harbor_jobs("logs", job, "1")


def test_a_process_that_is_killed_leaves_its_run_to_another_and_one_result(
    start_unit: StartUnit, harbor_jobs: Command, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    unit = start_unit("worker-1", slots=1, TMPDIR=str(tmp_path), **APP)
    task = make_task(f"echo $$ >> {tmp_path}/pids; [ -e {tmp_path}/go ] || exec sleep 300")
    job = harbor_jobs("submit", str(task)).strip()
    eventually(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().strip(), what="the run")
    first = int((tmp_path / "pids").read_text())
    (tmp_path / "go").touch()
    os.kill(unit.children()[-1], signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{first}").exists(), what="the end of what the dead process had started")
    harbor_jobs("status", job, "--wait", "--timeout", "30")
    assert len((tmp_path / "pids").read_text().split()) == 2
    assert sorted(path.name for path in (harbor_jobs.jobs / job).iterdir()) == ["job.json", "job_run_1", "task"]


def test_rows_follow_when_postgres_starts_again_in_the_middle(
    start_unit: StartUnit, harbor_jobs: Command, make_task: Callable[..., Path], database: Postgres, tmp_path: Path
) -> None:
    start_unit("worker-1", **APP)
    job = harbor_jobs("submit", "--runs", "2", str(make_task(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")))
    job = job.strip()
    eventually(lambda: harbor_jobs.json("status", job)["states"]["running"] == 2, what="both run")
    database.stop()
    try:
        (tmp_path / "go").touch()
        eventually(lambda: len(list((harbor_jobs.jobs / job).glob("job_run_*/*/result.json"))) == 2, what="results")
    finally:
        database.start()
    harbor_jobs("status", job, "--wait", "--timeout", "30")
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT count(*) FROM harbor_runs WHERE path IS NOT NULL").fetchone() == (2,)


def test_runs_that_could_not_be_queued_are_queued_again_and_twice_is_once(
    start_unit: StartUnit, harbor_jobs: Command, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    task = make_task(f"echo x >> {tmp_path}/count")
    nowhere = f"redis://producer:x@127.0.0.1:{free_port()}/0"
    said = harbor_jobs("submit", "--runs", "2", str(task), code=1, REDIS_URL=nowhere)
    assert "0 of 2 runs are queued" in said
    job = next(path.name for path in harbor_jobs.jobs.iterdir())
    assert f"harbor-jobs resubmit {job}" in said
    assert harbor_jobs.json("list")[0]["states"]["queued"] == 2
    assert harbor_jobs("resubmit", job) == "queued 2 runs: 1, 2\n"
    assert harbor_jobs("resubmit", job) == "queued 2 runs: 1, 2\n"
    start_unit("worker-1", slots=1, **APP)
    harbor_jobs("status", job, "--wait", "--timeout", "30")
    assert (tmp_path / "count").read_text() == "x\nx\n", "each number once, though queued twice"


def test_a_run_that_celery_ends_is_told_as_failed_and_leaves_nothing_running(
    start_unit: StartUnit, harbor_jobs: Command, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    start_unit("worker-1", "--time-limit=1", slots=1, TMPDIR=str(tmp_path), **APP)
    job = harbor_jobs("submit", str(make_task(f"echo $$ > {tmp_path}/pid; exec sleep 300"))).strip()
    harbor_jobs("status", job, "--wait", "--timeout", "30", code=3)
    (row,) = harbor_jobs.json("results", job)
    assert (row["state"], row["path"]) == ("failed", None)
    assert "TimeLimitExceeded" in row["error"]
    eventually(
        lambda: not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists(), what="the end of the solution"
    )
    assert "failed and left no log" in harbor_jobs("logs", job, "1", code=1)


def test_what_is_wrong_is_said_before_anything_is_queued(harbor_jobs: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "task.toml is missing" in harbor_jobs("submit", str(tmp_path / "empty"), code=2)
    assert "there is no job nothing-here" in harbor_jobs("status", "nothing-here", code=2)
    assert harbor_jobs.json("list") == []
    assert not list(harbor_jobs.jobs.glob("*"))
    assert "REDIS_URL" in harbor_jobs("submit", str(TASKS / "hello"), code=2, REDIS_URL="")
    assert "JOBS_DIR is not set" in harbor_jobs("list", code=2, JOBS_DIR="")
    assert not list(harbor_jobs.jobs.glob("*"))
