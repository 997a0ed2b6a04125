"""A fleet that is changed, broken and used while jobs run: none is lost, none repeated unless its process died."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml
from tests.fleet.conftest import ROOT, Cli
from tests.fleet.faults import Faults, Load, begin, wait_for
from tests.fleet.machines import until

from fleetctl.adapters.state import State
from fleetctl.errors import LockError

pytestmark = pytest.mark.fleet

SLOTS = 4
APP = ROOT / "tests" / "fleet" / "apps" / "plain"


@pytest.fixture(scope="module")
def fleet(unique: str, state_home: Path, tmp_path_factory: pytest.TempPathFactory, destroyed: list[Cli]) -> Cli:
    """Two workers of four slots. A lost job would come back by itself after twenty minutes: too late for any test."""
    home = tmp_path_factory.mktemp("changes")
    shutil.copytree(APP, home / "plain", ignore=shutil.ignore_patterns("__pycache__"))
    spec = {
        "name": unique,
        "provider": {"kind": "local"},
        "pools": {"worker": {"count": 2, "concurrency": SLOTS, "time_limit": "10m"}},
        "app": {"path": str(home / "plain"), "module": "plain.app", "environment": {"GREETING": "good evening"}},
    }
    (home / "fleet.yml").write_text(yaml.safe_dump(spec))
    cli = Cli(home / "fleet.yml", state_home)
    destroyed.append(cli)
    assert cli.json("deploy")["is_ok"]
    return cli


@contextmanager
def loaded(fleet: Cli, *, jobs: int, seconds: float) -> Iterator[Load]:
    """Run `io` jobs beside what is done in the block, once they have begun."""
    load = Load(fleet, jobs=jobs, seconds=seconds, timeout=300)
    load.start()
    try:
        until(lambda: held(fleet) > 0, seconds=60)
        yield load
    finally:
        load.join()


def held(fleet: Cli) -> int:
    """Return how many jobs the workers hold, as Redis says."""
    code = f"import os, redis; print(redis.Redis.from_url(os.environ['REDIS_URL']).hlen('{fleet.name}:unacked'))"
    return int(fleet.on("nfs", f"fleet-app python -c {shlex.quote(code)}"))


def ended_well(load: Load, jobs: int, *, repeated: int = 0) -> None:
    report = load.report()
    figures = [report[name] for name in ("submitted", "done", "failed", "lost", "duplicates")]
    assert (figures, report["problems"]) == ([jobs, jobs, 0, 0, 0], [])
    assert report["repeated"] <= repeated


def main_pids(fleet: Cli) -> dict[str, str]:
    hosts = ("worker-1", "worker-2")
    return {host: fleet.on(host, f"systemctl show -P MainPID fleet-worker@{host}").strip() for host in hosts}


def is_unlocked(fleet: Cli) -> bool:
    try:
        with State(fleet.name, {"FLEETCTL_HOME": str(fleet.home)}).lock("look"):
            return True
    except LockError:
        return False


def set_greeting(fleet: Cli, text: str) -> None:
    fleet.spec.write_text(fleet.spec.read_text().replace("good evening", text))


def test_an_app_that_nobody_changed_submits_on_a_client_host_and_reads_the_result(fleet: Cli) -> None:
    code = (
        "import plain.app, fleetctl.worker; fleetctl.worker.configure(plain.app.app); "
        "print(plain.app.value.delay('GREETING').get(timeout=60))"
    )
    assert fleet.on("nfs", f"fleet-app python -c {shlex.quote(code)}").strip() == "good evening"
    units = fleet.on("nfs", "systemctl list-units --all --plain --no-legend 'fleet-worker@*'")
    assert units.strip() == ""


def test_the_client_config_is_what_a_client_host_has(fleet: Cli, tmp_path: Path) -> None:
    given = dict(line.split("=", 1) for line in fleet.run("client-config").stdout.splitlines())
    on_host = json.loads(fleet.on("nfs", 'fleet-app python -c "import json, os; print(json.dumps(dict(os.environ)))"'))
    assert {name: " ".join(shlex.split(value)) for name, value in given.items()} == {
        name: on_host[name] for name in given
    }
    module = tmp_path / "settings.py"
    fleet.run("client-config", "--format", "celery", "--output", str(module))
    assert module.stat().st_mode & 0o777 == 0o600
    code = (
        f"class Settings:\n{indent(module.read_text(), '    ')}\n"
        "from celery import Celery\n"
        "app = Celery('stranger')\n"
        "app.config_from_object(Settings)\n"
        "print(app.send_task('plain.value', args=['GREETING']).get(timeout=60))\n"
    )
    assert fleet.on("worker-1", f"fleet-app python -c {shlex.quote(code)}").strip() == "good evening"


def test_a_changed_app_comes_in_by_a_rolling_restart_under_load(fleet: Cli) -> None:
    before = main_pids(fleet)
    with loaded(fleet, jobs=60, seconds=2) as load:
        set_greeting(fleet, "good morning")
        report = fleet.json("deploy")
    assert report["is_ok"]
    assert set(report["plan"]["converge"]) == {"nfs", "worker-1", "worker-2"}
    after = main_pids(fleet)
    assert all(before[host] != after[host] for host in before)
    ended_well(load, 60)


@pytest.mark.drill  # minutes; CI has it in the scenario of celery_worker
def test_an_app_that_does_not_start_stops_the_roll_at_the_first_batch(fleet: Cli) -> None:
    module = fleet.spec.parent / "plain" / "src" / "plain" / "app.py"
    text = module.read_text()
    before = main_pids(fleet)
    module.write_text("raise RuntimeError('this app does not start')\n")
    try:
        report = fleet.json("deploy", code=3)
    finally:
        module.write_text(text)
    assert report["failed"]["worker-2"] == "may still run as before: the rolling restart stopped"
    assert "worker-1" in report["failed"]
    assert main_pids(fleet)["worker-2"] == before["worker-2"]
    with loaded(fleet, jobs=8, seconds=1) as load:
        pass
    ended_well(load, 8)
    report = fleet.json("deploy")
    assert report["is_ok"]
    assert set(report["plan"]["converge"]) == {
        "nfs",
        "worker-1",
        "worker-2",
    }  # the app of before, on half-changed hosts
    assert main_pids(fleet)["worker-2"] == before["worker-2"]  # it never left its release


def test_one_more_worker_runs_nothing_on_the_others(fleet: Cli) -> None:
    report = fleet.json("deploy", "--workers", "3")
    assert report["is_ok"]
    assert [host["host"] for host in report["converged"]["hosts"]] == ["worker-3"]
    assert {check["host"] for check in report["checks"] if check["name"] != "identity"} == {"nfs", "worker-3"}


def test_a_host_that_runs_is_not_rescued(fleet: Cli) -> None:
    said = fleet.run("rescue", "worker-3", code=2).stderr
    assert "may be alive" in said
    assert "worker-3 is alive" in fleet.run("rescue", "worker-3", "--confirmed-dead", code=2).stderr


def test_the_jobs_of_a_machine_without_power_run_elsewhere_once_it_is_rescued(fleet: Cli) -> None:
    with loaded(fleet, jobs=24, seconds=8) as load:
        Faults(fleet).provider.kill("worker-3")
        rescued = fleet.json("rescue", "worker-3")
    assert 1 <= len(rescued["restored"]) <= SLOTS
    ended_well(load, 24, repeated=SLOTS)


def test_a_worker_that_died_is_replaced(fleet: Cli) -> None:
    report = fleet.json("deploy", "--workers", "3")
    assert report["is_ok"]
    assert report["plan"]["reasons"] == {"worker-3": "is stopped"}


def test_killed_units_and_processes_lose_no_job(fleet: Cli) -> None:
    faults = Faults(fleet)
    with loaded(fleet, jobs=48, seconds=3) as load:
        faults.unit_killed("worker-1")
        faults.process_killed("worker-2")
    ended_well(load, 48, repeated=SLOTS + 1)


def test_redis_and_postgres_restart_under_load_and_nothing_is_repeated(fleet: Cli) -> None:
    faults = Faults(fleet)
    with loaded(fleet, jobs=48, seconds=3) as load:
        faults.redis_restarted("")
        time.sleep(3)
        faults.postgres_restarted("")
    ended_well(load, 48)


def test_fewer_workers_leave_when_their_jobs_are_done(fleet: Cli) -> None:
    with loaded(fleet, jobs=36, seconds=3) as load:
        report = fleet.json("deploy", "--workers", "2")
    assert report["is_ok"]
    assert len(report["plan"]["retire"]) == 1
    ended_well(load, 36)


def test_a_job_that_kills_its_worker_is_quarantined_with_its_evidence(fleet: Cli) -> None:
    configured = "import plain.app, fleetctl.worker; fleetctl.worker.configure(plain.app.app)"
    code = f"{configured}; print(plain.app.die.delay('/dev/null').id)"
    job = fleet.on("nfs", f"fleet-app python -c {shlex.quote(code)}").strip()
    until(lambda: bool(fleet.json("quarantine", "list")["jobs"]), seconds=60)
    (found,) = fleet.json("quarantine", "list")["jobs"]
    assert (found["job"], found["task"], len(found["deaths"])) == (job, "plain.die", 3)
    shown = fleet.run("quarantine", "show", job).stdout
    assert "process died" in shown
    assert "SIGKILL" in shown
    assert fleet.json("quarantine", "release", job)["released"] == [job]
    until(lambda: bool(fleet.json("quarantine", "list")["jobs"]), seconds=60)


def test_a_wrong_password_on_one_host_is_named_by_verify(fleet: Cli) -> None:
    hosts = [host["name"] for host in fleet.json("status")["hosts"] if host["units"]]
    bad = hosts[-1]
    unit = f"fleet-worker@{bad}"
    fleet.on(bad, f"cp -p /etc/fleet/credentials.json /root/kept && sed -i 's|//worker:|//worker:not-|' "
                  f"/etc/fleet/credentials.json && systemctl restart {unit}")  # fmt: skip
    try:
        failed = [check for check in fleet.json("verify", code=3)["checks"] if not check["is_ok"]]
        assert {check["host"] for check in failed} == {bad}
        assert "redis accepts the fleet's credentials" in {check["name"] for check in failed}
    finally:
        fleet.on(bad, f"mv /root/kept /etc/fleet/credentials.json && systemctl restart {unit}")


def test_a_second_deploy_at_the_same_time_is_refused_and_a_killed_one_lets_go(fleet: Cli) -> None:
    first = begin(fleet, "deploy", "--workers", "2", "--converge")
    try:
        wait_for(first, "converge:")
        second = fleet.run("deploy", "--workers", "2", code=1).stderr
        assert f"(pid {first.pid}, deploy, since" in second
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
    until(lambda: is_unlocked(fleet), seconds=60)  # its ansible-playbook ends, and with it the lock
    assert fleet.json("deploy", "--workers", "2")["is_ok"]


def test_history_tells_who_did_what_with_which_result(fleet: Cli) -> None:
    changes: list[dict[str, Any]] = fleet.json("history", "--limit", "50")
    told = [(change["command"], change["result"]) for change in changes]
    assert told[0] == ("deploy", "done")
    assert ("deploy --workers 2 --converge", "did not end") in told
    assert all("@" in change["operator"] for change in changes)
