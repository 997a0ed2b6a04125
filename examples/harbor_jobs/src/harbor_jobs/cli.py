"""The command `harbor-jobs`: run by `fleet-app harbor-jobs ...` on a client or worker of the fleet."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from harbor_jobs.client import STATES, Client, connect, new_job
from harbor_jobs.errors import JobError, UsageError
from harbor_jobs.outcome import FAILED
from harbor_jobs.rows import Row
from harbor_jobs.taskfile import EXECUTORS, HARBOR, LOCAL, ORACLE

BAD = 3  # asked correctly, and the answer is bad
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
_RUN_KEYS = ("run", "state", "reward", "seconds", "host", "unit", "path", "error", "started_at", "finished_at")
_JOB_KEYS = ("job", "name", "executor", "agent", "model", "runs", "reward", "created_at", "finished_at")


def _ends_well(function: Callable[..., Any]) -> Callable[..., Any]:
    """Render an error once, as its message, hint and exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except JobError as error:
            click.echo(f"error: {error.message}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            sys.exit(error.exit_code)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="harbor-jobs")
def main() -> None:
    """Run Harbor tasks on the fleet: a task N times, each run on some worker, each result once.

    Answers go to stdout, progress to stderr. Exit codes: 0 fine, 1 failed, 2 asked wrongly, 3 some runs failed.
    """


@main.command()
@click.argument("task", metavar="DIRECTORY|-")
@click.option("--runs", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How often to run it.")
@click.option(
    "--executor", type=click.Choice(EXECUTORS), default=LOCAL, show_default=True,
    help="local: solution and tests as programs of the worker; harbor: the worker's Harbor, in Docker.",
)  # fmt: skip
@click.option("--agent", default=ORACLE, show_default=True, help="Harbor's agent; oracle runs the task's solution.")
@click.option("--model", help="The agent's model, as Harbor names it.")
@click.option("--name", help="What the job's id begins with; the directory's name when absent.")
@_ends_well
def submit(task: str, runs: int, executor: str, agent: str, model: str | None, name: str | None) -> None:
    """Queue runs of a task, and print the job's id. "-": the task is a tar on standard input."""
    if executor != HARBOR and (agent != ORACLE or model):
        raise UsageError(f"--agent and --model need --executor {HARBOR}: {LOCAL} runs the task's own solution")
    is_tar = task == "-"
    if is_tar and sys.stdin.isatty():
        raise UsageError("standard input is a terminal", hint="tar -C TASK -c . | harbor-jobs submit -")
    source = Path(os.path.normpath(Path.cwd() / task))  # without a look at it, which may be a long one
    job = new_job(
        name or ("job" if is_tar else source.name), executor=executor, agent=agent, model=model, runs=runs
    )  # fmt: skip

    def fill(target: Path) -> None:
        from harbor_jobs import intake, storage

        if is_tar:
            intake.unpack(storage.Input(sys.stdin.buffer), target, storage.still_here)
        else:
            intake.copy(source, target, storage.still_here)

    _client().submit(job, fill, _no_news)
    click.echo(f"queued {runs} runs; next: harbor-jobs status {job.job} --wait", err=True)
    click.echo(job.job)


@main.command()
@click.argument("job")
@click.option("--run", "numbers", type=int, multiple=True, metavar="N", help="This run, also one that seems to go on.")
@_ends_well
def resubmit(job: str, numbers: tuple[int, ...]) -> None:
    """Queue again the runs that have no result and are not running. A run with a result is never run again."""
    queued = _client().resubmit(job, numbers, _no_news)
    click.echo(f"queued {len(queued)} runs: {', '.join(map(str, queued)) or 'every run has its result or goes on'}")


@main.command()
@click.argument("job")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until all runs have ended.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this; exit code 1.")
@_JSON
@_ends_well
def status(job: str, is_waiting: bool, timeout: float | None, as_json: bool) -> None:
    """Count a job's runs by state. Exit code 3 when some failed."""
    client, is_over = _client(), True
    if is_waiting:
        found, is_over = client.wait(job, timeout, lambda news: click.echo(_counts(news), err=True))
    else:
        found = client.status(job)
    click.echo(json.dumps(_shape(found), indent=2) if as_json else f"{job}: {_counts(found)}{_reward(found)}")
    if not is_over:
        raise JobError(f"not over after {timeout:g} s", hint=f"harbor-jobs status {job} --wait")
    sys.exit(BAD if found[FAILED] else 0)


@main.command(name="list")
@_JSON
@_ends_well
def list_(as_json: bool) -> None:
    """List the jobs, the newest first."""
    found = _client().database.jobs()
    if as_json:
        click.echo(json.dumps([_shape(job) for job in found], indent=2))
        return
    _table(
        ("JOB", "RUNS", *(state.upper() for state in STATES), "REWARD", "SUBMITTED"),
        [
            (job["job"], job["runs"], *(job[state] for state in STATES), job["reward"], job["created_at"])
            for job in found
        ],
    )


@main.command()
@click.argument("job")
@_JSON
@_ends_well
def results(job: str, as_json: bool) -> None:
    """Print each run's state, reward, seconds, host, unit, and where its files are or why there are none."""
    found = _client().results(job)
    if as_json:
        click.echo(json.dumps([{key: _plain(row[key]) for key in _RUN_KEYS} for row in found], indent=2))
        return
    _table(
        ("RUN", "STATE", "REWARD", "SECONDS", "HOST", "UNIT", "FILES OR REASON"),
        [
            (*(row[key] for key in _RUN_KEYS[:6]), "  ".join(filter(None, (row["path"], row["error"]))) or None)
            for row in found
        ],
    )


@main.command()
@click.argument("job")
@click.argument("run", type=int)
@click.option("--follow", "-f", "is_followed", is_flag=True, help="Go on as it grows, until the run ends.")
@_ends_well
def logs(job: str, run: int, is_followed: bool) -> None:
    """Print trial.log of a run, also of one that goes on."""
    for data in _client().log(job, run, is_followed=is_followed, on_news=lambda news: click.echo(news, err=True)):
        click.echo(data, nl=False)


def _client() -> Client:
    return connect(os.environ)


def _no_news(_: int) -> None:
    """Say nothing of single runs."""


def _counts(job: Row) -> str:
    return ", ".join(f"{job[state]} {state}" for state in STATES if job[state]) or "no runs"


def _reward(job: Row) -> str:
    return "" if job["reward"] is None else f"; mean reward {job['reward']:g}"


def _shape(job: Row) -> dict[str, Any]:
    return {key: _plain(job[key]) for key in _JOB_KEYS} | {"states": {state: job[state] for state in STATES}}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _table(head: tuple[str, ...], lines: list[tuple[Any, ...]]) -> None:
    cells = [head, *(tuple(_cell(value) for value in line) for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return "-" if value is None else str(value)
