"""A user's app, unchanged, in a real worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celery import Celery, chord, group
from celery.utils.nodenames import worker_direct

from .conftest import PREFIX, Redis, StartUnit, eventually

pytestmark = pytest.mark.services


def test_an_unchanged_app_runs_with_its_secrets_settings_and_routes(
    start_unit: StartUnit, publisher: Celery, admin: redis.Redis
) -> None:
    unit = start_unit("worker-1", "--queues=celery,special", FLEET_APP="plain.app")
    names = ["DATABASE_URL", "REDIS_URL", "API_KEY", "JOBS_DIR", "NOTHING"]
    found = publisher.send_task("plain.environment", args=[names[0], *names[1:]]).get(timeout=30)
    assert found == dict.fromkeys(names, True) | {"NOTHING": False}
    assert publisher.send_task("plain.routed", queue="special").get(timeout=30) == "special"
    (conf,) = publisher.control.inspect(destination=[unit.node], timeout=5, limit=1).conf().values()
    assert conf["task_acks_late"] is False, "the app's own"
    assert conf["worker_prefetch_multiplier"] == 2, "the app's own"
    assert conf["task_track_started"] is True, "the profile's"
    assert conf["broker_transport_options"]["visibility_timeout"] == 1800, "the fleet's"
    assert conf["broker_transport_options"]["queue_order_strategy"] == "sorted", "the app's own, beside the fleet's"
    assert all(key.startswith(PREFIX) for key in admin.scan_iter()), "nothing outside the fleet's prefix"


def test_the_access_list_suffices_for_all_that_celery_does(start_unit: StartUnit, publisher: Celery) -> None:
    unit = start_unit(FLEET_APP="plain.app")
    add = publisher.signature("plain.add")
    assert group(add.clone(args=(n, 1)) for n in range(3))().get(timeout=30) == [1, 2, 3]
    total = chord((add.clone(args=(n, 1)) for n in range(3)), publisher.signature("plain.total"))
    assert total().get(timeout=30) == 6
    assert (add.clone(args=(1, 1)) | add.clone(args=(5,))).apply_async().get(timeout=30) == 7
    assert publisher.send_task("plain.add", args=[1, 2], countdown=1).get(timeout=30) == 3
    inspect = publisher.control.inspect(destination=[unit.node], timeout=5, limit=1)
    assert inspect.ping() == {unit.node: {"ok": "pong"}}
    waiting = publisher.send_task("plain.add", args=[1, 2], countdown=600)
    eventually(lambda: inspect.scheduled()[unit.node], what="scheduled")
    waiting.revoke()
    eventually(lambda: waiting.id in inspect.revoked()[unit.node], what="revoked")
    assert "NOPERM" not in unit.text
    assert "NoPermission" not in unit.text


def test_without_an_app_the_built_in_jobs_run_and_return_results(start_unit: StartUnit, publisher: Celery) -> None:
    unit = start_unit("light-7")
    answer = publisher.send_task("fleet.canary", kwargs={"sent_at": 1.0}, queue=worker_direct(unit.node)).get(
        timeout=30
    )
    assert (answer["unit"], answer["sent_at"], answer["pid"] in unit.children()) == ("light-7", 1.0, True)
    assert publisher.send_task("fleet.noop").get(timeout=30) is None


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_other_pools_run_jobs_too(start_unit: StartUnit, publisher: Celery, pool: str) -> None:
    start_unit("worker-1", f"--pool={pool}", FLEET_APP="plain.app")
    assert publisher.send_task("plain.add", args=[1, 2]).get(timeout=30) == 3
    assert publisher.send_task("fleet.canary").get(timeout=30)["unit"] == "worker-1"


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("no_such_module", "no_such_module"),
        ("json:loads", "not a Celery app"),
        ("json:nothing", "FLEET_APP=json:nothing"),
    ],
)
def test_an_app_that_cannot_be_loaded_ends_the_worker_and_says_why(
    start_unit: StartUnit, app: str, message: str
) -> None:
    unit = start_unit(FLEET_APP=app)
    assert unit.process.wait(30) != 0
    assert message in unit.text


def test_children_share_their_parents_memory(start_unit: StartUnit) -> None:
    """Measured: a fifth of a child's memory is its own, and half of it without the hooks."""
    unit = start_unit(slots=4)
    eventually(lambda: len(unit.children()) == 4)
    for pid in unit.children():
        memory = _memory(pid)
        assert memory["Private_Dirty"] / memory["Rss"] < 0.35, memory


def test_a_program_that_publishes_is_configured_by_its_environment(
    server: Redis, start_unit: StartUnit, tmp_path: Path
) -> None:
    unit = start_unit(FLEET_APP="plain.app")
    code = (
        "from celery import Celery; from fleetctl.worker import configure;"
        "app = configure(Celery('reports')); print(app.send_task('plain.add', args=[20, 3]).get(timeout=30))"
    )
    environ = {name: value for name, value in unit.environ.items() if name != "CREDENTIALS_DIRECTORY"}
    environ["REDIS_URL"] = server.url()
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "23\n"), done.stderr


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(amount.split()[0]) for name, amount in (line.split(":") for line in lines)}
