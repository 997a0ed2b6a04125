"""health on real machines: each trouble is red for its own reason, and green after what health itself says to type."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fleet.conftest import BIN, ROOT, Cli
from tests.fleet.faults import Faults, Load
from tests.fleet.machines import until
from tests.fleet.operating.conftest import HOSTS, SLOTS, write_spec
from tests.fleet.test_faults import small_disk

pytestmark = pytest.mark.fleet

UNIT = "fleet-worker@worker-1"
CREDENTIALS = "/etc/fleet/credentials.json"
# The computer that all machines share is a developer's or CI's: its memory, load and disk are nobody's fault here.
SHARED = (
    "host.memory",
    "host.disk",
    "host.load",
    "host.oom",
    "storage.space",
    "host.swap",
    "host.reboot",
    "host.clock",
)


def red(fleet: Cli, *arguments: str) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Return (check, host) -> finding of all that is red, this computer's own state left out."""
    answer = fleet.json("health", *arguments, code=None)
    findings = [*answer["findings"], *(one for host in answer["hosts"] for one in host["findings"])]
    return {
        (one["check"], one["host"]): one
        for one in findings
        if one["level"] == "red" and not one["check"].startswith(SHARED)
    }


def type_it(fleet: Cli, fix: str) -> None:
    """Type what health says, in a shell whose fleetctl is the tested one."""
    assert fix.startswith("fleetctl "), fix
    subprocess.run(["sh", "-c", fix], env=fleet.environment, check=True, capture_output=True, timeout=600)


@contextmanager
def broken(fleet: Cli, break_it: str, host: str, mend_it: str) -> Iterator[None]:
    """Do harm to a host for the time of the block, and undo it whatever happens."""
    fleet.on(host, break_it)
    try:
        yield
    finally:
        fleet.on(host, mend_it)


def is_well(fleet: Cli) -> bool:
    return not red(fleet)


@pytest.fixture(autouse=True)
def well(fleet: Cli) -> Iterator[None]:
    """Leave a fleet that is well."""
    yield
    until(lambda: is_well(fleet), seconds=120)


def test_a_fleet_that_was_just_deployed_is_well_and_every_part_of_it_was_looked_at(fleet: Cli) -> None:
    groups = ("unit", "storage.writable", "redis", "postgres", "host.identity", "host.setup", "fleet")
    answer = fleet.json("health", *(word for group in groups for word in ("--check", group)))
    assert answer["is_ok"]
    passed = {host["host"]: set(host["passed"]) for host in answer["hosts"]}
    for host in HOSTS:
        assert {"host.identity", "host.setup", "storage.writable", "redis.reached", "postgres.reached", "unit.state",
                "unit.answers", "unit.slots", "unit.queues", "unit.deaf", "unit.children"} <= passed[host]  # fmt: skip
    assert {"redis.policy", "redis.persistence", "postgres.connections", "fleet.strangers"} <= set(answer["passed"])
    figures = {host["host"]: host["figures"] for host in answer["hosts"]}
    assert figures["worker-1"]["slots_live"] == SLOTS


def test_nothing_is_left_on_a_host(fleet: Cli) -> None:
    def traces() -> str:
        return fleet.on("worker-1", "ls -A /shared/fleet/.fleetctl /tmp /root; pgrep -fc 'import sys; b =' || true")

    fleet.run("health", code=None)
    before = traces()
    fleet.run("health", code=None)
    assert traces() == before


def test_a_service_that_is_stopped_is_named_on_its_host_and_started_by_the_named_command(fleet: Cli) -> None:
    fleet.on("postgres", "systemctl stop 'postgresql@*'")
    found = red(fleet)
    fix = found["postgres.service", "postgres"]["fix"]
    assert found["postgres.reached", "worker-1"]["cause"] == "nothing listens there: the service is down"
    assert ("redis.reached", "worker-1") not in found
    type_it(fleet, fix)


def test_a_stopped_redis_leaves_what_hosts_say_of_themselves(fleet: Cli) -> None:
    fleet.on("redis", "systemctl stop redis-server")
    found = red(fleet)
    assert {("redis.service", "redis"), ("redis.reached", "worker-1"), ("redis.reached", "worker-2")} <= set(found)
    assert ("fleet.survey", None) in found  # nobody knows of units and queues now
    type_it(fleet, found["redis.service", "redis"]["fix"])


def test_a_stopped_unit_is_started_by_the_named_command(fleet: Cli) -> None:
    fleet.on("worker-1", f"systemctl stop {UNIT}")
    found = red(fleet)
    assert found["unit.state", "worker-1"]["cause"] == "it was stopped"
    assert ("unit.state", "worker-2") not in found
    type_it(fleet, found["unit.state", "worker-1"]["fix"])


def test_a_unit_whose_main_process_is_stopped_is_alive_to_systemd_and_deaf_to_the_broker(fleet: Cli) -> None:
    fleet.on("worker-1", f"systemctl kill --kill-whom=main --signal=STOP {UNIT}")
    until(lambda: ("unit.answers", "worker-1") in red(fleet), seconds=60)
    found = red(fleet)
    assert ("unit.state", "worker-1") not in found
    assert found["unit.process", "worker-1"]["cause"] == "somebody sent it SIGSTOP"
    assert found["unit.answers", "worker-1"]["fix"] == found["unit.process", "worker-1"]["fix"]
    type_it(fleet, found["unit.process", "worker-1"]["fix"])


@pytest.mark.drill  # verify names it too, in CI
def test_a_wrong_password_is_told_by_the_host_that_has_it_and_mended_by_a_deploy(fleet: Cli) -> None:
    change = r"sed -i -E 's#(redis://[^:]+:)[^@]+@#\1wrong@#' " + CREDENTIALS
    fleet.on("worker-1", change)
    found = red(fleet)
    assert found["redis.reached", "worker-1"]["cause"] == "the host's password is not the service's"
    assert ("redis.reached", "worker-2") not in found
    type_it(fleet, found["redis.reached", "worker-1"]["fix"])


def test_a_lost_queue_is_found_and_moved_by_the_named_command(fleet: Cli) -> None:
    code = (
        "from celery import Celery; from fleetctl.worker import configure; "
        "configure(Celery('lost')).send_task('fleet.noop', ['lost'], {'run': 'lost'}, queue='nobody-s')"
    )
    fleet.on("nfs", f"fleet-app python -c {shlex.quote(code)}")
    found = red(fleet)
    assert "nobody-s" in found["queue.unserved", None]["detail"]
    type_it(fleet, found["queue.unserved", None]["fix"])


@pytest.mark.drill  # CI drains in test_day2
def test_a_drained_host_is_shown_as_drained_and_is_no_trouble(fleet: Cli) -> None:
    fleet.run("drain", "host:worker-1")
    load = Load(fleet, jobs=3 * SLOTS, seconds=10, work="sleep")
    load.start()
    try:
        time.sleep(25)  # longer than a unit may ignore what waits
        answer = fleet.json("health", "--check", "unit", code=None)
        row = next(host for host in answer["hosts"] if host["host"] == "worker-1")
        assert (row["is_drained"], row["findings"]) == (True, [])
    finally:
        fleet.run("undrain", "host:worker-1")
        load.report()


@pytest.mark.drill  # CI judges it by tables
def test_a_busy_fleet_is_not_deaf(fleet: Cli) -> None:
    load = Load(fleet, jobs=6 * SLOTS, seconds=8, work="sleep")
    load.start()
    try:
        time.sleep(5)
        for _ in range(3):
            assert red(fleet, "--check", "unit") == {}
    finally:
        load.report()


def test_the_playbook_for_ops_teams_agrees(fleet: Cli, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(fleet.run("inventory", "--list").stdout)
    dynamic = tmp_path / "inventory"
    dynamic.write_text(f'#!/bin/sh\nexec cat "{inventory}"\n')
    dynamic.chmod(0o755)
    (tmp_path / "group_vars").symlink_to(ROOT / "inventory" / "group_vars")

    def play() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(dynamic), str(ROOT / "playbooks" / "health.yml")], cwd=ROOT,
            env=fleet.environment | {"ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    done = play()
    assert done.returncode == 0, done.stdout[-4000:]
    assert "changed=0" in done.stdout
    with broken(fleet, f"systemctl stop {UNIT}", "worker-1", f"systemctl start {UNIT}"):
        done = play()
        assert done.returncode != 0
        assert "fleet-worker@worker-1 does not run" in done.stdout
        assert "fleet-worker@worker-2 does not run" not in done.stdout


def test_a_watch_sees_a_trouble_come_and_go_in_sessions_that_stay(fleet: Cli) -> None:
    with subprocess.Popen(
        [str(BIN / "fleetctl"), "health", "--watch", "--interval", "1", "--json", "--check", "unit.state"],
        env=fleet.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None

        def until_level(level: str) -> None:
            deadline = time.monotonic() + 60
            for line in process.stdout or ():
                if json.loads(line)["level"] == level:
                    return
                assert time.monotonic() < deadline, f"never {level}"
            raise AssertionError("the watch ended")

        try:
            until_level("green")
            sessions = fleet.on("worker-1", "pgrep -fc 'import sys; b ='").strip()
            with broken(fleet, f"systemctl stop {UNIT}", "worker-1", f"systemctl start {UNIT}"):
                until_level("red")
            until_level("green")
            assert fleet.on("worker-1", "pgrep -fc 'import sys; b ='").strip() == sessions
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(30)


# What follows takes longer than CI should.


@pytest.mark.drill
@pytest.mark.parametrize("fault", ["freeze", "kill", "partition"])
def test_a_host_that_is_gone_costs_its_own_row_and_little_time(fault: str, fleet: Cli) -> None:
    provider = Faults(fleet).provider
    undo: dict[str, Callable[[str], None]] = {
        "freeze": provider.thaw, "kill": provider.start, "partition": provider.heal,
    }  # fmt: skip
    getattr(provider, fault)("worker-2")
    try:
        began = time.monotonic()
        found = red(fleet)
        assert time.monotonic() - began < 40
        assert ("host.ssh", "worker-2") in found
        assert {host for _, host in found} - {None} == {"worker-2"}
    finally:
        undo[fault]("worker-2")
    if fault == "kill":
        fleet.run("rescue", "worker-2", code=None)
        fleet.run("deploy")


@pytest.mark.drill
def test_swapped_addresses_are_told_on_both_hosts(fleet: Cli, tmp_path: Path) -> None:
    """The same machines as a static fleet, two of whose addresses were written down in the wrong places."""
    hosts = {host.name: host for host in Faults(fleet).provider.hosts()}
    wrong = {"worker-1": "worker-2", "worker-2": "worker-1"}
    static = [
        {
            "name": name, "address": hosts[wrong.get(name, name)].address, "user": "root", "key": str(host.key_file),
            "host_key": hosts[wrong.get(name, name)].host_keys[0], **({"pool": "worker"} if name in wrong else {}),
        }
        for name, host in hosts.items()
    ]  # fmt: skip
    spec = yaml.safe_load(fleet.spec.read_text())
    services = {"nfs": {"mounted": True}, "postgres": {"host": "postgres"}, "redis": {"host": "redis"}}
    spec |= {"provider": {"kind": "static", "hosts": static}, "services": services, "clients": ["nfs"]}
    (tmp_path / "fleet.yml").write_text(yaml.safe_dump(spec))
    found = red(Cli(tmp_path / "fleet.yml", fleet.home), "--check", "host")
    for name, other in wrong.items():
        assert other in found["host.address", name]["detail"] + found["host.identity", name]["detail"]


@pytest.mark.drill
def test_full_storage_is_told_by_every_host_that_uses_it(unique: str, state_home: Path, tmp_path: Path) -> None:
    name = f"{unique}-h"
    cli = Cli(write_spec(tmp_path, name), state_home)
    try:
        with small_disk(name, 8) as storage:
            cli.json("deploy")
            (storage / "ballast").write_bytes(b"")
            subprocess.run(["dd", "if=/dev/zero", f"of={storage / 'ballast'}", "bs=64k"], check=False,
                           stderr=subprocess.DEVNULL)  # fmt: skip
            answer = cli.json("health", "--check", "storage", code=3)
            full = {host["host"] for host in answer["hosts"] for one in host["findings"] if one["level"] == "red"}
            assert full == {"nfs", *HOSTS}
            (storage / "ballast").unlink()
            assert cli.json("health", "--check", "storage")["is_ok"]
    finally:
        cli.run("destroy", "--yes", code=None)
