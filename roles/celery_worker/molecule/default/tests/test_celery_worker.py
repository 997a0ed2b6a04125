"""Units of the role celery_worker, asked from outside: by systemd, by jobs sent to them, and by playbooks run again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.utils.nodenames import worker_direct
from kombu import pools
from scenario import CONVERGE, ROLL, play

from fleetctl.worker import settings

ROLE = Path(__file__).parents[3]
UNITS = ("light-1", "light-2")
SECRETS = ("secret-of-the-database", "worker%2Fof", 'a "secret" of')


@pytest.fixture(scope="module")
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    host = request.getfixturevalue("host")
    address = host.ansible.get_variables()["ansible_host"]
    app = Celery("outside")
    broker = settings.Broker(f"redis://worker:worker%2Fof%20the%26scenario@{address}:6379/0", "fleet:", 1800)
    settings.apply(app, broker, is_worker=False)
    yield app
    app.backend.result_consumer.stop()
    app.backend.client.close()
    pools.reset()


def show(host: Any, unit: str, *names: str) -> dict[str, str]:
    out = host.check_output("systemctl show fleet-worker@%s.service --property=%s", unit, ",".join(names))
    return dict(line.split("=", 1) for line in out.splitlines())


def pids(host: Any) -> list[str]:
    return [show(host, unit, "MainPID")["MainPID"] for unit in UNITS]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_and_starts_with_the_system(host: Any, unit: str) -> None:
    service = host.service(f"fleet-worker@{unit}")
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_runs_the_job_that_is_sent_to_it(host: Any, app: Celery, unit: str) -> None:
    node = f"{unit}@{host.check_output('hostname')}"
    answer = app.send_task("fleet.canary", queue=worker_direct(node)).get(timeout=60)
    assert answer["unit"] == unit


def test_the_app_runs_unchanged_and_finds_its_environment(app: Celery) -> None:
    names = ["DATABASE_URL", "REDIS_URL", "JOBS_DIR", "UPLOADS_DIR", "API_KEY", "FLEET_POOL", "NOTHING"]
    found = app.send_task("plain.environment", args=names).get(timeout=60)
    assert found == dict.fromkeys(names, True) | {"NOTHING": False}
    assert app.send_task("plain.routed", queue="special").get(timeout=60) == "special"


@pytest.mark.parametrize("name", ["GREETING", "POOL_GREETING"])
def test_values_arrive_as_they_were_written(app: Celery, name: str) -> None:
    assert app.send_task("plain.value", args=[name]).get(timeout=60) == 'it\'s "50%" of $HOME \\n'


def test_a_job_knows_where_it_runs_and_where_others_go(host: Any, app: Celery) -> None:
    queue = worker_direct(f"light-2@{host.check_output('hostname')}")
    names = ("FLEET_HOST", "FLEET_UNIT", "FLEET_DEFAULT_QUEUE", "FLEET_ROUTES")
    found = {name: app.send_task("plain.value", args=[name], queue=queue).get(timeout=60) for name in names}
    assert json.loads(found.pop("FLEET_ROUTES")) == {"plain.slow*": "it's", "plain.routed": "special"}
    assert found == {"FLEET_HOST": "celery-worker", "FLEET_UNIT": "light-2", "FLEET_DEFAULT_QUEUE": "special"}


def test_a_secret_arrives_as_it_was_written(app: Celery) -> None:
    assert app.send_task("plain.value", args=["API_KEY"]).get(timeout=60) == 'a "secret" of $the app, 100%'


def test_no_secret_is_seen_from_outside(host: Any) -> None:
    shown = host.check_output(
        "systemctl show fleet-worker@light-1.service; cat /etc/fleet/environment; ps -eww -o args"
    )
    assert not [secret for secret in SECRETS if secret in shown]
    credentials = host.file("/etc/fleet/credentials.json")
    assert (credentials.user, credentials.mode) == ("root", 0o600)


def test_the_limits_are_those_of_the_pool(host: Any) -> None:
    names = (
        "MemoryMax",
        "CPUQuotaPerSecUSec",
        "TasksMax",
        "TimeoutStopUSec",
        "KillMode",
        "OOMPolicy",
        "User",
        "Restart",
    )
    assert show(host, "light-1", *names) == {
        "MemoryMax": str(256 * 1024 * 1024), "CPUQuotaPerSecUSec": "1.500000s", "TasksMax": "192",
        "TimeoutStopUSec": "1min", "KillMode": "mixed", "OOMPolicy": "continue", "User": "fleet", "Restart": "always",
    }  # fmt: skip


def test_the_unit_is_hardened(host: Any) -> None:
    out = host.check_output("systemd-analyze security --no-pager fleet-worker@light-1.service | tail -n 1")
    assert float(out.split(":")[1].split()[0]) <= 2.0


def test_workers_carry_nothing_of_the_control_side(host: Any) -> None:
    listed = host.check_output(
        "/opt/fleet/venv/bin/python -c 'import importlib.metadata as m, json;"
        " print(json.dumps([d.name.lower() for d in m.distributions()]))'"
    )
    assert {"celery", "fleetctl-worker", "plain-app"} <= set(json.loads(listed))
    assert not {"ansible-core", "pydantic", "rich", "fabric", "fleetctl", "pip"} & set(json.loads(listed))


def test_a_restart_waits_for_the_job_and_loses_none(host: Any, app: Celery) -> None:
    node = f"light-2@{host.check_output('hostname')}"
    before = show(host, "light-2", "MainPID")
    job = app.send_task("plain.slow", args=[10], queue=worker_direct(node))
    until(lambda: job.state == "STARTED")
    begun = time.monotonic()
    host.check_output("systemctl restart fleet-worker@light-2.service")
    assert time.monotonic() - begun > 1, "the restart did not wait"
    # done by the unit that was told to stop: a job that was cut short would begin again, and not be done yet
    assert job.state == "SUCCESS"
    assert job.get(timeout=30) == "done"
    assert show(host, "light-2", "MainPID") != before
    assert app.send_task("fleet.canary", queue=worker_direct(node)).get(timeout=60)["unit"] == "light-2"


def test_a_program_runs_as_the_fleets_user_with_what_jobs_have(host: Any) -> None:
    assert host.check_output("fleet-app id -un") == "fleet"
    assert host.check_output("fleet-app printenv API_KEY GREETING FLEET_HOST").splitlines() == [
        'a "secret" of $the app, 100%', 'it\'s "50%" of $HOME \\n', "celery-worker"
    ]  # fmt: skip
    assert host.check_output("cd / && fleet-app python -c 'import plain.app, sys; print(sys.prefix)'") == (
        host.check_output("readlink -f /opt/fleet/venv")
    )
    assert host.check_output("fleet-app sh -c 'cat $FLEET_CA_FILE'") == "of the scenario"
    assert host.run("fleet-app sh -c 'exit 7'").rc == 7
    assert host.check_output("echo told | fleet-app cat") == "told"


def test_no_secret_of_a_program_is_seen_from_outside(host: Any) -> None:
    shown = host.check_output(
        "fleet-app sleep 4242 & timeout 60 sh -c 'until pgrep -fx \"sleep 4242\" >&2; do sleep 0.2; done';"
        " ps -eww -o args; kill $!"
    )
    assert "sleep 4242" in shown.splitlines(), shown  # a whole line: the shell's own has these words too
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_release_stays_as_long_as_a_process_runs_from_it(host: Any) -> None:
    script = (ROLE / "files" / "install-release.sh").read_text()
    own = host.check_output("basename $(dirname $(readlink -f /opt/fleet/venv))")
    for release in ("first", "second", "third"):  # deploys while the units run what they have run from the start
        host.check_output("cd /opt/fleet/releases && mkdir -p %s/venv %s/source && touch %s/complete", *[release] * 3)
        host.check_output("sh -c %s sh /opt/fleet %s", script, release)
    assert host.check_output("ls /opt/fleet/releases").split() == sorted([own, "second", "third"])
    for _ in range(2):  # back, and once more: the one before stays
        host.check_output("sh -c %s sh /opt/fleet %s", script, own)
    assert host.check_output("ls /opt/fleet/releases").split() == [own]


def test_joining_restarts_no_unit_and_a_roll_those_alone_that_have_something_new(host: Any) -> None:
    before = pids(host)
    host.check_output("touch /etc/systemd/system/fleet-worker@light-1.service.d/unit.conf")
    code, changed, said = play(CONVERGE)
    assert (code, changed, pids(host)) == (0, 0, before), said
    code, changed, said = play(CONVERGE, ROLL)
    assert (code, changed) == (0, 1), said
    after = pids(host)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_another_release_makes_units_stale_and_the_one_they_run_from_does_not(host: Any) -> None:
    before = pids(host)
    # put into use anew, as after a deploy that was taken back before the roll
    host.check_output("cd /opt/fleet && ln -sfn $(readlink venv) new && mv -T new venv")
    code, changed, said = play(CONVERGE, ROLL)
    assert (code, changed, pids(host)) == (0, 0, before), said


def test_units_that_die_or_run_no_job_halt_the_roll_until_they_are_mended(host: Any, app: Celery) -> None:
    for _ in range(2):  # the second run finds files older than the units, and does not take them for good
        code, _, said = play(CONVERGE, ROLL, celery_worker_app="plain.absent", celery_worker_proof_seconds=8)
        assert code == 2, said[-3000:]
        for unit in UNITS:  # given up before the time is over when the machine is slow enough for three deaths
            verdict = rf"{unit} runs a job: (no job ran within 8 s|it does not run); systemd"
            assert re.search(verdict, said), said[-3000:]
    code, _, said = play(CONVERGE, ROLL)
    assert code == 0, said[-3000:]
    # what came before the roll is not held against them
    assert [show(host, unit, "NRestarts")["NRestarts"] for unit in UNITS] == ["0", "0"]
    assert app.send_task("plain.routed", queue="special").get(timeout=60) == "special"
