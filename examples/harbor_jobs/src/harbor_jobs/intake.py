"""Takes a task in: unpacked in UPLOADS_DIR, checked, and moved to JOBS_DIR as a whole, by one rename."""

from __future__ import annotations

import errno
import json
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn, Protocol, cast

from harbor_jobs import files, layout, taskfile
from harbor_jobs.errors import JobError, UsageError
from harbor_jobs.rows import Job

MOST_FILES = 20_000
MOST_BYTES = 2 << 30
_PACK = "tar -C TASK -h --hard-dereference -c . | ... submit -"


class Readable(Protocol):
    """A stream, as far as a tar is read from it."""

    def read(self, size: int = ..., /) -> bytes: ...


def accept(job: Job, fill: Callable[[Path], None], *, uploads: Path, jobs: Path) -> Path:
    """Return the job's new directory, its task made by `fill` in an empty one; nothing is left where that fails."""
    directory = layout.job_directory(jobs, job.job)
    upload = uploads / job.job
    try:
        for place in (jobs, upload):
            place.mkdir(parents=True, exist_ok=True)
        fill(upload / layout.TASK)
        taskfile.read(upload / layout.TASK, executor=job.executor, agent=job.agent)
        files.write(upload / layout.DESCRIPTION, (json.dumps(asdict(job), indent=2) + "\n").encode())
        files.flush(upload)
        files.rename(upload, directory)
        files.flush(jobs)
    except OSError as exc:
        hint = None
        if exc.errno == errno.EXDEV:
            hint = "storage.jobs and storage.uploads of fleet.yml must be directories of one file system"
        raise JobError(f"the task could not be stored: {exc.filename or upload}: {exc.strerror}", hint=hint) from exc
    finally:
        files.remove(upload)
    return directory


def copy(source: Path, target: Path, sign: files.Sign = files.no_sign) -> None:
    """Copy a task's directory; UsageError for what is no file or directory."""
    if not source.is_dir():
        raise UsageError(f"{source} is not a directory", hint="give a task's directory, or - for a tar on stdin")
    count = size = 0
    for parent, directories, names in os.walk(source):
        for name in (*directories, *names):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                _refuse(str(path.relative_to(source)))
            count, size = count + 1, size + path.stat().st_size
            _bound(count, size)
        sign()
    files.copy(source, target, sign)


def unpack(stream: Readable, target: Path, sign: files.Sign = files.no_sign) -> None:
    """Unpack a tar, compressed or not, as it comes; UsageError for one that has more than files and directories."""
    target.mkdir(exist_ok=True)
    count = size = 0
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|*", bufsize=files.CHUNK) as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    _refuse(member.name)
                count, size = count + 1, size + member.size
                _bound(count, size)
                _extract(archive, member, target, sign)
    except (tarfile.TarError, EOFError, zlib.error) as exc:
        raise UsageError(f"stdin is not a whole tar: {exc}", hint=_PACK) from exc
    for parent, _, _ in os.walk(target, topdown=False):
        files.flush(Path(parent))
        sign()


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, sign: files.Sign) -> None:
    """Write a file or make a directory below `target`.

    By hand: tarfile's filter "data" came with Python 3.11.4, and there are hosts with 3.11.2. Without links, a name is
    all that could lead elsewhere.
    """
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise UsageError(
            f"the tar is refused: {member.name} is outside", hint=f"pack the task's own directory: {_PACK}"
        )
    path = target / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = cast("IO[bytes]", archive.extractfile(member))  # None is for what is no file
    with path.open("wb") as file:
        files.pour(content, file, sign)
    if path.stat().st_size != member.size:
        raise tarfile.ReadError("unexpected end of data")
    path.chmod(member.mode & 0o755 | 0o600)


def _refuse(name: str) -> NoReturn:
    raise UsageError(
        f"{name} is a link or a special file; a task is made of files and directories", hint=f"pack copies: {_PACK}"
    )


def _bound(count: int, size: int) -> None:
    if count > MOST_FILES or size > MOST_BYTES:
        raise UsageError(
            f"the task has more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB",
            hint="keep large inputs out of it: put them on the shared storage, and their path into the task",
        )
