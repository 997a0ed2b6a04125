"""A fleet with real NFS: its machines have kernels of their own, and one serves storage, database and broker."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from tests.fleet.conftest import ROOT, Cli
from tests.fleet.faults import Faults, Load, verdict
from tests.fleet.machines import until

pytestmark = pytest.mark.fleet

SERVER, WORKERS, SLOTS = "server", ("worker-1", "worker-2"), 4
LEASE_SECONDS = 15
OUTAGE_SECONDS = 60


def write_spec(home: Path, name: str) -> Path:
    """Describe one server and two workers; a lost job would come back by itself after an hour, too late."""
    spec = {
        "name": name,
        "provider": {"kind": "local", "machines": "uml"},
        "services": {
            "nfs": {"host": SERVER, "device": "/dev/ubdc", "lease_seconds": LEASE_SECONDS},
            "postgres": {"host": SERVER},
            # The server loses power in these trials, and no job may be lost with it.
            "redis": {"host": SERVER, "appendfsync": "always"},
        },
        "clients": [],  # loads are submitted on a worker: the server may go
        "pools": {"worker": {"count": len(WORKERS), "concurrency": SLOTS, "memory": "320MiB", "time_limit": "30m"}},
        "app": {"path": str(ROOT / "examples" / "harbor_jobs"), "module": "harbor_jobs.app"},
    }
    (home / "fleet.yml").write_text(yaml.safe_dump(spec))
    return home / "fleet.yml"


@pytest.fixture(scope="module")
def fleet(unique: str, state_home: Path, tmp_path_factory: pytest.TempPathFactory, destroyed: list[Cli]) -> Cli:
    cli = Cli(write_spec(tmp_path_factory.mktemp("nfs"), unique), state_home)
    destroyed.append(cli)
    assert cli.json("deploy")["is_ok"]
    return cli


@contextmanager
def loaded(fleet: Cli, *, jobs: int, seconds: float) -> Iterator[Load]:
    """Run `io` jobs beside what is done in the block, once the first of them have published."""
    load = Load(fleet, jobs=jobs, seconds=seconds, timeout=900)
    load.start()
    try:
        until(lambda: fleet.on(SERVER, "ls -d /shared/fleet/.fleetctl/load/*/* || true").strip() != "", seconds=120)
        yield load
    finally:
        load.join()


def ended_well(load: Load, jobs: int, *, repeated: int = 0) -> dict[str, Any]:
    report = load.report()
    assert (report["done"], report["failed"], report["lost"], report["duplicates"]) == (jobs, 0, 0, 0), report
    assert report["problems"] == []  # each of the 16 files of each job was read and compared
    assert report["repeated"] <= repeated
    return report


def boot_id(fleet: Cli, host: str) -> str:
    return fleet.on(host, "cat /proc/sys/kernel/random/boot_id").strip()


def test_the_storage_is_nfs_and_a_disk_of_its_own(fleet: Cli) -> None:
    for host in WORKERS:
        mounted = fleet.on(host, "ls /shared/fleet >/dev/null; grep ' /shared/fleet nfs4 ' /proc/mounts")
        assert {"hard", "vers=4.2", "lookupcache=pos"} <= set(mounted.split()[3].split(","))
    assert fleet.on(SERVER, "findmnt --noheadings --output SOURCE,FSTYPE /shared/fleet").split() == [
        "/dev/ubdc",
        "ext4",
    ]


def test_a_second_deploy_has_nothing_to_do(fleet: Cli) -> None:
    report = fleet.json("deploy")
    assert report["is_ok"]
    assert report["converged"] is None


@pytest.mark.drill
def test_every_role_run_again_changes_nothing(fleet: Cli) -> None:
    report = fleet.json("deploy", "--converge")
    assert report["is_ok"]
    assert [host["changed"] for host in report["converged"]["hosts"]] == [0, 0, 0]


def test_small_results_of_two_workers_are_all_there(fleet: Cli) -> None:
    load = Load(fleet, jobs=60, seconds=0)
    load.start()
    ended_well(load, 60)


def test_a_task_s_results_are_read_on_another_worker(fleet: Cli) -> None:
    task = ROOT / "examples" / "harbor_jobs" / "tasks" / "hello"
    submit = f"fleetctl ssh {WORKERS[0]} fleet-app harbor-jobs submit --name hello --runs 2 -"
    job = subprocess.run(
        ["sh", "-c", f"tar -C {quote(str(task))} -c . | {submit}"], env=fleet.environment,
        capture_output=True, text=True, timeout=300, check=True,
    ).stdout.strip()  # fmt: skip
    fleet.on(WORKERS[1], f"fleet-app harbor-jobs status {job} --wait --timeout 240")
    rows = json.loads(fleet.on(WORKERS[1], f"fleet-app harbor-jobs results {job} --json"))
    assert [row["state"] for row in rows] == ["done", "done"]


def test_a_server_that_is_frozen_for_a_minute_costs_no_job(fleet: Cli) -> None:
    faults = Faults(fleet, frozen_seconds=OUTAGE_SECONDS)
    with loaded(fleet, jobs=40, seconds=4) as load:
        faults.frozen(SERVER)
    ended_well(load, 40)


def test_verify_names_a_storage_that_stalls_and_waits_for_none(fleet: Cli) -> None:
    fleet.on(SERVER, "systemctl stop nfs-server")
    try:
        began = time.monotonic()
        failed = [check for check in fleet.json("verify", code=3)["checks"] if not check["is_ok"]]
        assert time.monotonic() - began < 240
        assert {(check["name"], check["host"]) for check in failed} == {("storage", host) for host in WORKERS}
        assert all("the storage stalls" in check["detail"] for check in failed)
    finally:
        fleet.on(SERVER, "systemctl start nfs-server")
    fleet.run("verify")  # when the grace period is over


def test_a_unit_neither_starts_without_the_storage_nor_fails_when_it_comes_late(fleet: Cli) -> None:
    host = WORKERS[1]
    unit = f"fleet-worker@{host}"

    def state() -> str:
        return fleet.on(host, f"systemctl show --property ActiveState --value {unit}").strip()

    fleet.on(host, f"systemctl stop {unit} shared-fleet.mount")
    fleet.on(SERVER, "systemctl stop nfs-server")
    try:
        fleet.on(host, f"systemctl start --no-block {unit}")
        time.sleep(10)
        assert state() == "activating"
        fleet.on(host, f"systemctl stop {unit}")
        assert state() == "inactive", "a stop while it waits is no failure"
        fleet.on(host, f"systemctl start --no-block {unit}")
    finally:
        fleet.on(SERVER, "systemctl start nfs-server")
    until(lambda: state() == "active", seconds=180)
    fleet.run("verify")


# What follows takes longer than CI should.


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")  # noqa: T201  the verdict is what a drill is for


def server_reboots(fleet: Cli) -> None:
    reboot(fleet, SERVER)


def client_reboots(fleet: Cli) -> None:
    reboot(fleet, WORKERS[1])


def reboot(fleet: Cli, host: str) -> None:
    before = boot_id(fleet, host)
    fleet.run("ssh", host, "systemctl reboot", code=None)

    def is_back() -> bool:
        done = fleet.run("ssh", host, "cat /proc/sys/kernel/random/boot_id", code=None)
        return done.returncode == 0 and done.stdout.strip() != before

    until(is_back, seconds=600)


def network_is_cut(fleet: Cli) -> None:
    Faults(fleet, cut_off_seconds=OUTAGE_SECONDS).cut_off(WORKERS[1])


def server_loses_power(fleet: Cli) -> None:
    provider = Faults(fleet).provider
    provider.kill(SERVER)
    time.sleep(5)
    provider.start(SERVER)


# A client's reboot stops its unit, which waits for its jobs; the others never lose a process.
@pytest.mark.drill
@pytest.mark.parametrize("fault", [server_reboots, client_reboots, network_is_cut, server_loses_power])
def test_an_outage_under_load_costs_no_job(
    fault: Callable[[Cli], None], fleet: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    with loaded(fleet, jobs=80, seconds=4) as load:
        began = time.monotonic()
        fault(fleet)
        recovered = time.monotonic() - began
    report = load.report()
    tell(capsys, verdict(fault.__name__.replace("_", " "), report, recovered))
    ended_well(load, 80)
    fleet.run("verify")


@pytest.mark.drill
def test_six_hundred_results_of_two_workers_are_whole(fleet: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    load = Load(fleet, jobs=600, seconds=0)
    load.start()
    tell(capsys, verdict("600 results of 16 files", ended_well(load, 600), 0))


@pytest.mark.drill
def test_a_result_is_readable_elsewhere_as_soon_as_its_row_is_seen(
    fleet: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    program = quote((ROOT / "tests" / "fleet" / "apps" / "visibility.py").read_text())
    writer, reader = (f"fleet-app python -c {program} {role} 1000" for role in ("write", "read"))
    seen: list[str] = []
    reading = threading.Thread(target=lambda: seen.append(fleet.on(WORKERS[1], reader)))
    reading.start()
    fleet.on(WORKERS[0], writer)
    reading.join()
    figures = json.loads(seen[0])
    slowest = f"slowest {figures['slowest_seconds']:.3f} s"
    tell(capsys, f"visibility: {figures['count']} results, {slowest}, {figures['late']} not at the first try")
    assert (figures["count"], figures["wrong"]) == (1000, 0)
    assert figures["slowest_seconds"] < 5


@pytest.mark.drill
def test_a_worker_comes_and_goes_and_the_server_is_not_restarted(fleet: Cli) -> None:
    def started() -> str:
        return fleet.on(SERVER, "systemctl show --property ExecMainStartTimestamp --value nfs-server").strip()

    def exports() -> int:
        return len(fleet.on(SERVER, "exportfs -s").splitlines())

    before = started()
    with loaded(fleet, jobs=60, seconds=4) as load:
        assert fleet.json("deploy", "--workers", "3")["is_ok"]
        assert exports() == 3
    ended_well(load, 60)
    assert fleet.json("deploy", "--workers", "2")["is_ok"]
    assert exports() == 2
    assert started() == before
