"""Files on the shared storage: published by rename, and touched by children that can be given up.

A hard NFS mount whose server is gone holds a process for ever, in a state that even SIGKILL may not end. So whoever
must go on touches it in a child, and waits without bound neither for that nor for the end of a pipe that it holds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

FILES = 16
FILE_BYTES = 4096
PRIVATE = ".fleetctl"  # below the storage's root: checks and loads

_END_SECONDS = 0.5
_HERE, _ELSEWHERE, _DONE, _RAISED = range(4)  # what a child says

T = TypeVar("T")


class StorageError(RuntimeError):
    """The storage did not do what was asked."""


class StalledError(StorageError):
    """The storage did not answer in time."""


def job_directory(root: str, run: str, job: str) -> Path:
    """Return where a job of a load keeps its files."""
    return Path(root, PRIVATE, "load", run, job)


def content(job: str, number: int) -> bytes:
    """Return what a job's file holds: the job's own name, over and over."""
    line = f"{job} {number}\n".encode()
    return (line * (FILE_BYTES // len(line) + 1))[:FILE_BYTES]


def publish(directory: Path, job: str) -> bool:
    """Write a job's files under a temporary name, flush them, and rename; False where another run was first.

    A server that starts again is asked again for what it may have done already: then mkdir finds the directory, and
    rename finds it gone.
    """
    temporary = _temporary(directory)
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(FILES):
            _write(temporary / f"{number:02}", content(job, number))
        _flush(temporary)
        try:
            temporary.rename(directory)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) or not directory.exists():
                raise
            return not temporary.exists()
        _flush(directory.parent)
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def missing(root: str, run: str, jobs: Sequence[str]) -> list[str]:
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
        still_here()
    return problems


def remove(root: str, run: str) -> None:
    """Remove the files of a load's jobs, as far as they can be removed."""
    directory = job_directory(root, run, "any").parent
    for job in directory.iterdir() if directory.exists() else ():
        shutil.rmtree(job, ignore_errors=True)
        still_here()
    shutil.rmtree(directory, ignore_errors=True)


def in_child(work: Callable[..., T], *arguments: Any, seconds: float) -> T:
    """Return what `work` returns, called in a child; StalledError when that gives no sign for `seconds`.

    A sign is its end, or a call of `still_here`. What it raises is raised here. The child is forked, so this is for
    programs of one thread.
    """
    from multiprocessing.connection import Pipe  # here, so that units need not carry it

    _reap()
    answers, told = Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        _be_child(told, work, arguments)
    told.close()
    limit: float | None = seconds
    try:
        while answers.poll(limit):
            kind, value = answers.recv()
            if kind == _DONE:
                answer: T = value
                return answer
            if kind == _RAISED:
                raise value
            limit = None if kind == _ELSEWHERE else seconds
        os.kill(child, signal.SIGKILL)
        raise StalledError(f"no answer within {seconds:g} s")
    except EOFError:
        raise StorageError("the process that touched the storage was ended") from None
    finally:
        answers.close()
        _end(child)


def still_here() -> None:
    """Give a sign of life, in the child of `in_child`; elsewhere this does nothing."""
    _tell(_HERE)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Let the child of `in_child` wait without limit for something that is not the storage."""
    _tell(_ELSEWHERE)
    try:
        yield
    finally:
        _tell(_HERE)


_told: Connection[Any, Any] | None = None  # in a child: to who waits for it
_given_up: set[int] = set()  # children that SIGKILL has not ended yet


def _tell(kind: int) -> None:
    if _told is not None:
        _told.send((kind, None))


def _be_child(told: Connection[Any, Any], work: Callable[..., Any], arguments: Sequence[Any]) -> NoReturn:
    global _told
    code = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):  # a stalled child must not hold up who reads this program's output to its end
            os.dup2(quiet, descriptor)
        _told = told
        try:
            answer = (_DONE, work(*arguments))
        except Exception as exc:
            exc.add_note(traceback.format_exc())
            answer = (_RAISED, exc)
        told.send(answer)
        code = 0
    finally:
        os._exit(code)


def _end(child: int) -> None:
    """Wait for the child's end, then kill it, but wait for neither long: a stalled one may never end."""
    _given_up.add(child)
    for _ in range(2):
        deadline = time.monotonic() + _END_SECONDS
        _reap()
        while child in _given_up and time.monotonic() < deadline:
            time.sleep(0.005)
            _reap()
        if child in _given_up:
            os.kill(child, signal.SIGKILL)


def _reap() -> None:
    for child in tuple(_given_up):
        try:
            ended, _ = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:  # somebody else was first
            ended = child
        if ended:
            _given_up.discard(child)


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
