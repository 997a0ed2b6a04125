"""Day-2 verbs on the command line: what is refused before anything is asked, shapes of --json, exit codes, history."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from fleetctl.adapters import secrets
from fleetctl.adapters.history import Change
from fleetctl.cli import hosts as host_commands
from fleetctl.cli import jobs as job_commands
from fleetctl.cli import operate as commands
from fleetctl.cli.common import Deployed
from fleetctl.errors import ConnectError
from fleetctl.model import CommandResult, Host
from fleetctl.ports import Session
from tests.cli.wired import deployed
from tests.workflows.day2 import NOW, FakeHosts, beat, job
from tests.workflows.test_journal import line as journal_line

FLEET = """\
name: demo
provider:
  kind: static
  hosts:
    - {name: alpha, address: 192.0.2.1}
    - {name: one, address: 192.0.2.2, pool: worker}
    - {name: two, address: 192.0.2.3, pool: worker}
services: {nfs: {host: alpha}, postgres: {host: alpha}, redis: {host: alpha}}
pools:
  worker: {count: 2, concurrency: 4}
"""
ID = "0b1c2d3e-0000-4000-8000-1234567890ab"


class OpenHosts(FakeHosts):
    """Hosts whose connections can be closed."""

    def __enter__(self) -> OpenHosts:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @contextmanager
    def session(self, host: Host, argv: Sequence[str], *, stdin: str = "", timeout: float) -> Iterator[Session]:
        del argv, stdin, timeout
        raise ConnectError(f"{host.name}: no sessions here")
        yield


class Line:
    """The command line of a fleet whose hosts are fakes."""

    def __init__(self, remote: OpenHosts, environ: dict[str, str]) -> None:
        self.remote = remote
        self.environ = environ

    def __call__(self, command: click.Command, *arguments: str) -> Result:
        return CliRunner().invoke(command, list(arguments), catch_exceptions=False)

    def json(self, command: click.Command, *arguments: str, code: int = 0) -> Any:
        result = self(command, "--json", *arguments)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def refused(self, command: click.Command, *arguments: str) -> str:
        """Return what was said on stderr to a command that was asked wrongly, and touched nothing."""
        result = self(command, *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert self.remote.asked == []
        assert self.remote.ran == []
        assert self.history() == ()
        return result.stderr

    def fleet(self) -> Deployed:
        return deployed(self.remote, self.environ)  # type: ignore[arg-type]  # another fake of the same port

    def history(self) -> tuple[Change, ...]:
        return self.fleet().wired.history.changes()


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(tmp_path)
    Path("fleet.yml").write_text(FLEET)
    remote = OpenHosts()
    remote.units = {
        "worker-1@one": beat("worker-1", "one", job(ID, started=10)),
        "worker-2@two": beat("worker-2", "two", is_draining=True),
    }
    found = Line(remote, {"FLEETCTL_HOME": str(tmp_path / "state")})
    for module in (commands, host_commands, job_commands):
        monkeypatch.setattr(module, "deployed", lambda _: found.fleet())
    return found


@pytest.mark.parametrize("command", [commands.drain, commands.restart, host_commands.logs, job_commands.jobs])
def test_a_name_that_the_fleet_does_not_have_is_refused_beside_those_that_it_has(
    command: click.Command, line: Line
) -> None:
    said = line.refused(command, *(["--rolling"] if command is commands.restart else []), "wroker-1")
    assert "error: the fleet has no host, pool or unit wroker-1" in said
    assert "hint: one of: worker, one, two, worker-1, worker-2" in said


def test_a_drain_returns_at_once_with_what_still_runs_and_is_in_the_history(line: Line) -> None:
    value = line.json(commands.drain, "one")
    assert value == {
        "drained": ["host:one"], "units": ["worker-1@one"], "is_over": False, "eta_seconds": None,
        "at_most_seconds": 890.0, "silent": [],
        "jobs": [{"job": ID, "task": "plain.work", "queue": "celery", "unit": "worker-1", "host": "one",
                  "since": NOW - 10, "left": None, "at_most": 890.0}],
    }  # fmt: skip
    (change,) = line.history()
    assert (change.command, change.result, change.summary) == ("drain one", "done", "1 units, 1 jobs ran")
    shown = line(commands.drain, "one", "worker-2").stdout
    assert "1 job still runs; how long is unknown, 15 min at most" in shown
    assert "undo: fleetctl undrain host:one unit:worker-2" in shown


def test_a_drain_that_is_waited_for_ends_with_3_at_the_deadline_and_with_0_when_all_is_over(line: Line) -> None:
    assert line.json(commands.drain, "one", "--deadline", "1s", code=3)["jobs"][0]["job"] == ID
    assert line.history()[-1].result == "failed"
    assert line.json(commands.drain, "two", "--wait")["is_over"] is True
    assert line.history()[-1].result == "done"


@pytest.mark.parametrize("text", ["10", "soon", "-5s", "1d"])
def test_a_deadline_is_a_duration(text: str, line: Line) -> None:
    assert "is not a duration: write 90s, 15m or 1h" in line.refused(commands.drain, "one", f"--deadline={text}")


def test_an_undrain_says_which_drains_are_over_and_what_is_still_held(line: Line) -> None:
    line.remote.drains = {"host:one": {}, "pool:worker": {}}
    value = line.json(commands.undrain, "one")
    assert value == {"undrained": ["host:one"], "unknown": [], "still": {"worker-1@one": "pool:worker"}}
    assert line.json(commands.undrain, "--all")["undrained"] == ["pool:worker"]
    assert [change.command for change in line.history()] == ["undrain one", "undrain --all"]


@pytest.mark.parametrize("arguments", [[], ["one", "--all"]])
def test_an_undrain_without_a_name_needs_all(arguments: list[str], line: Line) -> None:
    assert "say what to undrain, or --all" in line.refused(commands.undrain, *arguments)


def test_a_restart_at_once_is_refused_with_what_to_type(line: Line) -> None:
    assert "hint: fleetctl restart --rolling one" in line.refused(commands.restart, "one")
    assert "neither a number of hosts nor a share" in line.refused(commands.restart, "--rolling", "--batch", "many")


def test_a_restart_shows_its_batches_and_touches_nothing_in_a_dry_run(line: Line) -> None:
    result = line(commands.restart, "--rolling", "--dry-run")
    assert result.stdout == "batch 1: one (worker-1)\nbatch 2: two (worker-2)\n"
    assert (line.remote.ran, line.history()) == ([], ())


def test_a_restart_that_stopped_ends_with_3_and_names_who_was_not_touched(line: Line) -> None:
    line.remote.dead = {"one"}
    value = line.json(commands.restart, "--rolling", code=3)
    assert (value["failed"], value["untouched"], value["is_ok"]) == ({"one": "one: no answer"}, ["two"], False)
    assert line.history()[-1].result == "failed"
    line.remote.dead = set()
    result = line(commands.restart, "--rolling")
    assert (result.exit_code, result.stdout) == (0, "restarted and proven: one, two\n")


def test_a_restart_waits_for_nobody_who_changes_the_fleet(line: Line) -> None:
    with line.fleet().wired.state.lock("deploy"):
        result = line(commands.restart, "--rolling")
    assert result.exit_code == 1
    assert "is being changed by" in result.stderr
    assert line.remote.ran == []


def answer(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
    del stdin
    words = list(argv[argv.index("60") + 1 :]) if "60" in argv else list(argv)
    return CommandResult(1, "", "broken") if host == "two" else CommandResult(0, f"{host}: {words}\n", "")


def test_a_command_runs_on_all_hosts_and_each_answer_stands_under_its_name(line: Line) -> None:
    line.remote.command = answer
    result = line(host_commands.execute, "--", "uptime", "--pretty")
    assert result.exit_code == 3
    assert result.stdout == (
        "alpha:\n  alpha: ['uptime', '--pretty']\none:\n  one: ['uptime', '--pretty']\ntwo (exit code 1):\n"
    )
    assert "broken" in result.stderr
    assert "failed on 1 of 3: two" in result.stderr
    hosts = line.json(host_commands.execute, "one", "alpha", "--", "true")["hosts"]
    assert [(host["host"], host["code"], host["is_ok"]) for host in hosts] == [("alpha", 0, True), ("one", 0, True)]


@pytest.mark.parametrize(
    ("options", "hosts"),
    [(["--group", "redis"], ["alpha"]), (["--group", "clients"], ["alpha"]), (["--pool", "worker"], ["one", "two"])],
)
def test_a_command_runs_on_a_group_or_a_pool(options: list[str], hosts: list[str], line: Line) -> None:
    assert [host["host"] for host in line.json(host_commands.execute, *options, "--", "true")["hosts"]] == hosts


def test_a_command_stands_behind_two_dashes(line: Line) -> None:
    assert "hint: fleetctl exec one -- uptime" in line.refused(host_commands.execute, "one", "uptime")
    assert "the fleet has no host nobody" in line.refused(host_commands.execute, "nobody", "--", "true")
    assert "the fleet has no pool light" in line.refused(host_commands.execute, "--pool", "light", "--", "true")


def test_a_file_is_put_on_the_hosts_with_its_mode(line: Line) -> None:
    Path("here").write_bytes(b"x")
    Path("here").chmod(0o600)
    value = line.json(host_commands.put, "here", "/etc/there", "one", "two")
    assert [host["host"] for host in value["hosts"]] == ["one", "two"]
    assert all(" /etc/there 0600 " in command for _, command, _ in line.remote.ran)
    line(host_commands.put, "here", "/etc/there", "one", "--mode", "755")
    assert " /etc/there 0755 " in line.remote.ran[-1][1]
    line.remote.dead = {"two"}
    assert line(host_commands.put, "here", "/etc/there").exit_code == 3
    assert line.history()[-1].summary == "2 hosts, not two"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing", "/there"], "cannot read missing: No such file or directory"),
        (["..", "/there"], "a directory: tar it"),
        (["fleet.yml", "/there", "--mode", "rw"], "--mode rw is not a mode"),
    ],
)
def test_what_cannot_be_put_is_refused(arguments: list[str], said: str, line: Line) -> None:
    assert said in line.refused(host_commands.put, *arguments)


def test_journals_are_one_in_time_order_and_a_host_that_dies_is_told_on_stderr(line: Line) -> None:
    def say(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del argv, stdin
        return CommandResult(0, "\n".join(journal_line(at) for at in ((1, 3) if host == "one" else (2,))), "")

    line.remote.command = say
    result = line(host_commands.logs, "one", "two")
    assert result.stdout.splitlines()[0] == "1970-01-01T00:00:01.000Z one worker-1: said"
    rows = [json.loads(text) for text in line(host_commands.logs, "--json").stdout.splitlines()]
    assert [(row["at"], row["host"]) for row in rows] == [(1, "one"), (2, "two"), (3, "one")]
    assert set(rows[0]) == {"at", "host", "unit", "message", "priority", "pid"}
    line.remote.dead = {"two"}
    result = line(host_commands.logs)
    assert (result.exit_code, result.stderr) == (3, "two: no answer\n")
    assert len(result.stdout.splitlines()) == 2


def test_running_jobs_and_a_jobs_way_are_shown(line: Line) -> None:
    value = line.json(job_commands.jobs)
    assert [(one["job"], one["host"], one["seconds"]) for one in value["jobs"]] == [(ID, "one", 10.0)]
    assert line.json(job_commands.jobs, "two")["jobs"] == []
    assert "plain.work" in line(job_commands.jobs, "--queue", "celery").stdout
    line.remote.told[ID] = {"job": ID, "task": "plain.work", "state": "running",
                            "events": [{"at": NOW, "event": "submitted"}]}  # fmt: skip
    assert [step["event"] for step in line.json(job_commands.job, ID[:5])["steps"]] == ["submitted"]
    assert "submitted" in line(job_commands.job, ID).stdout
    assert line(job_commands.job, "f" * 36).exit_code == 1


def test_off_a_terminal_top_is_one_look(line: Line) -> None:
    value = line.json(job_commands.top)
    assert [(row["host"], row["busy"], row["is_draining"]) for row in value["hosts"]] == [
        ("one", 1, False), ("two", 0, True)
    ]  # fmt: skip
    result = line(job_commands.top)
    assert result.exit_code == 0
    assert "1 of 8 slots busy" in result.stdout
    assert "draining" in result.stdout


def test_an_incident_is_one_private_archive_without_the_fleets_secrets(line: Line) -> None:
    it = line.fleet()
    spec, path = it.wired.spec, it.wired.state.path
    environ = {"FLEETCTL_SECRET_POSTGRES_PASSWORD": "canary-of-the-fleet-1"}
    secrets.ensure(spec, path, environ=environ, spec_file=Path("fleet.yml"))
    line.remote.command = lambda *_: CommandResult(0, "canary-of-the-fleet-1 and PASSWORD=canary", "")
    line.remote.dead = {"two"}
    value = line.json(job_commands.incident, "one", "--output", "it.tar.gz")
    assert Path("it.tar.gz").stat().st_mode & 0o777 == 0o600
    assert value["redactions"] > 0
    with tarfile.open("it.tar.gz") as archive:
        texts = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}  # type: ignore[union-attr]
    assert {name.partition("/")[2] for name in texts} == set(value["files"])
    assert "[redacted] and PASSWORD=[redacted]" in next(text for name, text in texts.items() if "system.txt" in name)
    assert not any("canary" in text for text in texts.values())
    assert line(job_commands.incident, "one", "--output", "it.tar.gz").exit_code == 2
    value = line.json(job_commands.incident, "two")
    assert value["missing"]["two"] == "does not answer"
    assert Path(value["archive"]).name.startswith("incident-two-")
