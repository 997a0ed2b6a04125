"""health on the command line: exit codes, the shape of --json, the table, --watch and --textfile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fleetctl.cli import health as command
from fleetctl.cli.views import health as view
from fleetctl.core.health_values import Finding, FleetHealth, HostHealth
from tests.cli.wired import OpenRemote, deployed
from tests.unit.core.surveys import answer, beat
from tests.workflows.sessions import SessionRemote

FLEET = """\
name: demo
provider:
  kind: static
  hosts:
    - {name: alpha, address: 192.0.2.1}
    - {name: one, address: 192.0.2.2, pool: worker}
services: {nfs: {mounted: true}, postgres: {host: alpha}, redis: {host: alpha}}
pools:
  worker: {count: 1, concurrency: 4}
"""
HOST = {"machine_id": "m", "fleet": "demo", "needs_reboot": False, "uptime_seconds": 5.0, "stamp": "s"}
UNIT = {
    "load": "loaded", "state": "active", "sub": "running", "result": "success", "is_enabled": True, "restarts": 0,
    "pid": 7, "process": "S", "children": 4, "memory": 1, "memory_limit": None, "oom_kills": 0, "tasks": 9,
    "tasks_limit": 99, "active_seconds": 900.0,
}  # fmt: skip


@dataclass
class EnteredRemote(SessionRemote, OpenRemote):
    """A remote that can be entered, with sessions."""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnteredRemote:
    monkeypatch.chdir(tmp_path)
    Path("fleet.yml").write_text(FLEET)
    services = {name: {"state": "active", "sub": "running", "is_enabled": True} for name in
                ("redis-server", "postgresql@15-main")}  # fmt: skip
    remote = EnteredRemote()
    disk = {"total": 10, "available": 9, "inodes": 0, "inodes_free": 0}
    remote.said = {
        "alpha": {"host": HOST | {"machine_id": "a"}, "services": services, "failed": [], "disk": disk},
        "one": {"host": HOST, "services": {}, "failed": [], "units": {"worker-1": UNIT}, "disk": dict(disk)},
    }
    remote.seen = answer(beat("worker-1", host="one"))
    environ = {"FLEETCTL_HOME": str(tmp_path / "state")}
    monkeypatch.setattr(command, "deployed", lambda _: deployed(remote, environ))
    return remote


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.health, list(arguments), catch_exceptions=False)


def as_json(*arguments: str, code: int) -> Any:
    result = run("--json", *arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_warnings_are_told_and_the_exit_code_is_still_0(remote: EnteredRemote) -> None:
    remote.said["one"]["host"] = HOST | {"needs_reboot": True}
    result = run("--check", "host.reboot")
    assert result.exit_code == 0, result.output
    assert "yellow: one: host.reboot: needs a reboot (packages were updated)" in result.stdout
    assert "   fix: fleetctl drain one --wait && fleetctl ssh one 'systemctl reboot'" in result.stdout


def test_what_is_red_is_told_with_its_cause_and_fix_and_the_exit_code_is_3(remote: EnteredRemote) -> None:
    remote.dead = {"one"}
    result = run("--check", "host.ssh")
    assert result.exit_code == 3
    rows = result.stdout.splitlines()
    assert rows[0] == "fleet demo: red; hosts: 1 green, 1 red"
    assert rows[2].split()[:2] == ["one", "red"]
    assert rows[3].split()[:2] == ["alpha", "green"]
    assert "red: one: host.ssh: timed out (it is dead, frozen or cut off from here)" in result.stdout
    assert "   fix: fleetctl rescue one" in result.stdout


def test_the_json_has_the_documented_shape(remote: EnteredRemote) -> None:
    remote.said["one"]["disk"]["available"] = 0
    value = as_json("--check", "host.disk", "--check", "host.ssh", code=3)
    assert list(value) == ["fleet", "level", "is_ok", "helper", "counts", "hosts", "findings", "passed"]
    assert (value["level"], value["is_ok"], value["counts"]) == ("red", False, {"green": 1, "yellow": 0, "red": 1})
    first = value["hosts"][0]
    assert list(first) == [
        "host", "level", "is_drained", "groups", "address", "seconds", "figures", "findings", "passed",
    ]  # fmt: skip
    assert (first["host"], first["groups"], first["passed"]) == ("one", ["workers"], ["host.ssh"])
    (finding,) = first["findings"]
    assert list(finding) == ["check", "level", "detail", "host", "unit", "cause", "fix"]
    assert (finding["check"], finding["level"]) == ("host.disk", "red")
    words = (view.__doc__ or "").replace('"', " ").split()
    assert {*value, *first, *finding} <= set(words)


def test_checks_of_units_ask_the_broker(remote: EnteredRemote) -> None:
    value = as_json("--check", "unit.answers", code=0)
    assert value["helper"] == "one"
    assert {row["host"]: row["passed"] for row in value["hosts"]} == {"alpha": [], "one": ["unit.answers"]}
    remote.seen["units"].clear()
    value = as_json("--check", "unit.answers", code=3)
    assert value["hosts"][0]["findings"][0]["unit"] == "worker-1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--check", "storge"], "no check's name begins with storge"),
        (["--host", "omega"], "the fleet has no host omega"),
    ],
)
def test_a_name_that_is_not_known_is_refused(arguments: list[str], said: str, remote: EnteredRemote) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert remote.opened == []


def test_a_watch_as_json_writes_a_line_for_each_look(remote: EnteredRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor_watch = view.watch

    def twice(seen: Any, **more: Any) -> Any:
        for _, value in zip(range(2), doctor_watch(seen, **more), strict=False):
            yield value

    monkeypatch.setattr(view, "watch", twice)
    result = run("--watch", "--interval", "0", "--json", "--check", "host.ssh", "--textfile", "fleet.prom")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["level"] for line in result.stdout.splitlines()] == ["green", "green"]
    assert 'fleetctl_health_level{fleet="demo"} 0' in Path("fleet.prom").read_text()
    assert sorted(remote.opened) == ["alpha", "one"]


def test_a_watch_off_a_terminal_prints_each_look_and_an_interrupt_ends_it_well(remote: EnteredRemote) -> None:
    del remote

    def seen() -> Any:
        yield FleetHealth("demo", "green", (), ())
        raise KeyboardInterrupt

    assert len(list(view.watch(seen(), as_json=False, with_green=False))) == 1


def test_many_hosts_with_one_trouble_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for number in range(1, 9):
        trouble = Finding(
            "redis.reached", "red", f"r:6379: {number}", f"worker-{number}", None, "it is down", f"{number}"
        )
        rows.append(HostHealth(f"worker-{number}", "red", (), None, 0.1, {}, (trouble,)))
    view.health(FleetHealth("demo", "red", tuple(rows), ()), as_json=False, with_green=False)
    said = capsys.readouterr().out.splitlines()[-2:]
    names = ", ".join(f"worker-{number}" for number in range(1, 7))
    assert said[0] == f"red: 8 hosts, {names} and 2 more: redis.reached: r:6379: 1 (it is down)"
    assert said[1] == "   fix of worker-1: 1"


def test_metrics_are_written_whole_beside_the_answer(remote: EnteredRemote) -> None:
    remote.dead = {"one"}
    assert run("--check", "host.ssh", "--textfile", "fleet.prom").exit_code == 3
    text = Path("fleet.prom").read_text()
    assert 'fleetctl_host_up{fleet="demo",host="one"} 0' in text
    assert 'fleetctl_finding{fleet="demo",check="host.ssh",host="one",unit=""} 2' in text
    assert [path.name for path in Path().glob("*prom*")] == ["fleet.prom"]
    assert Path("fleet.prom").stat().st_mode & 0o777 == 0o644


def test_a_file_for_metrics_that_cannot_be_written_is_told(remote: EnteredRemote) -> None:
    del remote
    result = run("--check", "host.ssh", "--textfile", "nowhere/fleet.prom")
    assert result.exit_code == 2
    assert "nowhere/fleet.prom cannot be written" in result.stderr
