"""A run from message to result: published once, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harbor_jobs import layout, publication, running
from harbor_jobs.errors import DatabaseError, JobError

from .conftest import PASS, Site


def test_a_run_leaves_a_result_and_then_a_row(site: Site, make_task: Callable[..., Path]) -> None:
    site.add(make_task(solve="echo hi"))
    result = running.perform(site.where, "job-1", 2)
    found = publication.find(site.directory(), 2)
    assert found is not None
    path, published = found
    assert path == site.directory() / "job_run_2" / layout.trial_name("job-1", 2)
    assert published == result
    assert {name: published[name] for name in ("state", "reward", "host", "unit", "run", "error", "exit_codes")} == {
        "state": "done", "reward": 1.0, "host": "host-1", "unit": "worker-1", "run": 2, "error": None,
        "exit_codes": {"agent": 0, "verifier": 0},
    }  # fmt: skip
    assert sorted(child.name for child in path.iterdir()) == ["agent", "result.json", "trial.log", "verifier"]
    assert "hi\n" in (path / "trial.log").read_text()
    assert [(row["state"], row.get("path")) for row in site.database.rows] == [("running", None), ("done", str(path))]
    assert site.names() == {"job_run_2"}
    assert not list((site.where.scratch or Path()).iterdir())


def test_a_second_run_of_a_number_finds_the_first_and_writes_its_row(
    site: Site, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    site.add(make_task(solve=f"echo x >> {tmp_path}/count"))
    first = running.perform(site.where, "job-1", 1)
    site.database.rows.clear()
    assert running.perform(site.where, "job-1", 1) == first
    assert (tmp_path / "count").read_text() == "x\n"
    assert [row["attempt"] for row in site.database.rows] == [first["attempt"]]


def test_of_two_that_run_at_once_the_first_is_kept(site: Site, make_task: Callable[..., Path], tmp_path: Path) -> None:
    task = make_task(solve="sleep 0.3")
    site.add(task)
    code = (
        "import sys; from pathlib import Path; from harbor_jobs import running\n"
        "from tests.unit.harbor_jobs.conftest import Remembering\n"
        "where = running.Place(Path(sys.argv[1]), Remembering('nowhere'), 'h', 'u')\n"
        "print(running.perform(where, 'job-1', 1)['attempt'])"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(site.where.jobs)], stdout=subprocess.PIPE, env=_environ(tmp_path)
        )
        for _ in range(2)
    ]
    attempts = {child.communicate(timeout=30)[0] for child in both}
    assert [child.returncode for child in both] == [0, 0]
    assert len(attempts) == 1, "both tell of the same"
    assert site.names() == {"job_run_1"}


@pytest.mark.parametrize("moment", ["rename", "mkdir"])
def test_a_process_killed_half_way_publishes_nothing_and_the_next_run_does(
    site: Site, make_task: Callable[..., Path], tmp_path: Path, moment: str
) -> None:
    site.add(make_task())
    code = (
        "import os, sys; from pathlib import Path; from harbor_jobs import publication, running\n"
        "from tests.unit.harbor_jobs.conftest import Remembering\n"
        "true = Path.mkdir\n"
        "def die(path, *a, **k):\n"
        "    if path.name.startswith('.job_run'): os.kill(os.getpid(), 9)\n"
        "    return true(path, *a, **k)\n"
        f"Path.{moment} = die\n"
        "where = running.Place(Path(sys.argv[1]), Remembering('nowhere'), 'h', 'u')\n"
        "running.perform(where, 'job-1', 1)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(site.where.jobs)], env=_environ(tmp_path), check=False)
    assert done.returncode == -9
    assert site.names(), "what the dead one left"
    assert all(name.startswith(".job_run_1.") for name in site.names())
    assert publication.find(site.directory(), 1) is None
    assert running.perform(site.where, "job-1", 1)["state"] == "done"
    assert site.names() == {"job_run_1"}


def test_what_another_number_left_stays(site: Site, make_task: Callable[..., Path]) -> None:
    site.add(make_task())
    layout.temporary(site.directory(), 11, "dead").mkdir()
    running.perform(site.where, "job-1", 1)
    assert site.names() == {"job_run_1", ".job_run_11.dead"}


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system to fill")
    place = tmp_path / "jobs"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=False)
    if done.returncode != 0:
        pytest.skip("this computer lets nobody mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.usefixtures("full")
def test_a_full_storage_fails_the_run_and_publishes_nothing(site: Site, make_task: Callable[..., Path]) -> None:
    site.add(make_task(solve="head -c 200000 /dev/zero"))
    with pytest.raises(publication.PublicationError, match="No space left on device"):
        running.perform(site.where, "job-1", 1)
    assert site.names() == set()
    row = site.database.rows[-1]
    assert (row["state"], row["path"]) == ("failed", None)
    assert row["error"] == "the result could not be published: No space left on device"


def test_rows_follow_when_the_database_is_back(site: Site, make_task: Callable[..., Path], tmp_path: Path) -> None:
    site.add(make_task(solve=f"echo x >> {tmp_path}/count"))
    site.database.refusals.append(DatabaseError("away"))
    with pytest.raises(DatabaseError):
        running.perform(site.where, "job-1", 1)
    assert publication.find(site.directory(), 1) is not None
    running.perform(site.where, "job-1", 1)
    assert site.database.rows[-1]["state"] == "done"
    assert (tmp_path / "count").read_text() == "x\n"


def test_links_in_the_logs_are_not_followed(site: Site, make_task: Callable[..., Path]) -> None:
    site.add(make_task(test=f'ln -s /etc/passwd "$LOGS_DIR/verifier/secret"; mkfifo "$LOGS_DIR/pipe"; {PASS}'))
    running.perform(site.where, "job-1", 1)
    found = publication.find(site.directory(), 1)
    assert found is not None
    assert sorted(path.name for path in found[0].rglob("*")) == [
        "agent", "oracle.txt", "result.json", "reward.txt", "test-stdout.txt", "trial.log", "verifier"
    ]  # fmt: skip


def test_a_job_that_is_none_is_said(site: Site) -> None:
    with pytest.raises(JobError, match="job-1 is not a job"):
        running.perform(site.where, "job-1", 1)


def test_a_result_is_json_that_others_can_read(site: Site, make_task: Callable[..., Path]) -> None:
    site.add(make_task(test='echo \'{"speed": 0.5, "style": 1}\' > "$LOGS_DIR/verifier/reward.json"'))
    assert json.loads(json.dumps(running.perform(site.where, "job-1", 1)))["rewards"] == {"speed": 0.5, "style": 1.0}


def _environ(directory: Path) -> dict[str, str]:
    root = Path(__file__).parents[3]
    return os.environ | {"PYTHONPATH": f"{root}:{root}/examples/harbor_jobs/src", "TMPDIR": str(directory)}
