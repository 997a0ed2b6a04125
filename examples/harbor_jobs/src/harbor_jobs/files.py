"""Files that are whole or not there: written, flushed, and renamed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

CHUNK = 1 << 20


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


def copy(source: Path, target: Path) -> None:
    """Copy a tree so that it lasts: regular files and directories alone.

    A link may lead to what the reader of a result must not see, and a pipe would hold the copy for ever.
    """
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                copy(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                with Path(entry.path).open("rb") as reader, (target / entry.name).open("wb") as writer:
                    shutil.copyfileobj(reader, writer, CHUNK)
                    writer.flush()
                    os.fsync(writer.fileno())
                (target / entry.name).chmod(entry.stat(follow_symlinks=False).st_mode & 0o755 | 0o600)
    flush(target)


def remove(path: Path) -> None:
    """Remove a file or a tree as far as it can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return
