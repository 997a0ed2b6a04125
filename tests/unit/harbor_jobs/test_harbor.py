"""The executor `harbor`, with a Harbor and a Docker that only act as such: what is called, and what becomes of it.

The fake writes the files of harbor 0.25 as the real command does; Docker and images are not wanted here.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harbor_jobs import harbor, process, publication, running
from harbor_jobs.errors import JobError

from .conftest import Site

FAKE = """#!{python}
import json, os, pathlib, sys
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
trial = pathlib.Path(options["--trials-dir"], options["--trial-name"])
for name in ("agent", "verifier", "artifacts"):
    (trial / name).mkdir(parents=True)
(trial / "agent/oracle.txt").write_text("solved")
(trial / "verifier/reward.txt").write_text("1")
(trial / "verifier/test-stdout.txt").write_text("tested")
(trial / "trial.log").write_text("what harbor did")
(trial / "config.json").write_text(json.dumps(dict(os.environ)))
(trial / "result.json").write_text({result!r})
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def bin_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that is the only one on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def install(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


def install_both(directory: Path, result: dict[str, Any] | None = None) -> None:
    given = result if result is not None else {"verifier_result": {"rewards": {"reward": 1.0}}, "exception_info": None}
    install(directory / "harbor", FAKE.format(python=sys.executable, result=json.dumps(given)))
    install(directory / "docker", "#!/bin/sh\necho 28.0\n")


@pytest.fixture
def for_harbor(make_task: Callable[..., Path]) -> Path:
    task = make_task()
    (task / "instruction.md").write_text("do it")
    (task / "environment").mkdir()
    return task


@pytest.mark.usefixtures("bin_directory")
def test_a_worker_without_harbor_says_so_before_anything_starts(site: Site, for_harbor: Path) -> None:
    site.add(for_harbor, executor="harbor")
    with pytest.raises(JobError, match=r"no command 'harbor'.*install it on every worker"):
        running.perform(site.where, "job-1", 1)
    assert site.names() == set(), "nothing published: it can be queued again once Harbor is there"
    assert "no command 'harbor'" in site.database.rows[-1]["error"]


def test_a_worker_without_docker_says_so(bin_directory: Path) -> None:
    install(bin_directory / "harbor", "#!/bin/sh\n")
    with pytest.raises(JobError, match="no docker, in which Harbor runs its tasks"):
        harbor.find({"PATH": str(bin_directory)})


def test_a_docker_that_does_not_answer_is_quoted(bin_directory: Path) -> None:
    install(bin_directory / "harbor", "#!/bin/sh\n")
    install(bin_directory / "docker", "#!/bin/sh\necho 'permission denied: docker.sock' >&2; exit 1\n")
    with pytest.raises(JobError, match=r"permission denied: docker.sock.*group is `docker`"):
        harbor.find({"PATH": str(bin_directory)})


def test_what_harbor_made_becomes_the_result(
    site: Site, for_harbor: Path, bin_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_both(bin_directory)
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("MODEL_KEY", "key-of-the-model")
    site.add(for_harbor, executor="harbor")
    result = running.perform(site.where, "job-1", 1)
    assert (result["state"], result["reward"], result["exit_codes"]) == ("done", 1.0, {"harbor": 0})
    found = publication.find(site.directory(), 1)
    assert found is not None
    path = found[0]
    assert sorted(child.name for child in path.iterdir()) == [
        "agent", "artifacts", "config.json", "harbor.json", "result.json", "trial.log", "verifier"
    ]  # fmt: skip
    assert (path / "agent/oracle.txt").read_text() == "solved"
    log = (path / "trial.log").read_text()
    assert "what harbor did" in log
    called = json.loads(next(line for line in log.splitlines() if line.startswith("[") and '"trial"' in line))
    assert called[:2] == ["trial", "start"]
    options = dict(zip(called[2::2], called[3::2], strict=True))
    assert (options["--env"], options["--agent"], options["--trial-name"]) == ("docker", "oracle", path.name)
    seen = json.loads((path / "config.json").read_text())
    assert (seen.get("MODEL_KEY"), seen.get("DATABASE_URL")) == ("key-of-the-model", None)


def test_a_model_is_passed_on() -> None:
    line = harbor.command_line("harbor", Path("task"), Path("out"), "task__1", "claude-code", "some/model")
    assert line[-4:] == ["--agent", "claude-code", "--model", "some/model"]


def test_a_trial_that_failed_is_an_error_though_harbor_ends_with_nought(
    site: Site, for_harbor: Path, bin_directory: Path
) -> None:
    exception = {"exception_type": "AgentTimeoutError", "exception_message": "Agent timed out after 10.0 seconds"}
    install_both(bin_directory, {"verifier_result": {"rewards": {"reward": 0.0}}, "exception_info": exception})
    site.add(for_harbor, executor="harbor")
    result = running.perform(site.where, "job-1", 1)
    assert (result["state"], result["reward"], result["exit_codes"]) == ("failed", 0.0, {"harbor": 0})
    assert result["error"] == "AgentTimeoutError: Agent timed out after 10.0 seconds"


def test_a_harbor_that_leaves_nothing_is_told_by_its_log(site: Site, for_harbor: Path, bin_directory: Path) -> None:
    install_both(bin_directory)
    install(bin_directory / "harbor", "#!/bin/sh\necho 'no such image' >&2; exit 1\n")
    site.add(for_harbor, executor="harbor")
    result = running.perform(site.where, "job-1", 1)
    assert result["error"] == "Harbor left no result.json: it ended with 1; trial.log says why"
    found = publication.find(site.directory(), 1)
    assert found is not None
    assert "no such image" in (found[0] / "trial.log").read_text()


def test_harbor_is_ended_by_what_lets_it_take_its_containers_down(tmp_path: Path) -> None:
    assert (harbor.STOP.signal, harbor.STOP.is_for_all) == (signal.SIGINT, False)
    script = (
        "import pathlib, signal, time\n"
        "def down(*_):\n"
        "    pathlib.Path('down').touch()\n"
        "    raise SystemExit\n"
        "signal.signal(signal.SIGINT, down)\n"
        "print(flush=True)\n"
        "time.sleep(300)"
    )

    def interrupt(_: bytes) -> None:
        raise RuntimeError("soft time limit")

    with pytest.raises(RuntimeError):
        process.run(
            [sys.executable, "-c", script], directory=tmp_path, environ={}, seconds=None, sink=interrupt,
            stop=harbor.STOP,
        )  # fmt: skip
    assert (tmp_path / "down").exists()
