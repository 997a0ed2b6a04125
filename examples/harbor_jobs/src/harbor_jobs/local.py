"""Executor `local`: the task's own solution, then its tests, as programs of the worker. It isolates nothing.

What Harbor has at fixed places of a container is named by variables: LOGS_DIR (/logs, with agent/ and verifier/),
TESTS_DIR (/tests), SOLUTION_DIR (/solution). Scripts for both say `"${LOGS_DIR:-/logs}/verifier/reward.txt"`. They
start in a working directory that holds a copy of environment/, and know none of the worker's variables but PATH and
LANG, and those that [solution.env] and [verifier.env] of task.toml name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from harbor_jobs import files, process
from harbor_jobs.errors import JobError
from harbor_jobs.log import Log
from harbor_jobs.outcome import Outcome, RewardError, read_rewards
from harbor_jobs.taskfile import Task

_TEMPLATE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\}")
_EXECUTE = 'chmod u+x "$0" && exec "$0"'  # by a shell, as in Harbor: it also runs a script without its first line


def run(task: Task, source: Path, scratch: Path, trial: Path, log: Log) -> Outcome:
    """Run the task of `source` with all its files below `scratch`; agent/ and verifier/ of `trial` get its logs."""
    for name in ("tests", "solution"):
        files.copy(source / name, scratch / name)
    work = scratch / "work"
    if (source / "environment").is_dir():
        files.copy(source / "environment", work)
    else:
        work.mkdir()
    places = {"LOGS_DIR": str(trial), "TESTS_DIR": str(scratch / "tests"), "SOLUTION_DIR": str(scratch / "solution")}
    home = scratch / "home"
    home.mkdir()
    plain = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    plain |= {"HOME": str(home), "TMPDIR": str(home)} | places

    for_solution = plain | {"DEBIAN_FRONTEND": "noninteractive"} | resolved(task.solution_environment, os.environ)
    for_tests = plain | resolved(task.verifier_environment, os.environ)

    errors = []
    agent = _phase(
        "agent", scratch / "solution/solve.sh", trial / "agent/oracle.txt", work, task.agent_seconds, for_solution, log
    )
    if agent.is_late:
        errors.append(f"the solution was ended at its limit: agent.timeout_sec is {task.agent_seconds:g}")
    # The tests judge what is there, as in Harbor: also after a solution that failed.
    for name in ("reward.txt", "reward.json"):
        (trial / "verifier" / name).unlink(missing_ok=True)
    verifier = _phase(
        "verifier", scratch / "tests/test.sh", trial / "verifier/test-stdout.txt", work, task.verifier_seconds,
        for_tests, log,
    )  # fmt: skip
    rewards: dict[str, float] = {}
    if verifier.is_late:
        errors.append(f"the tests were ended at their limit: verifier.timeout_sec is {task.verifier_seconds:g}")
    else:
        try:
            rewards = read_rewards(trial / "verifier")
        except RewardError as exc:
            errors.append(f"{exc}; tests/test.sh ended with {verifier.exit_code}")
    codes = {"agent": agent.exit_code, "verifier": verifier.exit_code}
    return Outcome(rewards, codes, "; ".join(errors) or None)


def resolved(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables with `${NAME}` and `${NAME:-default}` replaced, as in harbor 0.25; JobError for one not set."""
    found = dict(variables)
    for name, value in variables.items():
        if match := _TEMPLATE.fullmatch(value):
            if match[1] not in environ and match[2] is None:
                raise JobError(
                    f"task.toml wants {match[1]}, which is not set on the worker",
                    hint=f"add it to app.environment or app.secrets of fleet.yml, or write ${{{match[1]}:-default}}",
                )
            found[name] = environ.get(match[1], match[2] or "")
    return found


def _phase(
    name: str, script: Path, own: Path, work: Path, seconds: float, environ: Mapping[str, str], log: Log
) -> process.Ended:
    log.say(f"{name}: {script.parent.name}/{script.name} starts, with {seconds:g} s")
    with Log(own) as output:

        def sink(data: bytes) -> None:
            output.write(data)
            log.write(data)

        ended = process.run(
            ["/bin/sh", "-c", _EXECUTE, str(script)], directory=work, environ=environ, seconds=seconds, sink=sink
        )
    how = f"was ended after {ended.seconds:.1f} s" if ended.is_late else f"ended after {ended.seconds:.1f} s"
    log.say(f"{name}: {how}, exit status {ended.exit_code}")
    return ended
