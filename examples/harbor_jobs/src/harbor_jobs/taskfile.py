"""task.toml: what of Harbor's format a run needs, and all that is wrong with a task, by file and key.

The format: https://harborframework.com/docs/tasks (harbor 0.25, models/task/config.py). Harbor itself checks the rest.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harbor_jobs.errors import UsageError

LOCAL, HARBOR = "local", "harbor"
EXECUTORS = (LOCAL, HARBOR)
ORACLE = "oracle"  # Harbor's agent that runs solution/solve.sh
VERIFIER_SECONDS = 600.0  # Harbor's default
AGENT_SECONDS = 600.0  # Harbor has no limit when the key is absent; here a run must end


@dataclass(frozen=True)
class Task:
    """What a run needs to know of a task."""

    agent_seconds: float
    verifier_seconds: float
    solution_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    verifier_environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(directory: Path, *, executor: str = LOCAL, agent: str = ORACLE) -> Task:
    """Return the task in `directory`; UsageError lists all that keeps the executor from running it."""
    config = _parse(directory / "task.toml")
    problems = [*_wrong_keys(config), *_missing_files(directory, config, executor, agent)]
    if problems:
        raise UsageError("the task can't be run:\n" + "\n".join(f"  {problem}" for problem in problems))
    agent_table, verifier, solution = (_table(config, name) for name in ("agent", "verifier", "solution"))
    return Task(
        float(agent_table.get("timeout_sec", AGENT_SECONDS)),
        float(verifier.get("timeout_sec", VERIFIER_SECONDS)),
        dict(solution.get("env", {})),
        dict(verifier.get("env", {})),
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "task.toml is missing", hint="give the task's own directory: the one with task.toml, tests/ and solution/"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
        raise UsageError(f"task.toml can't be read: {exc}", hint="it must be a TOML file in UTF-8") from exc


def _wrong_keys(config: dict[str, Any]) -> Iterator[str]:
    for name in ("agent", "verifier", "solution", "environment"):
        if not isinstance(config.get(name, {}), dict):
            yield f"task.toml: {name}: must be a table: [{name}]"
    for name in ("agent", "verifier"):
        seconds = _table(config, name).get("timeout_sec", 1)
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not (is_number and math.isfinite(seconds) and seconds > 0):
            yield f"task.toml: {name}.timeout_sec: must be a number of seconds above 0, not {seconds!r}"
    for name in ("solution", "verifier"):
        variables = _table(config, name).get("env", {})
        if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
            yield f"task.toml: {name}.env: must be a table of strings"
    if _table(config, "environment").get("os", "linux") != "linux":
        yield "task.toml: environment.os: must be linux, as the fleet's hosts are"


def _missing_files(directory: Path, config: dict[str, Any], executor: str, agent: str) -> Iterator[str]:
    has_steps = bool(config.get("steps"))
    if has_steps and executor == LOCAL:
        yield "task.toml: steps: tasks of several steps need --executor harbor"
    if not has_steps:
        if not (directory / "tests").is_dir():
            yield "tests/: is missing: it holds test.sh, which writes the reward"
        elif not (directory / "tests/test.sh").is_file():
            yield "tests/test.sh: is missing: it runs the tests and writes the reward"
        if executor == LOCAL or agent == ORACLE:
            if not (directory / "solution").is_dir():
                yield "solution/: is missing: it holds solve.sh, which is what a run runs"
            elif not (directory / "solution/solve.sh").is_file():
                yield "solution/solve.sh: is missing: it is what a run runs"
    if executor == HARBOR:
        if not has_steps and not (directory / "instruction.md").is_file():
            yield "instruction.md: is missing: Harbor gives it to the agent"
        if not (directory / "environment").is_dir() and not _table(config, "environment").get("docker_image"):
            yield "environment/: is missing: Harbor needs its Dockerfile, or environment.docker_image in task.toml"


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    table = config.get(name, {})
    return table if isinstance(table, dict) else {}
