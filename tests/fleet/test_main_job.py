"""The main job on a small fleet: deploy, prove, load, deploy again by three ways in, scale, destroy."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fleet.conftest import BIN, ROOT, Cli
from tests.fleet.machines import command_lines

pytestmark = pytest.mark.fleet

WORKERS, SLOTS = 2, 12


@pytest.fixture(scope="module")
def fleet(unique: str, state_home: Path, tmp_path_factory: pytest.TempPathFactory, destroyed: list[Cli]) -> Cli:
    """Three workers of eight slots, each service on a host of its own, and an app that knows nothing of fleetctl."""
    home = tmp_path_factory.mktemp("fleet")
    spec = {
        "name": unique,
        "provider": {"kind": "local"},
        "pools": {"worker": {"count": WORKERS, "concurrency": SLOTS, "memory": "1GiB", "time_limit": "2m"}},
        "app": {
            "path": str(ROOT / "tests" / "fleet" / "apps" / "plain"),
            "module": "plain.app",
            "environment": {"GREETING": "good evening"},
            "secrets": {"MODEL_KEY": f"file:{home / 'key'}"},
        },
    }
    (home / "key").write_text("canary-of-the-model-key")
    (home / "fleet.yml").write_text(yaml.safe_dump(spec))
    cli = Cli(home / "fleet.yml", state_home)
    destroyed.append(cli)
    return cli


@pytest.fixture(scope="module")
def deployed(fleet: Cli) -> Any:
    """The report of the first deploy."""
    return fleet.json("deploy")


def stamps(fleet: Cli) -> dict[str, str]:
    hosts = json.loads(fleet.run("inventory", "--list").stdout)["_meta"]["hostvars"]
    return {host: fleet.on(host, "cat /etc/fleet/stamp").strip() for host in hosts}


def test_a_deploy_makes_every_host_and_proves_it(deployed: Any) -> None:
    assert deployed["is_ok"]
    assert {host["name"] for host in deployed["hosts"]} == {
        "nfs",
        "postgres",
        "redis",
        "worker-1",
        "worker-2",
    }
    names = {check["name"] for check in deployed["checks"]}
    assert {"identity", "storage"} <= names
    assert all(check["is_ok"] for check in deployed["checks"])
    assert [phase["name"] for phase in deployed["phases"]][-2:] == ["converge", "verify"]


@pytest.mark.usefixtures("deployed")
def test_the_first_load_fills_every_slot_and_loses_nothing(fleet: Cli) -> None:
    report = fleet.json("load", "--jobs", str(WORKERS * SLOTS), "--seconds", "10")
    assert (report["submitted"], report["done"], report["lost"], report["failed"], report["duplicates"]) == (
        24,
        24,
        0,
        0,
        0,
    )
    assert report["peak_concurrency"] == WORKERS * SLOTS
    assert report["distinct_processes"] == WORKERS * SLOTS
    assert set(report["per_unit"]) == {"worker-1", "worker-2"}


@pytest.mark.usefixtures("deployed")
def test_io_jobs_leave_every_file_and_row(fleet: Cli) -> None:
    report = fleet.json("load", "--jobs", "60", "--seconds", "0.5", "--work", "io")
    assert (report["done"], report["lost"], report["failed"], report["duplicates"]) == (60, 0, 0, 0)
    assert report["problems"] == []


@pytest.mark.usefixtures("deployed")
def test_a_second_deploy_finds_everything_in_place(fleet: Cli) -> None:
    report = fleet.json("deploy")
    assert report["is_ok"]
    assert report["converged"] is None
    assert len(report["plan"]["keep"]) == WORKERS + 3


@pytest.mark.usefixtures("deployed")
def test_the_three_ways_in_have_one_result(fleet: Cli, tmp_path: Path) -> None:
    before = stamps(fleet)
    with arguments_seen() as seen:
        report = fleet.json("deploy", "--converge")
    assert any("ansible-playbook" in line for line in seen)
    assert [value for value in secret_values(fleet) if any(value in line for line in seen)] == []
    assert {host["host"]: host["changed"] for host in report["converged"]["hosts"]} == dict.fromkeys(before, 0)
    dynamic = fleet.playbook("-i", str(ROOT / "inventory" / "fleet"), "playbooks/site.yml")
    by_hand = fleet.playbook("-i", str(hand_written(fleet, tmp_path)), "playbooks/site.yml")
    for recap in (dynamic, by_hand):
        assert {
            host: (row["changed"], row["failed"], row["unreachable"]) for host, row in recap.items()
        } == dict.fromkeys(before, (0, 0, 0))
    assert stamps(fleet) == before
    assert fleet.json("deploy")["converged"] is None


@contextmanager
def arguments_seen() -> Iterator[set[str]]:
    """Collect the command lines of every process on this computer, which holds the fleet's hosts too."""
    seen: set[str] = set()
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.2):
            seen.update(command_lines())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def secrets_file(fleet: Cli) -> Path:
    return fleet.home / str(yaml.safe_load(fleet.spec.read_text())["name"]) / "secrets.yml"


def secret_values(fleet: Cli) -> list[str]:
    """Return the values that nobody may see: the fleet's five passwords and the app's key."""
    values = re.findall(r"^fleet_secret_\w+password: (.+)$", secrets_file(fleet).read_text(), re.MULTILINE)
    assert len(values) == 5
    return [*values, "canary-of-the-model-key"]


def hand_written(fleet: Cli, directory: Path) -> Path:
    """Write an inventory as an operator would, from values that are known of this fleet; group_vars lie beside it."""
    value = json.loads(fleet.run("inventory", "--list").stdout)
    hostvars = value.pop("_meta")["hostvars"]
    for variables in hostvars.values():
        del variables["fleet_stamp"]
    written = {
        "all": {
            "vars": value.pop("all")["vars"],
            "hosts": hostvars,
            "children": {
                group: {"vars": of["vars"]}
                | {kind: {name: {} for name in of[kind]} for kind in ("hosts", "children") if kind in of}
                for group, of in value.items()
            },
        }
    }
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(written))
    (directory / "group_vars").symlink_to(ROOT / "inventory" / "group_vars")
    return path


@pytest.mark.usefixtures("deployed")
def test_secrets_are_where_they_belong_and_nowhere_else(fleet: Cli) -> None:
    file = secrets_file(fleet)
    assert file.stat().st_mode & 0o777 == 0o600
    said = fleet.run("inventory", "--list").stdout + fleet.run("status").stdout + fleet.run("plan").stdout
    said += "".join(log.read_text() for log in (file.parent / "logs").iterdir())
    said += fleet.on("worker-1", "systemctl show 'fleet-worker@*'; ps axeww; journalctl -u 'fleet-worker@*' --no-pager")
    assert [value for value in secret_values(fleet) if value in said] == []


@pytest.mark.usefixtures("deployed")
def test_the_app_runs_unchanged_and_finds_its_environment(fleet: Cli) -> None:
    code = """
import json, fleetctl.worker, plain.app
app = fleetctl.worker.configure(plain.app.app)
names = ["GREETING", "JOBS_DIR", "UPLOADS_DIR", "DATABASE_URL", "REDIS_URL", "MODEL_KEY"]
print(json.dumps({name: app.send_task("plain.value", args=[name]).get(timeout=60) for name in names}))
"""
    answer = fleet.on(
        "worker-1",
        "cd / && set -a && . /etc/fleet/environment && CREDENTIALS_DIRECTORY=/run/probe && set +a && "
        "trap 'rm -r /run/probe' EXIT && install -D -m 600 /etc/fleet/credentials.json /run/probe/fleet.json && "
        f"/opt/fleet/venv/bin/python -c {shlex.quote(code)}",
    )
    found = json.loads(answer)
    assert found["GREETING"] == "good evening"
    assert found["JOBS_DIR"] == "/shared/fleet/jobs"
    assert found["UPLOADS_DIR"] == "/shared/fleet/uploads"
    assert found["DATABASE_URL"].startswith("postgresql://fleet:")
    assert found["REDIS_URL"].startswith("redis://worker:")
    assert found["MODEL_KEY"] == "canary-of-the-model-key"


@pytest.mark.usefixtures("deployed")
def test_units_are_hardened_and_workers_carry_no_control_side(fleet: Cli) -> None:
    text = fleet.on("worker-1", "systemd-analyze security fleet-worker@worker-1.service --no-pager | tail -1")
    score = re.search(r"fleet-worker@worker-1.service: ([\d.]+)", text)
    assert score is not None
    assert float(score[1]) <= 2.0
    packages = fleet.on("worker-1", "ls /opt/fleet/venv/lib/python3*/site-packages").split()
    assert not {"ansible", "fabric", "paramiko", "pydantic", "rich"} & set(packages)


@pytest.mark.usefixtures("deployed")
def test_services_listen_on_the_fleets_network_only(fleet: Cli) -> None:
    addresses = {host["name"]: host["address"] for host in fleet.json("status")["hosts"]}
    for name, port in (("postgres", 5432), ("redis", 6379)):
        lines = fleet.on(name, f"ss -Hltn 'sport = :{port}'").splitlines()
        heard = {line.split()[3].rsplit(":", 1)[0] for line in lines}
        assert heard <= {addresses[name], "127.0.0.1", "[::1]"}
        assert addresses[name] in heard


@pytest.mark.usefixtures("deployed")
def test_a_verify_that_finds_something_wrong_says_which_and_exits_3(fleet: Cli) -> None:
    fleet.on("worker-2", "systemctl stop fleet-worker@worker-2")
    try:
        failed = [check for check in fleet.json("verify", code=3)["checks"] if not check["is_ok"]]
        assert {check["host"] for check in failed} == {"worker-2"}
        assert all(check["fix"] for check in failed)
    finally:
        fleet.on("worker-2", "systemctl start fleet-worker@worker-2")


@pytest.mark.usefixtures("deployed")
def test_fewer_workers_retire_hosts_and_what_is_left_works(fleet: Cli) -> None:
    report = fleet.json("deploy", "--workers", "1")
    assert report["is_ok"]
    assert report["plan"]["retire"] == ["worker-2"]
    assert report["converged"] is None
    status = fleet.json("status")
    assert "worker-2" not in {host["name"] for host in status["hosts"]}
    assert any("asks for 2 units" in note for note in status["notes"])


@pytest.mark.usefixtures("deployed")
def test_destroy_leaves_nothing(fleet: Cli) -> None:
    fleet.run("destroy", "--yes")
    assert fleet.json("status")["hosts"][0]["state"] == "missing"
    assert traces(fleet) == []


def test_an_interrupted_deploy_ends_with_130_and_destroy_removes_what_it_left(fleet: Cli) -> None:
    process = subprocess.Popen(
        [str(BIN / "fleetctl"), "deploy"], env=fleet.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a test run in the background of a shell has Ctrl-C ignored, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("converge:"):
            process.send_signal(signal.SIGINT)
            break
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "fleetctl destroy" in said
    fleet.run("destroy", "--yes")
    assert traces(fleet) == []


def traces(fleet: Cli) -> list[str]:
    """Return what still bears the fleet's name on this computer."""
    name = yaml.safe_load(fleet.spec.read_text())["name"]
    commands = (["ip", "netns", "list"], ["nft", "list", "tables"], ["findmnt", "--list"])
    said = [line for command in commands for line in subprocess.check_output(command, text=True).splitlines()]
    said += command_lines()
    return [line for line in said if re.search(rf"\b{name}\b", line)]
