"""Files on the shared storage."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetctl.worker import storage
from fleetctl.worker.storage import StorageError


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


def test_a_child_looks_and_removes(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    storage.publish(directory, "j")
    asked = {"root": str(tmp_path), "run": "r", "jobs": ["j", "k"]}
    assert storage.in_child("missing", asked, seconds=20) == ["job k: file 00: No such file or directory"]
    for _ in range(2):  # gone already: fine
        storage.in_child("remove", {"path": str(directory.parent)}, seconds=20)
    assert not directory.parent.exists()


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(StorageError, match="no such operation: dance"):
        storage.in_child("dance", {}, seconds=20)


def test_a_storage_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    directory = storage.job_directory(str(tmp_path), "r", "j")
    directory.mkdir(parents=True)
    os.mkfifo(directory / "00")  # opening it waits for a writer for ever, as a dead server's files do
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"no answer within 0\.5 s"):
        storage.in_child("missing", {"root": str(tmp_path), "run": "r", "jobs": ["j"]}, seconds=0.5)
    assert time.monotonic() - start < 5
