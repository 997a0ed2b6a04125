"""The command line: exit codes, what goes to stdout and what to stderr, errors before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fleetctl.cli.app import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETCTL_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("FLEETCTL_SPEC", raising=False)
    return CliRunner()


def invoke(run: CliRunner, *arguments: str) -> Result:
    return run.invoke(main, list(arguments), catch_exceptions=False)


STATIC = """\
name: demo
provider:
  kind: static
  hosts:
    - {name: nfs, address: 192.0.2.1}
    - {name: postgres, address: 192.0.2.2}
    - {name: redis, address: 192.0.2.3}
    - {name: one, address: 192.0.2.4, pool: worker}
pools:
  worker: {count: 1, concurrency: 4}
"""


def test_init_writes_a_spec_that_loads_and_never_overwrites(run: CliRunner) -> None:
    assert invoke(run, "init").exit_code == 0
    assert invoke(run, "plan", "--help").exit_code == 0
    second = invoke(run, "init")
    assert second.exit_code == 2
    assert "fleet.yml exists" in second.stderr
    assert "hint: fleetctl init --path" in second.stderr


def test_schema_is_json_on_stdout(run: CliRunner) -> None:
    result = invoke(run, "schema")
    assert json.loads(result.stdout)["title"] == "fleet.yml"
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["plan", "deploy", "verify", "status", "inventory", "destroy"])
def test_a_missing_spec_is_named_with_what_to_type(run: CliRunner, command: str) -> None:
    result = invoke(run, command)
    assert result.exit_code == 2
    assert "fleet.yml" in result.stderr
    assert "fleetctl init" in result.stderr
    assert result.stdout == ""


def test_every_mistake_of_a_spec_is_told_at_once_and_nothing_is_touched(run: CliRunner, tmp_path: Path) -> None:
    Path("fleet.yml").write_text(
        "name: demo\nprovider: {kind: local}\ncolour: red\n"
        "pools:\n  worker:\n    count: 10000\n    concurrency: 4\n    queues: []\n"
    )
    result = invoke(run, "deploy")
    assert result.exit_code == 2
    for wanted in (
        "fleet.yml:3: colour",
        "fleet.yml:6: pools.worker.count",
        "fleet.yml:8: pools.worker.queues",
        "fix: ",
    ):
        assert wanted in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "state").exists()


def test_workers_with_several_pools_is_refused_with_a_hint(run: CliRunner) -> None:
    Path("fleet.yml").write_text(
        "name: demo\nprovider: {kind: local}\n"
        "pools:\n  a: {count: 1, concurrency: 1}\n  b: {count: 1, concurrency: 1}\n"
    )
    result = invoke(run, "deploy", "--workers", "3")
    assert result.exit_code == 2
    assert "hint:" in result.stderr
    assert "pools.a.count" in result.stderr or "a, b" in result.stderr


def test_destroy_asks_and_refuses_without_a_terminal(run: CliRunner) -> None:
    Path("fleet.yml").write_text(STATIC)
    result = invoke(run, "destroy")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr


def test_destroy_dry_run_names_the_hosts_and_stops(run: CliRunner) -> None:
    Path("fleet.yml").write_text(STATIC)
    result = invoke(run, "destroy", "--dry-run")
    assert result.exit_code == 0
    assert "nfs, one, postgres, redis" in result.stderr


def test_the_inventory_is_json_with_pinned_keys_and_no_secret(run: CliRunner) -> None:
    Path("fleet.yml").write_text(STATIC)
    result = invoke(run, "inventory", "--list")
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert value["workers"]["hosts"] == ["one"]
    assert "StrictHostKeyChecking=yes" in value["_meta"]["hostvars"]["one"]["ansible_ssh_common_args"]
    assert "password" not in result.stdout
    one = json.loads(invoke(run, "inventory", "--host", "one").stdout)
    assert one["ansible_host"] == "192.0.2.4"


def test_ssh_to_a_host_that_does_not_exist_names_those_that_do(run: CliRunner) -> None:
    Path("fleet.yml").write_text(STATIC)
    result = invoke(run, "ssh", "nobody", "true")
    assert result.exit_code == 2
    assert "one of: nfs, one, postgres, redis" in result.stderr


def test_help_ends_with_0_for_every_command(run: CliRunner) -> None:
    for name in main.commands:
        result = invoke(run, name, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage:")
