"""A real Redis and Postgres on loopback, and real Celery workers against them, for the tests of this directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest
import redis
from celery import Celery
from kombu import pools
from redis.backoff import NoBackoff
from redis.retry import Retry

from fleetctl.worker import settings
from fleetctl.worker.settings import Broker

ROOT = Path(__file__).parents[3]
PREFIX = "trial:"
PASSWORDS = {user: f"{user}-of-the-trial" for user in ("worker", "producer", "monitor", "admin")}


def eventually(claim: Callable[[], Any], *, seconds: float = 30.0, what: str = "") -> Any:
    """Return the first true answer of `claim`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := claim()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or claim}"
        time.sleep(0.05)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str, package: str, *places: str) -> str:
    """Return a program of the system, installing its package when it is not there."""
    path = os.pathsep.join([os.environ["PATH"], *places])
    if shutil.which(name, path=path) is None:
        subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
        subprocess.run(
            ["apt-get", "install", "-qy", "--no-install-recommends", package], check=True, capture_output=True
        )
    found = shutil.which(name, path=path)
    assert found is not None, f"{name} is not in the package {package}"
    return found


@dataclass
class Redis:
    """A Redis with the users of the role redis; it can be stopped and started again on its port and data."""

    directory: Path
    options: tuple[str, ...]
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "worker") -> str:
        return f"redis://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/0"

    def broker(self, user: str = "worker") -> Broker:
        return Broker(self.url(user), PREFIX, 1800)

    def start(self) -> None:
        command = [
            program("redis-server", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.directory), "--aclfile", str(self.directory / "users.acl"), "--save", "", *self.options,
        ]  # fmt: skip
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        eventually(lambda: _answers(self.port), what="redis answers")

    def stop(self) -> None:
        """Do what systemd does: Redis writes what it has, and ends."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)


def make_redis(directory: Path, *options: str) -> Redis:
    """Return a started Redis whose users are those that roles/redis writes."""
    jinja = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    jinja.filters["hash"] = lambda text, name: hashlib.new(name, text.encode()).hexdigest()
    template = jinja.from_string((ROOT / "roles/redis/templates/users.acl.j2").read_text())
    variables = {f"redis_{user}_password": password for user, password in PASSWORDS.items()}
    users = template.render(redis_key_prefix=PREFIX, redis_database=0, **variables)
    (directory / "users.acl").write_text("\n".join(line for line in users.splitlines() if line.strip()) + "\n")
    server = Redis(directory, options)
    server.start()
    return server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """One Redis for all tests that leave it alone."""
    server = make_redis(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    yield server
    server.stop()


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of the test's own that keeps its data over a restart, as the role redis sets it up."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = make_redis(directory, "--appendonly", "yes", "--appendfsync", "everysec")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a Postgres that wants passwords, with the user fleet."""
    places = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = Path(program("initdb", "postgresql", *places, "/usr/lib/postgresql/15/bin")).resolve()
    # Not below pytest's own directory: that is closed to the account that the server needs.
    with tempfile.TemporaryDirectory(prefix="fleet-trial-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        password = directory / "password"
        password.write_text("fleet-of-the-trial\n")
        account: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(directory, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
            account |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        data = directory / "data"
        make = [str(initdb), "-D", str(data), "-U", "fleet", "--pwfile", str(password), "-A", "scram-sha-256", "-N"]
        subprocess.run(make, check=True, capture_output=True, **account)
        port = free_port()
        command = [
            str(initdb.with_name("postgres")), "-D", str(data), "-p", str(port), "-h", "127.0.0.1",
            "-k", str(directory), "-c", "fsync=off",
        ]  # fmt: skip
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **account)
        try:
            url = f"postgresql://fleet:fleet-of-the-trial@127.0.0.1:{port}/postgres"
            eventually(lambda: _lets_in(url), what="postgres")
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@dataclass
class Unit:
    """One `celery -A fleetctl.worker worker`, as a unit starts it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    environ: dict[str, str] = field(repr=False)

    @property
    def node(self) -> str:
        return f"{self.name}@{socket.gethostname()}"

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self) -> list[int]:
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(path).read_text().split()]

    def stop(self, *, seconds: float = 60) -> int:
        """Do what systemd does with KillMode=mixed: tell the main process alone, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Do what a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


StartUnit = Callable[..., Unit]


@pytest.fixture
def start_unit(server: Redis, postgres: str, tmp_path: Path) -> Iterator[StartUnit]:
    """Start units of the test's own; all end with it, and what they left in Redis too."""
    units: list[Unit] = []
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    secrets = {"DATABASE_URL": postgres, "API_KEY": "secret-of-the-app"}
    (tmp_path / "shared").mkdir()

    def start(name: str = "worker-1", *arguments: str, slots: int = 2, redis: Redis = server, **environ: str) -> Unit:
        log = tmp_path / f"{name}.log"
        (credentials / "fleet.json").write_text(json.dumps(secrets | {"REDIS_URL": redis.url()}))
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests/fleet/apps/plain/src:{Path(__file__).parent}/apps",
            "CREDENTIALS_DIRECTORY": str(credentials),
            "FLEET_HOST": "host-1",
            "FLEET_UNIT": name,
            "FLEET_KEY_PREFIX": PREFIX,
            "FLEET_VISIBILITY_TIMEOUT": "1800",
            "FLEET_STORAGE": str(tmp_path / "shared"),
            "JOBS_DIR": str(tmp_path / "shared" / "jobs"),
        } | environ
        command = [
            sys.executable, "-m", "celery", "--app=fleetctl.worker", "worker", f"--hostname={name}@%h",
            f"--concurrency={slots}", "--loglevel=INFO", "--without-gossip", "--without-mingle", *arguments,
        ]  # fmt: skip
        with log.open("w") as output:
            process = subprocess.Popen(
                command, env=variables, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True
            )
        unit = Unit(name, process, log, variables)
        units.append(unit)
        eventually(lambda: " ready." in unit.text or process.poll() is not None, seconds=180, what=unit.text)
        return unit

    yield start
    for unit in units:
        unit.kill()
    with redis.Redis.from_url(server.url("admin")) as client:
        client.flushall()


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """Ask the agent as fleetctl does, on a unit's environment; its systemd says that worker-8 alone is stopped."""
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(
        '#!/bin/sh\ncase "$*" in *@worker-8.*) echo ActiveState=inactive;; *) echo ActiveState=active;; esac\n'
    )
    systemctl.chmod(0o755)

    def run(unit: Unit, **request: Any) -> list[dict[str, Any]]:
        names = ("FLEET_KEY_PREFIX", "FLEET_VISIBILITY_TIMEOUT", "FLEET_STORAGE")
        (tmp_path / "environment").write_text("".join(f"{name}='{unit.environ[name]}'\n" for name in names))
        command = [
            sys.executable, "-m", "fleetctl.worker.agent", "--environment", f"{tmp_path}/environment",
            "--credentials", f"{tmp_path}/credentials/fleet.json", "--user", "root",
        ]  # fmt: skip
        environ = {"PATH": f"{systemctl.parent}:{unit.environ['PATH']}", "PYTHONPATH": unit.environ["PYTHONPATH"]}
        done = subprocess.run(
            command, input=json.dumps(request), env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        assert done.returncode == (1 if lines[-1]["event"] == "error" else 0), done.stdout + done.stderr
        return lines

    return run


@pytest.fixture
def tell_ledger(server: Redis, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Ask the agent about claims and quarantine, in this process."""
    from fleetctl.worker import agent

    for name, value in {
        "REDIS_URL": server.url("producer"), "FLEET_KEY_PREFIX": PREFIX, "FLEET_VISIBILITY_TIMEOUT": "1800"
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return lambda **request: agent.act({"redis_url": server.url(), **request}, lambda _: None)


@pytest.fixture
def publisher(server: Redis) -> Iterator[Celery]:
    """A program of its own that publishes: its app, given the fleet's settings."""
    app = Celery("publisher")
    settings.apply(app, server.broker(), is_worker=False)
    yield app
    close(app)


def close(app: Celery) -> None:
    """Close what an app has opened."""
    backend: Any = app.backend
    backend.remove_pending_result = lambda result: result  # one that goes later would connect again
    backend.result_consumer.stop()
    backend.client.close()
    app.close()
    pools.reset()  # kombu's pools are the process's, by address: one that was closed stays closed


@pytest.fixture
def admin(server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url("admin"), decode_responses=True) as client:
        yield client


def _answers(port: int) -> bool:
    with redis.Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0)) as client:
        try:
            client.ping()
        except redis.AuthenticationError:
            return True
        except (redis.ConnectionError, redis.TimeoutError):
            return False
    return True


def _lets_in(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True
