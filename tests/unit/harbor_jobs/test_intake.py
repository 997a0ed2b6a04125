"""What is taken in: whole tasks, and nothing of the others."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harbor_jobs import client, intake, layout
from harbor_jobs.errors import UsageError
from harbor_jobs.rows import Job


@pytest.fixture
def job() -> Job:
    return client.new_job("My Task!", executor="local", agent="oracle", model=None, runs=2)


def packed(task: Path | None, *members: tarfile.TarInfo, mode: str = "w:") -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        if task is not None:
            archive.add(task, ".")
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    stream.seek(0)
    return stream


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
def test_a_tar_becomes_a_job(tmp_path: Path, make_task: Callable[..., Path], job: Job, mode: str) -> None:
    stream = packed(make_task(), mode=mode)
    made = intake.accept(
        job, lambda target: intake.unpack(stream, target), uploads=tmp_path / "uploads", jobs=tmp_path / "jobs"
    )
    assert made == tmp_path / "jobs" / job.job
    assert job.job.startswith("my-task-")
    assert (made / "task/solution/solve.sh").is_file()
    assert json.loads((made / "job.json").read_text())["runs"] == 2
    assert not list((tmp_path / "uploads").iterdir())


def test_a_directory_becomes_a_job_with_its_modes(tmp_path: Path, make_task: Callable[..., Path], job: Job) -> None:
    task = make_task()
    (task / "tests/test.sh").chmod(0o755)
    made = intake.accept(
        job, lambda target: intake.copy(task, target), uploads=tmp_path / "uploads", jobs=tmp_path / "jobs"
    )
    assert (made / "task/tests/test.sh").stat().st_mode & 0o777 == 0o755
    assert (made / "task/solution/solve.sh").stat().st_mode & 0o100 == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        pytest.param([member("../escaped")], "outside", id="parent"),
        pytest.param([member("/tmp/escaped-by-tar")], "is outside", id="absolute"),
        pytest.param([member("out", tarfile.SYMTYPE, "/"), member("out/escaped")], "out is a link", id="link"),
        pytest.param([member("inner", tarfile.SYMTYPE, "task.toml")], "inner is a link", id="link within"),
        pytest.param([member("hard", tarfile.LNKTYPE, "task.toml")], "hard is a link", id="hard link"),
        pytest.param([member("pipe", tarfile.FIFOTYPE)], "pipe is a link or a special file", id="pipe"),
        pytest.param([member("disk", tarfile.BLKTYPE)], "disk is a link or a special file", id="device"),
    ],
)
def test_a_tar_that_leads_elsewhere_is_refused(
    tmp_path: Path, job: Job, extra: list[tarfile.TarInfo], message: str
) -> None:
    stream = packed(None, *extra)
    with pytest.raises(UsageError, match=message):
        intake.accept(
            job, lambda target: intake.unpack(stream, target), uploads=tmp_path / "uploads", jobs=tmp_path / "jobs"
        )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing is left, inside or outside"
    assert not Path("/tmp/escaped-by-tar").exists()


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UsageError, match="stdin is not a whole tar"):
        intake.unpack(io.BytesIO(data), tmp_path / "target")


def test_a_tar_cut_short_is_refused(tmp_path: Path, make_task: Callable[..., Path]) -> None:
    task = make_task()
    (task / "large").write_bytes(b"x" * 100_000)
    data = packed(task).getvalue()
    with pytest.raises(UsageError, match="stdin is not a whole tar"):
        intake.unpack(io.BytesIO(data[: data.index(b"xxxxx") + 2000]), tmp_path / "target")


def test_a_link_in_a_directory_is_refused(tmp_path: Path, make_task: Callable[..., Path], job: Job) -> None:
    task = make_task()
    (task / "tests/password").symlink_to("/etc/shadow")
    with pytest.raises(UsageError, match="tests/password is a link"):
        intake.accept(
            job, lambda target: intake.copy(task, target), uploads=tmp_path / "uploads", jobs=tmp_path / "jobs"
        )
    assert not list((tmp_path / "jobs").iterdir())


def test_a_task_that_is_too_large_is_refused(tmp_path: Path, make_task: Callable[..., Path]) -> None:
    task = make_task()
    (task / "huge").touch()
    with (task / "huge").open("r+b") as file:
        file.truncate(intake.MOST_BYTES + 1)
    with pytest.raises(UsageError, match="more than"):
        intake.copy(task, tmp_path / "target")


@pytest.mark.parametrize("name", ["..", "a/b", "", "-a", "a--b", "A"])
def test_a_job_is_named_by_its_name_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a job"):
        layout.job_directory(tmp_path, name)
