"""Files on the shared storage."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetctl.worker import storage
from fleetctl.worker.storage import StalledError, StorageError
from tests.stalling import Stalling, stalling, state

__all__ = ["stalling"]  # a fixture


def test_a_job_publishes_its_files_whole(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    assert storage.publish(directory, "j") is True
    assert sorted(path.name for path in directory.iterdir()) == [f"{n:02}" for n in range(storage.FILES)]
    assert {path.stat().st_size for path in directory.iterdir()} == {storage.FILE_BYTES}
    assert storage.missing(str(tmp_path), "r", ["j"]) == []
    assert [path.name for path in directory.parent.iterdir()] == ["j"], "nothing temporary is left"


def test_the_first_run_of_a_job_wins(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    storage.publish(directory, "j")
    before = (directory / "00").stat()
    assert storage.publish(directory, "j") is False
    assert (directory / "00").stat().st_ino == before.st_ino
    assert [path.name for path in directory.parent.iterdir()] == ["j"]


def test_what_a_power_cut_left_does_not_hinder_a_process_of_the_same_number(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    directory.with_name(f".j.{os.uname().nodename}.{os.getpid()}").mkdir(parents=True)
    first, second = (storage._temporary(directory) for _ in range(2))
    assert first != second
    first.mkdir()
    assert storage.publish(directory, "j") is True
    assert storage.missing(str(tmp_path), "r", ["j"]) == []


def test_a_storage_that_takes_no_more_fails_the_job_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    code = (
        "import resource, sys; from pathlib import Path; from fleetctl.worker import storage;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)); storage.publish(Path(sys.argv[1]), 'j')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert list(directory.parent.iterdir()) == []


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    for job in ("whole", "short", "lacking"):
        storage.publish(storage.job_directory(str(tmp_path), "r", job), job)
    (storage.job_directory(str(tmp_path), "r", "short") / "03").write_bytes(b"")
    (storage.job_directory(str(tmp_path), "r", "lacking") / "15").unlink()
    assert storage.missing(str(tmp_path), "r", ["whole", "short", "lacking", "never"]) == [
        "job short: file 03: wrong content",
        "job lacking: file 15: No such file or directory",
        "job never: file 00: No such file or directory",
    ]


def test_a_rename_that_the_server_did_before_it_restarted_counts(tmp_path: Path, again: type[Path]) -> None:
    """It answers what it is asked again: the source is gone."""
    directory = again(storage.job_directory(str(tmp_path), "r", "j"))
    assert storage.publish(directory, "j") is True
    assert storage.missing(str(tmp_path), "r", ["j"]) == []
    assert [path.name for path in directory.parent.iterdir()] == ["j"]


@pytest.fixture
def again() -> type[Path]:
    """Paths on a server that does what it is told and forgets the answer: it is told again."""

    class Again(type(Path())):  # type: ignore[misc]  # its class depends on the system
        def mkdir(self, *arguments: Any, **keywords: Any) -> None:
            with contextlib.suppress(FileExistsError):
                super().mkdir(*arguments, **keywords)
            super().mkdir(*arguments, **keywords)

        def rename(self, target: Any) -> Any:
            super().rename(target)
            return super().rename(target)

    return Again


def test_a_child_looks_and_removes(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    storage.publish(directory, "j")
    found = storage.in_child(storage.missing, str(tmp_path), "r", ["j", "k"], seconds=20)
    assert found == ["job k: file 00: No such file or directory"]
    for _ in range(2):  # gone already: fine
        storage.in_child(storage.remove, str(tmp_path), "r", seconds=20)
    assert not directory.parent.exists()


def test_what_a_child_raises_is_raised() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        storage.in_child(os.listdir, "/nowhere", seconds=20)


def test_a_child_that_is_killed_is_an_error() -> None:
    with pytest.raises(StorageError, match="was ended"):
        storage.in_child(lambda: os.kill(os.getpid(), 9), seconds=20)


def test_a_child_says_nothing_to_whom_this_program_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    storage.in_child(os.system, "echo spoken; echo spoken >&2", seconds=20)
    assert capfd.readouterr() == ("", "")


def slowly(times: int, seconds: float, sign: Callable[[], None]) -> str:
    for _ in range(times):
        time.sleep(seconds)
        sign()
    return "done"


def test_a_child_may_take_its_time_as_long_as_it_gives_signs() -> None:
    assert storage.in_child(slowly, 6, 0.2, storage.still_here, seconds=0.6) == "done"
    with pytest.raises(StalledError, match=r"no answer within 0\.6 s"):
        storage.in_child(slowly, 6, 0.2, lambda: None, seconds=0.6)


def elsewhere(seconds: float) -> str:
    with storage.elsewhere():
        time.sleep(seconds)
    return "done"


def test_what_is_not_the_storage_may_take_as_long_as_it_wants() -> None:
    assert storage.in_child(elsewhere, 0.6, seconds=0.3) == "done"


def test_a_file_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    directory.mkdir(parents=True)
    os.mkfifo(directory / "00")  # opening it waits for a writer for ever
    start = time.monotonic()
    with pytest.raises(StalledError, match=r"no answer within 0\.5 s"):
        storage.in_child(storage.missing, str(tmp_path), "r", ["j"], seconds=0.5)
    assert time.monotonic() - start < 2.5
    assert storage._given_up == set(), "SIGKILL has ended it"


def test_a_storage_from_which_sigkill_frees_nobody_is_given_up(stalling: Stalling) -> None:
    directory = storage.job_directory(str(stalling.path), "r", "j")
    stalling.stall()
    start = time.monotonic()
    with pytest.raises(StalledError, match=r"no answer within 0\.5 s"):
        storage.in_child(storage.publish, directory, "j", seconds=0.5)
    assert time.monotonic() - start < 2.5
    (child,) = storage._given_up
    assert state(child) == "D"
    stalling.go_on()
    deadline = time.monotonic() + 5
    while state(child) == "D":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert storage.in_child(storage.publish, directory, "j", seconds=20) is True
    assert (storage._given_up, state(child)) == (set(), ""), "no process is left, not even one that has ended"


def test_a_program_that_gave_up_ends_and_so_do_its_pipes(stalling: Stalling) -> None:
    code = (
        "import sys; from fleetctl.worker import storage\n"
        "try: storage.in_child(open, sys.argv[1], 'w', seconds=0.5)\n"
        "except storage.StalledError as exc: sys.exit(str(exc))"
    )
    stalling.stall()
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, str(stalling.path / "file")], capture_output=True, text=True, check=False,
        timeout=20,
    )  # fmt: skip
    assert time.monotonic() - start < 5
    assert (done.returncode, done.stderr) == (1, "no answer within 0.5 s\n")
