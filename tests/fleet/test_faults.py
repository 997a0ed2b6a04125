"""Drills: faults that must end well. Each prints its verdict: lost 0, repeated N, recovered in S."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

import pytest
import yaml
from tests.fleet.conftest import ROOT, Cli
from tests.fleet.faults import Faults, Load, begin, verdict, wait_for
from tests.fleet.machines import until

from fleetctl.adapters.providers.local.paths import ROOT as MACHINES
from fleetctl.adapters.providers.local.paths import Paths

pytestmark = [pytest.mark.fleet, pytest.mark.drill]

WORKERS, SLOTS = 3, 12
HOSTS = [f"worker-{number}" for number in range(1, WORKERS + 1)]


def write_spec(home: Path, name: str, **pool: object) -> Path:
    """Describe a fleet whose jobs would come back by themselves after an hour: too late for every drill."""
    spec = {
        "name": name,
        "provider": {"kind": "local"},
        "pools": {"worker": {"count": WORKERS, "concurrency": SLOTS, "time_limit": "30m", **pool}},
        "app": {"path": str(ROOT / "tests" / "fleet" / "apps" / "plain"), "module": "plain.app",
                "environment": {"GREETING": "good evening"}},
    }  # fmt: skip
    (home / "fleet.yml").write_text(yaml.safe_dump(spec))
    return home / "fleet.yml"


@pytest.fixture(scope="module")
def fleet(unique: str, state_home: Path, tmp_path_factory: pytest.TempPathFactory, destroyed: list[Cli]) -> Cli:
    cli = Cli(write_spec(tmp_path_factory.mktemp("faults"), unique), state_home)
    destroyed.append(cli)
    assert cli.json("deploy")["is_ok"]
    return cli


def tell(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")  # noqa: T201  the verdict is what a drill is for


# fault -> jobs that it may repeat: those of a slot, of a unit, of none
FAULTS = {
    "unit_stopped": 0,
    "unit_restarted": 0,
    "unit_killed": SLOTS,
    "process_killed": 1,
    "power_cut": SLOTS,
    "frozen": 0,
    "cut_off": 0,
    "redis_restarted": 0,
    "postgres_restarted": 0,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_under_load_loses_nothing(name: str, fleet: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    faults = Faults(fleet)
    load = Load(fleet, jobs=150, seconds=4)
    load.start()
    time.sleep(8)
    began = time.monotonic()
    faults.all()[name]("worker-2")
    recovered = time.monotonic() - began
    report = load.report()
    tell(capsys, verdict(name, report, recovered))
    assert (report["done"], report["lost"], report["failed"], report["duplicates"]) == (150, 0, 0, 0)
    assert report["problems"] == []
    assert report["repeated"] <= FAULTS[name]


def test_a_thousand_jobs_live_through_twenty_random_faults(fleet: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    faults = Faults(fleet)
    load = Load(fleet, jobs=1000, seconds=8, timeout=2400)
    load.start()
    time.sleep(5)
    began = time.monotonic()
    trouble = faults.at_random(20, seed=3, hosts=HOSTS, over=200)
    trouble.join()
    recovered = time.monotonic() - began
    report = load.report()
    tell(capsys, "\n".join(faults.story))
    tell(capsys, verdict("20 random faults", report, recovered))
    deaths = faults.count("unit_killed", "power_cut") * SLOTS + faults.count("process_killed")
    # Who is under a unit at each of three kills is quarantined, and then is not lost: it can be released.
    kept = [job["job"] for job in fleet.json("quarantine", "list")["jobs"]]
    assert report["quarantined"] == len(kept)
    assert (report["done"] + len(kept), report["lost"], report["failed"], report["duplicates"]) == (1000, 0, 0, 0)
    assert report["problems"] == []
    assert report["repeated"] <= deaths
    assert faults.errors == []
    if kept:
        assert fleet.json("quarantine", "release", *kept)["released"] == kept
        until(lambda: not holders(fleet), seconds=60)
        assert fleet.json("quarantine", "list")["jobs"] == []


def test_the_jobs_of_a_dead_host_run_elsewhere_within_30_seconds_of_its_rescue(
    fleet: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    load = Load(fleet, jobs=WORKERS * SLOTS, seconds=15)
    load.start()
    time.sleep(8)
    Faults(fleet).provider.kill("worker-3")
    began = time.monotonic()
    restored = set(fleet.json("rescue", "worker-3")["restored"])
    assert len(restored) == SLOTS
    # All slots of the two others are taken, by jobs of 15 s.
    until(lambda: restored <= {job for job, host in holders(fleet).items() if host != "worker-3"}, seconds=60)
    took = time.monotonic() - began
    report = load.report()
    tell(capsys, verdict("power cut, 1 h visibility timeout", report, took))
    assert (report["done"], report["lost"], report["duplicates"], report["repeated"]) == (WORKERS * SLOTS, 0, 0, SLOTS)
    assert took < 30
    assert fleet.json("deploy")["is_ok"]


def holders(fleet: Cli) -> dict[str, str]:
    """Return job -> host that holds it, as the ledger says."""
    code = (
        "import json, os, redis; claims = redis.Redis.from_url(os.environ['REDIS_URL']).hvals("
        f"'{fleet.name}:fleet:claims'); print(json.dumps([json.loads(claim) for claim in claims]))"
    )
    return {claim["job"]: claim["host"] for claim in json.loads(fleet.on("nfs", f"fleet-app python -c {quote(code)}"))}


@contextmanager
def small_disk(name: str, mib: int) -> Iterator[Path]:
    """Put the storage of a fleet that is not launched yet on a loop device of so many MiB."""
    place = Paths(MACHINES, name).storage
    place.mkdir(parents=True)
    disk = place.parent.parent / f"{name}.disk"
    with disk.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(disk), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        disk.unlink()


def test_full_storage_fails_jobs_with_the_reason_and_publishes_nothing_half_written(
    unique: str, state_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{unique}-s"
    cli = Cli(write_spec(tmp_path, name, count=1, concurrency=4), state_home)
    try:
        with small_disk(name, 8) as storage:
            cli.json("deploy")
            report = cli.json("load", "--jobs", "200", "--seconds", "0", "--work", "io", code=3)
            figures = ", ".join(f"{name} {report[name]}" for name in ("lost", "repeated", "failed"))
            tell(capsys, f"storage full: {figures}")
            assert report["failed"] > 0
            assert report["done"] > 0
            assert (report["lost"], report["done"] + report["failed"]) == (0, 200)
            assert report["problems"] == []  # every job that is done has all its files
            assert all("No space left on device" in reason for reason in report["reasons"])
            assert report["reasons"]
            assert [path for path in (storage / ".fleetctl").rglob(".*") if path.is_dir()] == []
    finally:
        cli.run("destroy", "--yes", code=None)


def test_a_host_that_dies_during_a_deploy_holds_up_no_other(
    unique: str, state_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(write_spec(tmp_path, f"{unique}-d"), state_home)
    try:
        process = begin(cli, "deploy")
        wait_for(process, "converge:")
        Faults(cli).provider.kill("worker-2")
        process.communicate(timeout=900)
        assert process.returncode == 3
        units = {host["name"]: host["units"] for host in cli.json("status")["hosts"]}
        assert units["worker-1"] == {"worker-1": "active"}
        assert units["worker-3"] == {"worker-3": "active"}
        began = time.monotonic()
        report = cli.json("deploy")
        assert report["is_ok"]
        assert [host["host"] for host in report["converged"]["hosts"]] == ["worker-2"]
        tell(capsys, f"host killed during deploy: recovered in {time.monotonic() - began:.0f} s")
    finally:
        cli.run("destroy", "--yes", code=None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
@pytest.mark.parametrize("phase", ["prepare", "observe", "bake", "launch", "converge", "verify", "retire"])
@pytest.mark.parametrize("then", ["deploy", "destroy"])
def test_fleetctl_may_end_in_any_phase_and_what_follows_works(
    phase: str,
    number: signal.Signals,
    then: str,
    unique: str,
    state_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    # Another app for each trial: its image is not there yet.
    (app / "own.py").write_text(f"from celery import Celery\napp = Celery('own')  # {tmp_path}\n")
    spec = write_spec(tmp_path, f"{unique}-k", count=2, concurrency=2)
    text = yaml.safe_load(spec.read_text()) | {"app": {"path": str(app), "module": "own"}}
    spec.write_text(yaml.safe_dump(text))
    cli = Cli(spec, state_home)
    try:
        if phase == "retire":
            cli.run("deploy")
        process = begin(cli, "deploy", *(["--workers", "1"] if phase == "retire" else []))
        wait_for(process, f"{phase}:")
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode == (130 if number == signal.SIGINT else -9)
        began = time.monotonic()
        if then == "deploy":
            assert cli.json("deploy", *(["--workers", "1"] if phase == "retire" else []))["is_ok"]
        else:
            cli.run("destroy", "--yes")
        tell(capsys, f"{number.name} in {phase}, then {then}: recovered in {time.monotonic() - began:.0f} s")
    finally:
        cli.run("destroy", "--yes")
    assert not Paths(MACHINES, cli.name).fleet.exists()
