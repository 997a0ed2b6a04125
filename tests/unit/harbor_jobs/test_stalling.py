"""A storage that stalls: runs wait for it and lose nothing by it, commands do not."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from harbor_jobs import client, files, intake, layout, publication, running, storage
from harbor_jobs.errors import UsageError
from harbor_jobs.storage import StalledError
from tests.stalling import Stalling, stalling

from .conftest import Site
from .test_running import _environ

__all__ = ["stalling"]  # a fixture


@pytest.fixture
def on_stalling(site: Site, stalling: Stalling) -> Site:
    """A place whose jobs are on the storage that stalls."""
    return replace(site, where=replace(site.where, jobs=stalling.path / "jobs"))


@contextlib.contextmanager
def going_on(stalling: Stalling, *, after: float) -> Iterator[None]:
    timer = threading.Timer(after, stalling.go_on)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def settled(site: Site) -> list[tuple[str, bool]]:
    return [(row["state"], bool(row.get("path"))) for row in site.database.rows]


def test_a_storage_that_stalls_uses_up_none_of_a_runs_own_time(
    on_stalling: Site, stalling: Stalling, make_task: Callable[..., Path]
) -> None:
    solve = f"fsfreeze --freeze {stalling.path}; for i in $(seq 100); do echo $i; done"
    on_stalling.add(make_task(solve=solve, agent=1.5, verifier=1.5))
    begun = time.monotonic()
    with going_on(stalling, after=4):
        result = running.perform(on_stalling.where, "job-1", 1)
    assert time.monotonic() - begun >= 3.5, "its result waited"
    assert (result["state"], result["error"]) == ("done", None)
    assert on_stalling.names() == {"job_run_1"}
    assert settled(on_stalling) == [("running", False), ("done", True)]


def test_a_run_that_is_over_is_published_though_its_soft_limit_comes_while_the_storage_stalls(
    on_stalling: Site, stalling: Stalling, make_task: Callable[..., Path]
) -> None:
    def limit(*_: object) -> None:
        raise SoftTimeLimitExceeded

    on_stalling.add(make_task(test=f'echo 1 > "$LOGS_DIR/verifier/reward.txt"; fsfreeze --freeze {stalling.path}'))
    before = signal.signal(signal.SIGALRM, limit)
    try:
        with going_on(stalling, after=4):
            signal.setitimer(signal.ITIMER_REAL, 2)
            result = running.perform(on_stalling.where, "job-1", 1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (result["state"], result["error"]) == ("done", None)
    assert on_stalling.names() == {"job_run_1"}
    assert settled(on_stalling) == [("running", False), ("done", True)]


def test_what_goes_wrong_after_the_result_is_there_does_not_fail_the_run(
    site: Site, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    site.add(make_task())
    code = (
        "import sys; from pathlib import Path; from celery.exceptions import SoftTimeLimitExceeded\n"
        "from harbor_jobs import log, running\n"
        "from tests.unit.harbor_jobs.conftest import Remembering\n"
        "def remove(_): raise SoftTimeLimitExceeded\n"
        "log.Log.remove = remove\n"
        "database = Remembering('nowhere')\n"
        "running.perform(running.Place(Path(sys.argv[1]), database, 'h', 'u'), 'job-1', 1)\n"
        "print(*(row['state'] for row in database.rows))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(site.where.jobs)], env=_environ(tmp_path), capture_output=True, check=False
    )
    assert done.stdout == b"running done\n", done.stderr.decode()


class Again(type(Path())):  # type: ignore[misc]  # its class depends on the system
    """A path on a server that does what it is told, forgets the answer, and is told again."""

    def mkdir(self, *arguments: Any, **keywords: Any) -> None:
        with contextlib.suppress(FileExistsError):
            super().mkdir(*arguments, **keywords)
        super().mkdir(*arguments, **keywords)

    def rename(self, target: Any) -> Any:
        super().rename(target)
        return super().rename(target)


def test_a_server_that_starts_again_in_the_middle_has_the_result_once(tmp_path: Path) -> None:
    trial = tmp_path / layout.trial_name("job-1", 1)
    (trial / "agent").mkdir(parents=True)
    directory = Again(tmp_path / "job-1")
    Path(directory).mkdir()
    assert publication.publish(directory, 1, "a", trial, {"attempt": "a"}) is True
    assert publication.publish(directory, 1, "b", trial, {"attempt": "b"}) is False
    assert [path.name for path in directory.iterdir()] == ["job_run_1"]


def test_a_server_that_starts_again_in_the_middle_has_the_task_once(
    tmp_path: Path, make_task: Callable[..., Path]
) -> None:
    job = client.new_job("task", executor="local", agent="oracle", model=None, runs=1)
    fill = partial(intake.copy, make_task())
    made = intake.accept(job, fill, uploads=Again(tmp_path / "uploads"), jobs=Again(tmp_path / "jobs"))
    assert (made / layout.TASK / "task.toml").is_file()
    assert not list((tmp_path / "uploads").iterdir())


def test_a_command_gives_a_storage_up_and_says_so(stalling: Stalling, make_task: Callable[..., Path]) -> None:
    job = client.new_job("task", executor="local", agent="oracle", model=None, runs=1)
    accept = partial(
        intake.accept, job, partial(intake.copy, make_task()), uploads=stalling.path / "u", jobs=stalling.path / "j"
    )
    stalling.stall()
    begun = time.monotonic()
    with pytest.raises(StalledError, match=r"the shared storage does not answer within 0\.5 s") as caught:
        storage.touch(accept, seconds=0.5)
    assert time.monotonic() - begun < 2.5
    assert "fleetctl verify" in str(caught.value.hint)
    stalling.go_on()
    assert storage.touch(accept, seconds=20) == stalling.path / "j" / job.job


def test_a_task_that_comes_slowly_is_waited_for(tmp_path: Path, make_task: Callable[..., Path]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(make_task(), ".")
    reader, writer = os.pipe()

    def send() -> None:
        with os.fdopen(writer, "wb", buffering=0) as stream:
            for at in range(0, len(packed.getvalue()), 4096):
                time.sleep(0.3)
                stream.write(packed.getvalue()[at : at + 4096])

    sender = os.fork()
    if sender == 0:
        os.close(reader)
        send()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        storage.touch(intake.unpack, storage.Input(stream), tmp_path / "target", storage.still_here, seconds=0.25)
    os.waitpid(sender, 0)
    assert (tmp_path / "target/task.toml").is_file()


def test_an_error_comes_with_its_message_hint_and_kind() -> None:
    def fail() -> None:
        raise UsageError("no such thing", hint="look there")

    with pytest.raises(UsageError) as caught:
        storage.touch(fail)
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == ("no such thing", "look there", 2)


def test_a_large_file_gives_signs_while_it_is_copied(tmp_path: Path) -> None:
    signs: list[None] = []
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(b"x" * (3 * files.CHUNK))
    files.copy(source, tmp_path / "target", lambda: signs.append(None))
    assert len(signs) == 5
