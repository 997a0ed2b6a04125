"""Units of the role celery_worker, asked from outside: by systemd, and by jobs sent to them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.utils.nodenames import worker_direct
from kombu import pools

from fleetctl.worker import settings

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
    deadline = time.monotonic() + 60
    while job.state != "STARTED":
        assert time.monotonic() < deadline, f"the job is {job.state}"
        time.sleep(0.05)
    begun = time.monotonic()
    host.check_output("systemctl restart fleet-worker@light-2.service")
    assert time.monotonic() - begun > 1, "the restart did not wait"
    # done by the unit that was told to stop: a job that was cut short would begin again, and not be done yet
    assert job.state == "SUCCESS"
    assert job.get(timeout=30) == "done"
    assert show(host, "light-2", "MainPID") != before
    assert app.send_task("fleet.canary", queue=worker_direct(node)).get(timeout=60)["unit"] == "light-2"
