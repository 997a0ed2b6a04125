"""capacity, preflight, queues and audit on the command line: shapes of --json, exit codes, what is asked before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fleetctl.adapters.history import Change
from fleetctl.cli import capacity as commands
from tests.cli.wired import OpenRemote, deployed
from tests.unit.core.surveys import MINUTE, NOW, answer, beat
from tests.workflows.broker import BALANCED

FLEET = """\
name: demo
provider:
  kind: static
  hosts:
    - {name: alpha, address: 192.0.2.1, price: 0.1}
    - {name: one, address: 192.0.2.2, pool: worker, price: 0.2}
    - {name: two, address: 192.0.2.3, pool: worker}
services: {nfs: {host: alpha}, postgres: {host: alpha}, redis: {host: alpha}}
pools:
  worker: {count: 2, concurrency: 4}
"""
ORPHAN = {"job": "j1", "task": "t.run", "queue": "celery", "at": NOW, "has_message": True}
LOST = {"job": "j2", "task": "t.run", "queue": "celery", "at": NOW, "has_message": False}


class Line:
    """The command line of a fleet whose hosts are fakes."""

    def __init__(self, remote: OpenRemote, environ: dict[str, str]) -> None:
        self.remote = remote
        self.environ = environ

    def __call__(self, command: click.Command, *arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(command, list(arguments), input=text, catch_exceptions=False)

    def json(self, command: click.Command, *arguments: str, code: int = 0) -> Any:
        result = self(command, *arguments, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def history(self) -> tuple[Change, ...]:
        return deployed(self.remote, self.environ).wired.history.changes()


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(tmp_path)
    Path("fleet.yml").write_text(FLEET)
    environ = {"FLEETCTL_HOME": str(tmp_path / "state")}
    remote = OpenRemote()
    remote.seen = answer(
        beat("worker-1", host="one", busy=2),
        beat("worker-2", host="two"),
        queues={"celery": {"queued": 6, "oldest_at": NOW - 90, "running": 2}},
        minutes={str(MINUTE): {"celery|submitted": 8, "celery|done": 3, "celery|failed": 1, "t.run|runs": 4,
                               "t.run|seconds": 20}},
    )  # fmt: skip
    remote.lists = {"celery": 6, "typo": 2}
    monkeypatch.setattr(commands, "deployed", lambda _: deployed(remote, environ))
    return Line(remote, environ)


def test_capacity_as_json_has_slots_work_pools_queues_tasks_and_cost(line: Line) -> None:
    value = line.json(commands.capacity)
    assert set(value) == {
        "fleet", "now", "window_seconds", "slots", "work", "pools", "queues", "tasks", "missing", "strangers", "drains",
        "quarantined", "open", "unclaimed", "cost",
    }  # fmt: skip
    assert value["slots"] == {"wanted": 8, "live": 8, "busy": 2, "draining": 0, "idle": 6}
    work = {
        "queued": 6, "reserved": 0, "running": 2, "scheduled": 0, "stranded": 0, "depth": 8, "oldest_seconds": 90.0,
        "arrivals_per_hour": 480.0, "jobs_per_hour": 240.0, "error_rate": 0.25, "is_growing": True,
        "drain_seconds": 120.0, "drain_reason": None,
    }  # fmt: skip
    assert value["work"] == work
    assert set(value["pools"][0]) == {"name", "units_wanted", "units_live", "slots", "queues", "shared", "work"}
    assert value["queues"] == [{"name": "celery", "pools": ["worker"], "slots": 8, "work": work}]
    assert value["tasks"] == [{"name": "t.run", "runs": 4, "mean_seconds": 5.0}]
    cost = value["cost"]
    assert (cost["per_hour"], cost["is_at_least"], cost["unpriced"]) == (pytest.approx(0.3), True, ["two"])
    assert (cost["per_month"], cost["per_job"]) == (pytest.approx(219), pytest.approx(0.00125))


def test_capacity_for_reading_says_what_is_free_and_what_it_costs(line: Line) -> None:
    result = line(commands.capacity)
    assert result.exit_code == 0
    for said in (
        "8 slots in all, 8 live: 2 busy, 0 draining, 6 idle",
        "6 queued, 0 reserved, 2 running",
        "more come than end",
        "at least 0.3000 USD an hour",
        "without a price: two",
    ):
        assert said in result.stdout
    assert result.stderr == ""


def test_capacity_names_silent_units_with_what_to_type(line: Line) -> None:
    line.remote.seen = answer(beat("worker-1", host="one"))
    assert "silent: worker-2@two: fleetctl health" in line(commands.capacity).stdout


def test_a_plan_as_json_says_waves_time_cost_and_what_binds(line: Line) -> None:
    value = line.json(commands.capacity, "--plan", "--jobs", "20", "--seconds", "60")
    assert value == {
        "jobs": 20, "seconds_each": 60.0, "slots": 8, "basis": "live units", "waves": 3, "seconds": 180.0,
        "jobs_per_hour": 400.0, "cost": pytest.approx(0.015), "cost_per_job": pytest.approx(0.00075),
        "is_at_least": True, "cost_note": None, "binds": "slots", "fix": "fleetctl preflight --slots 20", "ahead": 8,
        "ahead_seconds": 120.0, "note": None,
    }  # fmt: skip


def test_a_plan_without_a_fleet_that_answers_says_on_stderr_what_it_is_made_of(line: Line) -> None:
    line.remote.dead = {"alpha", "one", "two"}
    result = line(commands.capacity, "--plan", "--jobs", "20", "--seconds", "60")
    assert result.exit_code == 0
    assert "from fleet.yml alone" in result.stderr
    assert "3 waves" in result.stdout


@pytest.mark.parametrize(
    "arguments", [("--plan",), ("--plan", "--jobs", "3"), ("--jobs", "3", "--seconds", "1"), ("--queue", "a")]
)
def test_half_a_plan_is_refused(line: Line, arguments: tuple[str, ...]) -> None:
    result = line(commands.capacity, *arguments)
    assert result.exit_code == 2
    assert "hint: fleetctl capacity --plan" in result.stderr


def test_capacity_of_a_fleet_that_does_not_answer_fails(line: Line) -> None:
    line.remote.dead = {"alpha", "one", "two"}
    result = line(commands.capacity)
    assert (result.exit_code, result.stdout) == (1, "")


def test_preflight_as_json_has_ceilings_the_first_first_and_guidance(line: Line) -> None:
    value = line.json(commands.preflight)
    assert set(value) == {
        "slots", "slots_now", "is_deployed", "is_ok", "binding", "ceilings", "guidance", "unknown", "notes",
    }  # fmt: skip
    assert (value["slots"], value["is_ok"], value["is_deployed"]) == (8, True, True)
    assert value["binding"] == next(of for of in value["ceilings"] if of["name"] != "slots of fleet.yml")
    assert set(value["binding"]) == {
        "name", "where", "limit", "need", "unit", "fix", "share", "is_ok", "most_slots",
    }  # fmt: skip
    assert {"instance", "slots", "slots_by_memory", "slots_by_cpu", "hosts", "usd_per_hour"} < set(
        value["guidance"][0]["fits"][0]
    )


def test_preflight_of_too_many_slots_ends_with_3_and_each_fix(line: Line) -> None:
    result = line(commands.preflight, "--slots", "600")
    assert result.exit_code == 3
    assert "too low: slots of fleet.yml (fleet)" in result.stdout
    assert "fix: write pools.worker.count: 150 in fleet.yml" in result.stdout
    assert "too low: hosts (pool worker)" in result.stdout
    assert "binds first: " in result.stdout


def test_queues_as_json_name_those_that_nobody_serves(line: Line) -> None:
    rows = line.json(commands.queues, "list")["queues"]
    assert rows[0] == {
        "name": "celery", "pools": ["worker"], "is_known": True, "queued": 6, "reserved": 0, "running": 2,
        "scheduled": 0, "stranded": 0, "oldest_seconds": 90.0, "is_served": True,
    }  # fmt: skip
    assert (rows[1]["name"], rows[1]["queued"], rows[1]["is_served"]) == ("typo", 2, False)
    assert "fleetctl queues move typo QUEUE" in line(commands.queues, "list").stdout


def test_jobs_are_moved_and_the_history_says_so(line: Line) -> None:
    value = line.json(commands.queues, "move", "typo", "celery", "--count", "1")
    assert value == {"from": "typo", "to": "celery", "moved": 1}
    assert line.remote.lists == {"celery": 7, "typo": 1}
    (change,) = line.history()
    assert (change.command, change.result, change.summary) == (
        "queues move typo celery --count 1", "done", "1 jobs moved",
    )  # fmt: skip


MOVES = {
    "from nowhere": ("nobody", "celery", "there is no queue nobody"),
    "to where nobody takes them": ("celery", "typo", "nobody serves queue typo"),
    "to itself": ("celery", "celery", "one queue, not two"),
}


@pytest.mark.parametrize(("source", "target", "said"), MOVES.values(), ids=MOVES)
def test_a_move_that_makes_no_sense_is_refused(line: Line, source: str, target: str, said: str) -> None:
    result = line(commands.queues, "move", source, target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert line.history() == ()


@pytest.mark.parametrize("arguments", [("move", "typo", "celery"), ("purge", "typo")])
def test_a_dry_run_says_how_many_jobs_it_is_about_and_stops(line: Line, arguments: tuple[str, ...]) -> None:
    result = line(commands.queues, *arguments, "--dry-run")
    assert result.exit_code == 0
    assert "2 jobs wait in typo" in result.stderr
    assert line.remote.lists == {"celery": 6, "typo": 2}
    assert line.history() == ()


def test_a_purge_says_how_many_and_is_refused_without_a_terminal_and_without_yes(line: Line) -> None:
    result = line(commands.queues, "purge", "typo")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "2 jobs wait in typo" in result.stderr
    assert "add --yes" in result.stderr
    assert line.remote.lists["typo"] == 2
    assert line.history() == ()


def test_a_purge_with_yes_removes_them_and_the_history_says_so(line: Line) -> None:
    assert line.json(commands.queues, "purge", "typo", "--yes") == {"queue": "typo", "removed": 2}
    assert "typo" not in line.remote.lists
    assert [(change.command, change.summary) for change in line.history()] == [
        ("queues purge typo", "2 jobs removed")
    ]  # fmt: skip


def test_an_empty_queue_is_purged_without_a_question(line: Line) -> None:
    line.remote.lists = {}
    assert line.json(commands.queues, "purge", "celery") == {"queue": "celery", "removed": 0}
    assert line.history() == ()


def test_books_that_balance_end_with_0(line: Line) -> None:
    value = line.json(commands.audit)
    assert value == {**BALANCED, "is_ok": True, "requeue": None}
    assert "every submitted job is accounted for" in line(commands.audit).stdout


@pytest.mark.parametrize(
    "wrong", [{"orphans": [ORPHAN]}, {"balance": -1}, {"orphans": [LOST], "balance": 1}],
    ids=["an orphan", "too much", "both"],
)  # fmt: skip
def test_books_that_do_not_balance_end_with_3(line: Line, wrong: dict[str, Any]) -> None:
    line.remote.books = BALANCED | wrong
    assert line.json(commands.audit, code=3)["is_ok"] is False


def test_the_audit_says_since_when_it_counts_and_what_it_cannot_know(line: Line) -> None:
    line.remote.books = BALANCED | {"unrecorded": 4}
    said = line(commands.audit).stdout
    assert "counted since 2026-09-21" in said
    assert "ended without having been recorded as submitted: 4 jobs" in said
    assert "fleetctl client-config" in said


def test_orphans_are_put_back_and_the_books_are_read_again(line: Line) -> None:
    line.remote.books = BALANCED | {"orphans": [ORPHAN], "balance": 1}
    value = line.json(commands.audit, "--requeue")
    assert value["requeue"] == {"requeued": ["j1"], "unknown": []}
    assert (value["orphans"], value["balance"]) == ([], 0)
    assert [(change.command, change.summary) for change in line.history()] == [
        ("audit --requeue", "1 jobs queued again")
    ]  # fmt: skip


def test_an_orphan_without_its_message_stays_one(line: Line) -> None:
    line.remote.books = BALANCED | {"orphans": [LOST], "balance": 1}
    value = line.json(commands.audit, "--requeue", code=3)
    assert value["requeue"] == {"requeued": [], "unknown": []}
    assert [orphan["job"] for orphan in value["orphans"]] == ["j2"]
    assert line.history() == ()
    assert "its message was not kept" in line(commands.audit).stdout


@pytest.mark.parametrize("command", [commands.capacity, commands.preflight, commands.queues, commands.audit])
def test_help_is_there(command: click.Command) -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")
