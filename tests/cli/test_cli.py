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


def test_a_rescue_is_refused_while_nobody_knows_whether_the_host_is_dead(run: CliRunner) -> None:
    Path("fleet.yml").write_text(STATIC)
    result = invoke(run, "rescue", "one")
    assert result.exit_code == 2
    assert "one may be alive: provider static cannot know" in result.stderr
    assert "fleetctl rescue one --confirmed-dead" in result.stderr


def test_the_history_of_a_fleet_is_what_was_tried_with_its_result(run: CliRunner) -> None:
    Path("fleet.yml").write_text(STATIC)
    assert json.loads(invoke(run, "history", "--json").stdout) == []
    assert invoke(run, "destroy", "--dry-run").exit_code == 0
    assert invoke(run, "deploy", "--workers", "9").exit_code == 2
    assert json.loads(invoke(run, "history", "--json").stdout) == []


EXTERNAL = STATIC.replace(
    "pools:",
    """\
services:
  nfs: {host: nfs}
  postgres: {url: "postgresql://ann@db.example.com:6432/work?sslmode=require", password: env:PG_PASSWORD}
  redis: {url: "rediss://bob@cache.example.com:6380/1", password: env:REDIS_PASSWORD}
  ca: ca.pem
app:
  path: app
  module: reports
  routes: {reports.*: celery}
pools:""",
)


@pytest.fixture
def external(run: CliRunner, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    Path("fleet.yml").write_text(EXTERNAL)
    Path("ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    Path("app").mkdir()
    Path("app/reports.py").write_text("")
    monkeypatch.setenv("PG_PASSWORD", "p w/1")
    monkeypatch.setenv("REDIS_PASSWORD", "r@2")
    # What a deploy would write; the inventory reads it, and reading commands keep it.
    assert invoke(run, "plan").exit_code in (0, 1)
    return run


def test_the_client_config_has_addresses_with_passwords_prefix_routes_and_certificates(
    external: CliRunner, tmp_path: Path
) -> None:
    result = invoke(external, "client-config")
    assert result.exit_code == 0, result.stderr
    value = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert value["REDIS_URL"] == "rediss://bob:r%402@cache.example.com:6380/1"
    assert value["DATABASE_URL"] == "'postgresql://ann:p%20w%2F1@db.example.com:6432/work?sslmode=require'"
    assert value["FLEET_KEY_PREFIX"] == "demo:"
    assert value["FLEET_ROUTES"] == """'{"reports.*": "celery"}'"""
    assert value["FLEET_CA_FILE"] == value["PGSSLROOTCERT"] == str(tmp_path / "ca.pem")


def test_the_client_config_for_celery_is_a_module_of_settings(external: CliRunner, tmp_path: Path) -> None:
    result = invoke(external, "client-config", "--format", "celery", "--output", "settings.py")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert Path("settings.py").stat().st_mode & 0o777 == 0o600
    settings: dict[str, object] = {}
    exec(Path("settings.py").read_text(), settings)  # noqa: S102  it is what a program imports
    assert settings["broker_url"] == "rediss://bob:r%402@cache.example.com:6380/1"
    assert settings["task_routes"] == {"reports.*": {"queue": "celery"}}
    transport = settings["broker_transport_options"]
    assert isinstance(transport, dict)
    assert (transport["global_keyprefix"], transport["visibility_timeout"]) == ("demo:", 1800)
    assert str(tmp_path / "ca.pem") in str(settings["broker_use_ssl"])
