"""The broker of the role redis, asked over the network: each user's rights with plain commands, then real Celery."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

PREFIX = "scenario:"
USERS = ("worker", "producer", "monitor", "admin")
OPTIONS: dict[str, Any] = {"decode_responses": True, "socket_timeout": 30, "retry": Retry(NoBackoff(), 0)}
Connect = Callable[..., "redis.Redis[str]"]


@pytest.fixture
def connect(variables: dict[str, Any]) -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def make(user: str, password: str | None = None) -> redis.Redis[str]:
            password = variables[f"redis_{user}_password"] if password is None else password
            client = redis.Redis(variables["ansible_host"], username=user, password=password, **OPTIONS)
            stack.callback(client.close)
            return client

        yield make


def test_the_unit_runs_and_starts_with_the_system(host: Any) -> None:
    service = host.service("redis-server")
    assert service.is_running
    assert service.is_enabled


def test_it_listens_on_the_given_address_and_loopback_only(host: Any, address: str) -> None:
    assert host.socket(f"tcp://{address}:6379").is_listening
    assert host.socket("tcp://127.0.0.1:6379").is_listening
    assert not host.socket("tcp://0.0.0.0:6379").is_listening


@pytest.mark.parametrize("user", USERS)
def test_each_user_gets_in_with_its_password_and_not_with_another(connect: Connect, user: str) -> None:
    assert connect(user).ping()
    with pytest.raises(redis.AuthenticationError):
        connect(user, "not-the-password").ping()


def test_nobody_gets_in_without_a_name(address: str, connect: Connect) -> None:
    with redis.Redis(address, **OPTIONS) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with pytest.raises(redis.AuthenticationError):
        connect("default", "").ping()


@pytest.mark.parametrize("user", USERS[:-1])
@pytest.mark.parametrize(
    "command",
    ["CONFIG GET *", "KEYS *", "FLUSHALL", "FLUSHDB", "ACL LIST", "SHUTDOWN", "CLIENT LIST", "MONITOR", "FUNCTION LIST",
     "SWAPDB 0 1", "GET other:key", "LPUSH other:key 1", "PUBLISH other:channel 1"],
)  # fmt: skip
def test_administration_and_foreign_names_are_refused(connect: Connect, user: str, command: str) -> None:
    with pytest.raises(NoPermissionError):
        connect(user).execute_command(*command.split())


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("producer", "RPOP scenario:celery"),
        ("producer", "DEL scenario:celery"),
        ("producer", "SET scenario:celery x"),
        ("producer", "HDEL scenario:unacked x"),
        ("producer", "EVAL return 0"),
        ("monitor", "LPUSH scenario:celery x"),
        ("monitor", "RPOP scenario:celery"),
        ("monitor", "DEL scenario:celery-task-meta-x"),
    ],
)
def test_a_user_may_not_do_anothers_work(connect: Connect, user: str, command: str) -> None:
    with pytest.raises(NoPermissionError):
        connect(user).execute_command(*command.split(maxsplit=2), *(["0"] if "EVAL" in command else []))


def test_settings_arrive(connect: Connect) -> None:
    admin = connect("admin")
    expected = {
        "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "maxclients": "500",
        "save": "", "latency-monitor-threshold": "100",
    }  # fmt: skip
    assert {name: admin.config_get(name)[name] for name in expected} == expected


def test_what_was_queued_survives_a_crash(host: Any, connect: Connect) -> None:
    # Transactions and scripts too: a Redis whose user "default" has no rights drops them when it reads its file.
    worker = connect("worker")
    worker.lpush(f"{PREFIX}plain", "job")
    worker.pipeline(transaction=True).lpush(f"{PREFIX}transaction", "job").execute()
    worker.eval("redis.call('LPUSH', KEYS[1], 'job') redis.call('LPUSH', KEYS[1], 'job')", 1, f"{PREFIX}script")
    names = [f"{PREFIX}{name}" for name in ("plain", "transaction", "script")]
    host.check_output("systemctl kill --signal=KILL redis-server")
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(redis.ConnectionError):
            assert [worker.llen(name) for name in names] == [1, 1, 2]
            worker.delete(*names)
            return
        assert time.monotonic() < deadline, "Redis did not come back"
        time.sleep(0.2)


def test_no_password_is_written_down(host: Any, variables: dict[str, Any]) -> None:
    files = host.check_output("cat /etc/redis/users.acl /etc/redis/redis.conf")
    assert not [user for user in USERS if variables[f"redis_{user}_password"] in files]
    assert host.file("/etc/redis/users.acl").mode == 0o640


APP = """
import os, time
from celery import Celery
app = Celery("scenario", broker=os.environ["URL"], backend=os.environ["URL"])
options = {"global_keyprefix": os.environ["PREFIX"]}
app.conf.update(broker_transport_options=options, result_backend_transport_options=options, task_acks_late=True,
                worker_send_task_events=True, broker_connection_retry_on_startup=True)

@app.task(name="add")
def add(*numbers):
    return sum(numbers[0] if isinstance(numbers[0], list) else numbers)

@app.task(name="wait")
def wait(seconds):
    time.sleep(seconds)
"""


def make_url(variables: dict[str, Any], user: str) -> str:
    return f"redis://{user}:{variables[f'redis_{user}_password']}@{variables['ansible_host']}:6379/0"


def make_app(variables: dict[str, Any], user: str) -> celery.Celery:
    url = make_url(variables, user)
    app = celery.Celery(user, broker=url, backend=url, set_as_current=False)
    options = {"global_keyprefix": PREFIX}
    app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
    return app


@pytest.fixture
def running_worker(variables: dict[str, Any], tmp_path: Path) -> Iterator[None]:
    """A Celery worker on this computer, as the user worker."""
    (tmp_path / "scenario_app.py").write_text(APP)
    environment = os.environ | {"URL": make_url(variables, "worker"), "PREFIX": PREFIX}
    argv = [sys.executable, "-m", "celery", "-A", "scenario_app", "worker", "--hostname", "one@here"]
    argv += ["--concurrency", "2", "--pool", "threads", "--loglevel", "INFO"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 90
            while " ready." not in (tmp_path / "log").read_text():
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.usefixtures("running_worker")
def test_celery_works_within_these_rights(variables: dict[str, Any], connect: Connect) -> None:
    for user in ("worker", "producer"):
        app = make_app(variables, user)
        add = app.signature("add", app=app)
        assert app.send_task("add", (1, 2)).get(timeout=60) == 3
        assert app.send_task("add", (1, 2), countdown=1).get(timeout=60) == 3
        assert celery.group([add.clone((i, i)) for i in range(3)], app=app).apply_async().get(timeout=60) == [0, 2, 4]
        assert celery.chord([add.clone((i, i)) for i in range(3)], add, app=app).apply_async().get(timeout=60) == 6
        result = app.send_task("add", (1, 2))
        result.get(timeout=60)
        result.forget()
        app.send_task("wait", (30,), countdown=60).revoke()
        app.close()

    for user in ("worker", "monitor"):
        app = make_app(variables, user)
        assert app.control.inspect(timeout=5, limit=1).ping() == {"one@here": {"ok": "pong"}}
        app.close()
    assert connect("monitor").llen(f"{PREFIX}celery") == 0
    assert "connected_clients" in connect("monitor").info()
    worker = make_app(variables, "worker")
    assert worker.control.purge() == 0
    worker.close()
    refused = {entry["object"] for entry in connect("admin").acl_log() if entry["username"] == "worker"}
    assert not {name for name in refused if name.startswith(PREFIX)}
