"""Day-2 verbs on a fleet that works: drained, restarted, read and written while jobs run; none is lost or repeated."""

from __future__ import annotations

import json
import random
import shlex
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import BIN, Cli
from tests.fleet.faults import Load, verdict
from tests.fleet.machines import until
from tests.fleet.operating.conftest import CANARY, HOSTS

pytestmark = pytest.mark.fleet


@pytest.fixture(autouse=True, scope="module")
def undrained(fleet: Cli) -> Iterator[None]:
    yield
    fleet.run("undrain", "--all", code=None)


@contextmanager
def loaded(fleet: Cli, *, jobs: int, seconds: float) -> Iterator[Load]:
    """Run `io` jobs beside what is done in the block, once both workers have some."""
    load = Load(fleet, jobs=jobs, seconds=seconds)
    load.start()
    try:
        until(lambda: {job["host"] for job in running(fleet)} == set(HOSTS), seconds=60)
        yield load
    finally:
        load.join()


def running(fleet: Cli, *names: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = fleet.json("jobs", *names)["jobs"]
    return jobs


def ended_well(load: Load, jobs: int) -> None:
    report = load.report()
    figures = [report[name] for name in ("submitted", "done", "failed", "lost", "duplicates", "repeated")]
    assert (figures, report["problems"]) == ([jobs, jobs, 0, 0, 0, 0], [])


def in_redis(fleet: Cli, expression: str) -> Any:
    """Return the value of an expression over `r`, Redis, and `key`, which gives a key its prefix."""
    code = (
        "import json, os, redis; r = redis.Redis.from_url(os.environ['REDIS_URL'], decode_responses=True); "
        f"key = '{fleet.name}:'.__add__; print(json.dumps({expression}))"
    )
    return json.loads(fleet.on("nfs", f"fleet-app python -c {shlex.quote(code)}"))


def taken_since(fleet: Cli, host: str, at: float) -> list[str]:
    """Return the jobs of common queues that a host's units took after a time."""
    events = in_redis(fleet, "[event for _, event in r.xrange(key('fleet:events'))]")
    return [
        event["job"]
        for event in events
        if event["event"] == "received" and event.get("host") == host and float(event["at"]) > at
        and not event.get("queue", "").endswith(".dq2")
    ]  # fmt: skip


def drained_at(fleet: Cli, key: str) -> float:
    return float(json.loads(in_redis(fleet, f"r.hget(key('fleet:drains'), '{key}')"))["at"])


def ran(fleet: Cli, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Return what came of a command: hosts before `--`, its words behind."""
    hosts: list[dict[str, Any]] = json.loads(fleet.run("exec", "--json", *arguments, code=code).stdout)["hosts"]
    return hosts


def main_pids(fleet: Cli) -> dict[str, str]:
    return {host: fleet.on(host, f"systemctl show -P MainPID fleet-worker@{host}").strip() for host in HOSTS}


def test_a_drained_host_takes_nothing_more_also_after_a_restart_and_takes_jobs_again_when_undrained(fleet: Cli) -> None:
    with loaded(fleet, jobs=80, seconds=3) as load:
        value = fleet.json("drain", "worker-1")
        at = drained_at(fleet, "host:worker-1")
        assert value["units"] == ["worker-1@worker-1"]
        left = fleet.json("drain", "worker-1", "--wait", "--deadline", "60s")
        assert (left["is_over"], left["jobs"]) == (True, [])
        fleet.on("worker-1", "systemctl restart fleet-worker@worker-1")
        until(lambda: any(row["host"] == "worker-1" and row["live"] for row in fleet.json("top")["hosts"]), seconds=60)
        time.sleep(5)  # for jobs that it would take now
        assert taken_since(fleet, "worker-1", at) == []
        assert {job["host"] for job in running(fleet)} == {"worker-2"}
        assert fleet.json("undrain", "worker-1")["undrained"] == ["host:worker-1"]
        until(lambda: running(fleet, "worker-1") != [], seconds=30)
    ended_well(load, 80)


def test_a_deadline_that_passes_names_the_jobs_and_kills_none(fleet: Cli) -> None:
    with loaded(fleet, jobs=8, seconds=20) as load:
        value = fleet.json("drain", "worker", "--deadline", "1s", code=3)
        assert len(value["jobs"]) == 8
        assert value["eta_seconds"] is None or value["eta_seconds"] <= 20
        fleet.run("undrain", "worker")
    ended_well(load, 8)


def test_a_pool_that_is_drained_still_proves_itself(fleet: Cli) -> None:
    fleet.run("drain", "worker", "--wait")
    try:
        assert fleet.json("verify")["is_ok"]
    finally:
        fleet.run("undrain", "worker")


def test_a_rolling_restart_under_load_changes_every_process_and_loses_nothing(fleet: Cli) -> None:
    before = main_pids(fleet)
    with loaded(fleet, jobs=60, seconds=2) as load:
        value = fleet.json("restart", "--rolling", "--batch", "1")
        assert (value["proven"], value["untouched"]) == (list(HOSTS), [])
    after = main_pids(fleet)
    assert all(before[host] != after[host] for host in HOSTS)
    ended_well(load, 60)


def test_a_rolling_restart_stops_at_a_unit_that_does_not_come_up(fleet: Cli) -> None:
    before = main_pids(fleet)
    place = "/etc/systemd/system/fleet-worker@worker-1.service.d/broken.conf"
    fleet.on(
        "worker-1", f"printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {place}; systemctl daemon-reload"
    )
    try:
        value = fleet.json("restart", "--rolling", "--batch", "1", code=3)
    finally:
        fleet.on("worker-1", f"rm {place}; systemctl daemon-reload; systemctl restart fleet-worker@worker-1")
    assert list(value["failed"]) == ["worker-1"]
    assert value["untouched"] == ["worker-2"]
    assert main_pids(fleet)["worker-2"] == before["worker-2"]
    assert fleet.json("restart", "--rolling", "worker-1")["is_ok"]


def test_journals_of_two_hosts_are_one_in_time_order_and_can_be_followed(fleet: Cli) -> None:
    follow = subprocess.Popen(
        [str(BIN / "fleetctl"), "logs", "-f", "--json", "-n", "0"], env=fleet.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    time.sleep(5)  # it says nothing before the first line comes
    with loaded(fleet, jobs=16, seconds=1) as load:
        pass
    ended_well(load, 16)
    time.sleep(2)
    began = time.monotonic()
    follow.send_signal(signal.SIGINT)
    out, err = follow.communicate(timeout=30)
    assert (follow.returncode, err) == (130, "")
    assert time.monotonic() - began < 10
    for text, late in ((out, 5.0), (fleet.run("logs", "--json", "--since", "10m").stdout, 0.0)):
        rows = [json.loads(line) for line in text.splitlines()]
        times = [row["at"] for row in rows]
        assert {row["host"] for row in rows} == set(HOSTS)
        assert all(at >= before - late for at, before in zip(times[1:], times, strict=False))
        assert all(row["unit"] == f"fleet-worker@{row['host']}" for row in rows)
    services = [json.loads(line) for line in fleet.run("logs", "redis", "--json").stdout.splitlines()]
    assert {row["unit"] for row in services} == {"redis-server"}


def test_a_command_runs_everywhere_and_a_dead_service_hides_no_other(fleet: Cli) -> None:
    hosts = ran(fleet, "--", "hostname; test $(hostname) != redis", code=3)
    assert [(host["host"], host["stdout"].strip(), host["is_ok"]) for host in hosts] == [
        (name, name, name != "redis") for name in ("nfs", "postgres", "redis", *HOSTS)
    ]
    began = time.monotonic()
    (host,) = ran(fleet, "worker-1", "--timeout", "2s", "--", "sleep", "45.5", code=3)
    assert "still ran after 2 s" in host["error"]
    assert time.monotonic() - began < 30
    assert "sleep 45.5" not in fleet.on("worker-1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_a_file_is_the_same_on_all_hosts_with_its_mode(fleet: Cli, tmp_path: Path) -> None:
    local = tmp_path / "blob"
    local.write_bytes(random.Random(7).randbytes(3 << 20))  # noqa: S311  the same at each trial
    local.chmod(0o640)
    assert all(host["path"] == "/root/blob" for host in fleet.json("put", str(local), "/root/")["hosts"])
    said = ran(fleet, "--", "sha256sum /root/blob; stat -c %a /root/blob; ls -A /root | grep -c ^blob")
    assert len({host["stdout"] for host in said}) == 1
    assert said[0]["stdout"].splitlines()[1:] == ["640", "1"]


def test_one_jobs_way_is_told_from_its_submission_to_its_end(fleet: Cli) -> None:
    with loaded(fleet, jobs=8, seconds=5) as load:
        job = running(fleet)[0]
        told = fleet.json("job", job["job"][:13])
        assert told["job"] == job["job"]
        assert told["holder"] == f"{job['unit']}@{job['host']}"
    ended_well(load, 8)
    steps = [step["event"] for step in fleet.json("job", job["job"])["steps"]]
    assert steps[0] == "submitted"
    assert steps.index("received") < steps.index("started") < steps.index("ended")


def test_an_incident_has_what_is_known_and_no_secret(fleet: Cli, tmp_path: Path) -> None:
    # Jobs that end badly with the canary in what they say, and in the journal of their unit.
    code = (
        "import plain.app, fleetctl.worker; fleetctl.worker.configure(plain.app.app); "
        f"print([plain.app.value.delay('{CANARY} of https://ann:{CANARY}@h/ PASSWORD=plainly').id for _ in range(8)])"
    )
    fleet.on("nfs", f"fleet-app python -c {shlex.quote(code)}")
    until(lambda: CANARY in fleet.run("logs", "--since", "5m").stdout, seconds=60)
    lines = (fleet.home / fleet.name / "secrets.yml").read_text().splitlines()
    passwords = [line.partition(": ")[2].strip("'\"") for line in lines if "_password: " in line]
    assert len(passwords) == 5
    for subject in HOSTS:
        path = tmp_path / f"{subject}.tar.gz"
        value = fleet.json("incident", subject, "--output", str(path))
        assert value["missing"] == {}
        assert value["redactions"] > 0
        with tarfile.open(path) as archive:
            files = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}  # type: ignore[union-attr]
        assert path.stat().st_mode & 0o777 == 0o600
        assert {name.partition("/")[2] for name in files} == set(value["files"])
        assert any(name.endswith("/mounts.txt") and "/shared/fleet" in text for name, text in files.items())
        for name, text in files.items():
            assert CANARY not in text, name
            assert "plainly" not in text, name
            assert not any(password in text for password in passwords), name


def test_the_history_has_what_was_done(fleet: Cli) -> None:
    told = [(change["command"], change["result"]) for change in fleet.json("history", "--limit", "100")]
    assert ("drain worker-1", "done") in told
    assert ("undrain worker-1", "done") in told
    assert ("drain worker", "failed") in told
    assert ("restart --rolling --batch 1", "done") in told


@pytest.mark.drill
def test_a_thousand_jobs_live_through_twenty_random_drains_and_undrains(
    fleet: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(5)  # noqa: S311  a seed makes the same trial again
    names = [*HOSTS, "worker", *(f"unit:{host}" for host in HOSTS)]
    errors: list[str] = []
    load = Load(fleet, jobs=1000, seconds=1, timeout=1800)
    load.start()
    over = threading.Event()

    def trouble() -> None:
        drained: list[str] = []
        for _ in range(20):
            time.sleep(dice.uniform(0.5, 6))
            undo = bool(drained) and dice.random() < 0.5
            name = drained.pop(dice.randrange(len(drained))) if undo else dice.choice(names)
            done = fleet.run("undrain" if undo else "drain", name, code=None)
            drained += [] if undo else [name]
            if done.returncode != 0:
                errors.append(f"{name}: {done.stderr}")
        fleet.run("undrain", "--all")
        over.set()

    thread = threading.Thread(target=trouble)
    began = time.monotonic()
    thread.start()
    thread.join()
    recovered = time.monotonic() - began
    report = load.report()
    with capsys.disabled():
        print(f"\n{verdict('20 random drains and undrains', report, recovered)}")  # noqa: T201  what a drill is for
    assert over.is_set()
    assert errors == []
    ended_well(load, 1000)
