"""Files on the shared storage: published by rename, and touched by children that can be given up.

A hard NFS mount whose server is gone holds a process for ever, in a state that even SIGKILL may not end; so whoever
must go on touches it in a child: `python -m fleetctl.worker.storage OPERATION`, its arguments as JSON on stdin.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

FILES = 16
FILE_BYTES = 4096
PRIVATE = ".fleetctl"  # below the storage's root: checks and loads


class StorageError(RuntimeError):
    """The storage did not do what was asked, or did not answer in time."""


def job_directory(root: str, run: str, job: str) -> Path:
    """Return where a job of a load keeps its files."""
    return Path(root, PRIVATE, "load", run, job)


def content(job: str, number: int) -> bytes:
    """Return what a job's file holds: the job's own name, over and over."""
    line = f"{job} {number}\n".encode()
    return (line * (FILE_BYTES // len(line) + 1))[:FILE_BYTES]


def publish(directory: Path, job: str) -> bool:
    """Write a job's files under a temporary name, flush them, and rename; False where another run was first."""
    temporary = _temporary(directory)
    temporary.mkdir(parents=True)
    try:
        for number in range(FILES):
            _write(temporary / f"{number:02}", content(job, number))
        _flush(temporary)
        try:
            temporary.rename(directory)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        _flush(directory.parent)
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def missing(root: str, run: str, jobs: list[str]) -> list[str]:
    """Return a line for each job whose files are not all there with their content."""
    problems = []
    for job in jobs:
        directory = job_directory(root, run, job)
        for number in range(FILES):
            try:
                is_whole = (directory / f"{number:02}").read_bytes() == content(job, number)
            except OSError as exc:
                problems.append(f"job {job}: file {number:02}: {exc.strerror}")
                break
            if not is_whole:
                problems.append(f"job {job}: file {number:02}: wrong content")
                break
    return problems


def in_child(operation: str, arguments: dict[str, Any], *, seconds: float) -> Any:
    """Run an operation in a child and return its answer; StorageError when it fails or takes too long."""
    child = subprocess.Popen(
        [sys.executable, "-m", "fleetctl.worker.storage", operation],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        out, err = child.communicate(json.dumps(arguments), timeout=seconds)
    except subprocess.TimeoutExpired:
        _give_up(child)
        raise StorageError(f"no answer within {seconds:g} s") from None
    if child.returncode != 0:
        raise StorageError(err.strip().splitlines()[-1] if err.strip() else f"exit status {child.returncode}")
    return json.loads(out)


def _give_up(child: subprocess.Popen[str]) -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1)  # and no longer: it may never end


def _temporary(path: Path) -> Path:
    """Return a name beside `path` that no other run has, nor one of this process's number before a power cut."""
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{uuid.uuid4().hex[:12]}")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _main(operation: str, arguments: dict[str, Any]) -> Any:
    match operation:
        case "remove":
            path = Path(arguments["path"])
            return shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        case "missing":
            return missing(arguments["root"], arguments["run"], arguments["jobs"])
        case _:
            raise StorageError(f"no such operation: {operation}")


if __name__ == "__main__":
    json.dump(_main(sys.argv[1], json.load(sys.stdin)), sys.stdout)
