"""Executor `harbor`: the Harbor command of the worker, with its Docker; what it writes becomes the run's result.

The command line and the files are those of harbor 0.25 (cli/trials.py, models/trial/). It needs Python 3.12 or later,
so it is a tool of its own on the worker, not a part of this project.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harbor_jobs import process
from harbor_jobs.errors import JobError
from harbor_jobs.log import Log
from harbor_jobs.outcome import Outcome, RewardError, checked

#: Ctrl-C lets Harbor take its containers down; of SIGTERM it dies and leaves them.
STOP = process.Stop(signal.SIGINT, 60.0, is_for_all=False)
OWN_RESULT = "harbor.json"
_DOCKER_SECONDS = 20
_FLEET = ("FLEET_", "PYTHON", "CELERY_")
_SECRET = ("DATABASE_URL", "REDIS_URL", "CREDENTIALS_DIRECTORY")
_INSTALL = "install it on every worker, as harbor_jobs/README.md says"


def find(environ: Mapping[str, str]) -> str:
    """Return the Harbor command of this worker; JobError says what it lacks, before anything is started."""
    name = environ.get("HARBOR_COMMAND", "harbor")
    command = shutil.which(name, path=environ.get("PATH"))
    if command is None:
        raise JobError(f"this worker has no command {name!r}", hint=f"{_INSTALL}; or submit with --executor local")
    docker = shutil.which("docker", path=environ.get("PATH"))
    if docker is None:
        raise JobError(
            "this worker has no docker, in which Harbor runs its tasks",
            hint="install Docker with its compose plugin on every worker; or submit with --executor local",
        )
    try:
        done = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=_DOCKER_SECONDS, check=False,
        )  # fmt: skip
        why = (
            "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        why = str(exc)
    if why:
        raise JobError(
            f"Docker does not answer on this worker: {why}",
            hint="start it, and let the units' user in: its group is `docker`",
        )
    return command


def command_line(command: str, task: Path, out: Path, name: str, agent: str, model: str | None) -> list[str]:
    """Return how Harbor runs one trial of a local task in Docker, into `out`/`name`."""
    line = [
        command, "trial", "start", "--path", str(task), "--trials-dir", str(out), "--trial-name", name,
        "--env", "docker", "--agent", agent,
    ]  # fmt: skip
    return [*line, "--model", model] if model else line


def run(source: Path, scratch: Path, trial: Path, log: Log, *, agent: str, model: str | None) -> Outcome:
    """Run one trial of the task in `source`; its files go to `trial`, Harbor's result.json as harbor.json."""
    command = find(os.environ)
    task, out, home = scratch / "task", scratch / "out", scratch / "home"
    shutil.copytree(source, task)
    home.mkdir()
    line = command_line(command, task, out, trial.name, agent, model)
    log.say(f"harbor: {' '.join(line)}")
    # Harbor holds the task's own limits; the pool's holds Harbor.
    ended = process.run(
        line, directory=scratch, environ=variables(os.environ, home), seconds=None, sink=log.write, stop=STOP
    )
    log.say(f"harbor: ended after {ended.seconds:.1f} s, exit status {ended.exit_code}")
    return take(out / trial.name, trial, log, ended.exit_code)


def variables(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the worker's variables, with the keys of the app's models, without what is the fleet's own."""
    passed = {
        name: value for name, value in environ.items() if name not in _SECRET and not name.startswith(_FLEET)
    }  # fmt: skip
    return {"HARBOR_TELEMETRY": "0"} | passed | {"HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1"}


def take(made: Path, trial: Path, log: Log, exit_code: int) -> Outcome:
    """Move what Harbor made to `trial` and return what it says; Harbor also ends with 0 after a trial that failed."""
    codes = {"harbor": exit_code}
    if made.is_dir():
        for path in sorted(made.iterdir()):
            if path.name == "trial.log":
                log.write(b"--- trial.log of Harbor ---\n" + path.read_bytes())
            elif path.is_dir() and (trial / path.name).is_dir():
                (trial / path.name).rmdir()
                path.rename(trial / path.name)
            else:
                path.rename(trial / (OWN_RESULT if path.name == "result.json" else path.name))
    try:
        result: dict[str, Any] = json.loads((trial / OWN_RESULT).read_bytes())
    except (OSError, ValueError):
        return Outcome({}, codes, f"Harbor left no result.json: it ended with {exit_code}; trial.log says why")
    error = None
    if exception := result.get("exception_info"):
        error = f"{exception.get('exception_type')}: {exception.get('exception_message')}"
    rewards: dict[str, float] = {}
    try:
        rewards = checked((result.get("verifier_result") or {}).get("rewards"))
    except RewardError as exc:
        error = error or f"Harbor gave no reward: {exc}"
    return Outcome(rewards, codes, error)
