"""The app harbor_jobs on real services and real workers, and its command as a client host runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.fleet.worker.conftest import (
    PREFIX,
    ROOT,
    Redis,
    admin,
    eventually,
    free_port,
    program,
    server,
    start_unit,
)

__all__ = ["admin", "server", "start_unit"]  # fixtures

SOURCES = f"{ROOT}/src:{ROOT}/examples/harbor_jobs/src"
TASKS = ROOT / "examples/harbor_jobs/tasks"


@dataclass
class Postgres:
    """A Postgres that can be stopped and started again, with the user fleet."""

    directory: Path
    binaries: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://fleet:fleet-of-the-trial@127.0.0.1:{self.port}/postgres"

    @property
    def account(self) -> dict[str, Any]:
        """Return who runs it: it refuses to be root."""
        if os.geteuid() != 0:
            return {"cwd": "/"}
        return {"cwd": "/", "user": "postgres", "group": "postgres", "extra_groups": []}

    def make(self) -> None:
        password = self.directory / "password"
        password.write_text("fleet-of-the-trial\n")
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        command = [str(self.binaries / "initdb"), "-D", str(self.directory / "data"), "-U", "fleet", "-N"]
        command += ["--pwfile", str(password), "-A", "scram-sha-256"]
        subprocess.run(command, check=True, capture_output=True, **self.account)

    def start(self) -> None:
        command = [
            str(self.binaries / "postgres"), "-D", str(self.directory / "data"), "-p", str(self.port),
            "-h", "127.0.0.1", "-k", str(self.directory), "-c", "fsync=off",
        ]  # fmt: skip
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **self.account)
        eventually(self.lets_in, what="postgres")

    def stop(self) -> None:
        """End it as an operator's restart does: those who are connected are thrown out."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def lets_in(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="session")
def database() -> Iterator[Postgres]:
    places = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = Path(program("initdb", "postgresql", *places, "/usr/lib/postgresql/15/bin")).resolve()
    # Not below pytest's own directory: that is closed to the account that the server needs.
    with tempfile.TemporaryDirectory(prefix="fleet-trial-", ignore_cleanup_errors=True) as name:
        made = Postgres(Path(name), initdb.parent)
        made.make()
        made.start()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def postgres(database: Postgres) -> Iterator[str]:
    """The address that `start_unit` gives its units, without tables of an earlier test."""
    yield database.url
    with psycopg.connect(database.url) as connection:
        connection.execute("DROP TABLE IF EXISTS harbor_runs, harbor_jobs")


@dataclass(frozen=True)
class Command:
    """`harbor-jobs` as `fleet-app` runs it on a client: the storage, the database, and Redis as a producer."""

    environ: dict[str, str]
    jobs: Path

    def __call__(self, *arguments: str, code: int = 0, stdin: bytes = b"", **variables: str) -> str:
        done = subprocess.run(
            self.line(*arguments), env=self.environ | variables, input=stdin, capture_output=True, check=False,
            timeout=60,
        )  # fmt: skip
        said = f"{arguments}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        assert done.returncode == code, said
        return done.stdout.decode() if code in (0, 3) else done.stderr.decode()

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "harbor_jobs", *arguments]

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def harbor_jobs(server: Redis, postgres: str, tmp_path: Path) -> Command:
    shared = tmp_path / "shared"
    shared.mkdir(exist_ok=True)
    return Command(
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": SOURCES,
            "DATABASE_URL": postgres,
            "REDIS_URL": server.url("producer"),
            "FLEET_KEY_PREFIX": PREFIX,
            "FLEET_VISIBILITY_TIMEOUT": "1800",
            "JOBS_DIR": str(shared / "jobs"),
            "UPLOADS_DIR": str(shared / "uploads"),
        },
        shared / "jobs",
    )


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of tasks whose solution is as given."""

    def make(solve: str) -> Path:
        task = tmp_path / "made"
        shutil.copytree(TASKS / "hello", task)
        (task / "solution/solve.sh").write_text(f"#!/bin/bash\n{solve}\n")
        (task / "tests/test.sh").write_text('#!/bin/bash\necho 1 > "$LOGS_DIR/verifier/reward.txt"\n')
        return task

    return make
