"""Files that are whole or not there: written, flushed, and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

CHUNK = 1 << 20

Sign = Callable[[], None]  # called after each piece of work


def no_sign() -> None:
    """Do nothing: who waits for this does not ask how it goes."""


def flush(directory: Path) -> None:
    """Make a directory's entries last."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Write a file and make its content last."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy(source: Path, target: Path, sign: Sign = no_sign) -> None:
    """Copy a tree so that it lasts: regular files and directories alone.

    A link may lead to what the reader of a result must not see, and a pipe would hold the copy for ever. An NFS server
    that starts again is asked again for what it may have done already: then the directory is there.
    """
    target.mkdir(exist_ok=True)
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                copy(Path(entry.path), target / entry.name, sign)
            elif entry.is_file(follow_symlinks=False):
                with Path(entry.path).open("rb") as reader, (target / entry.name).open("wb") as writer:
                    pour(reader, writer, sign)
                (target / entry.name).chmod(entry.stat(follow_symlinks=False).st_mode & 0o755 | 0o600)
    flush(target)
    sign()


def pour(source: IO[bytes], target: IO[bytes], sign: Sign) -> None:
    """Copy what is left of a file, and make it last."""
    while data := source.read(CHUNK):
        target.write(data)
        sign()
    target.flush()
    os.fsync(target.fileno())
    sign()


def rename(source: Path, target: Path) -> None:
    """Rename; also where the server did it, started again before it said so, and is asked again."""
    try:
        source.rename(target)
    except FileNotFoundError:
        if not target.exists():
            raise


def remove(path: Path) -> None:
    """Remove a file or a tree as far as it can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return
