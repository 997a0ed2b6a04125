"""Archives of text files that only their owner may read."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from fleetctl.errors import FleetError, UsageError


def write(path: Path, directory: str, files: Mapping[str, str], *, at: float) -> None:
    """Write a .tar.gz of these files (name -> text) under one directory, mode 0600.

    Raises UsageError when there is a file of this name already, FleetError when it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists", hint="--output another.tar.gz") from None
    except OSError as exc:
        raise FleetError(f"cannot write {path}: {exc.strerror}", hint="--output /another/place.tar.gz") from exc
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in files.items():
                content = text.encode(errors="replace")
                info = tarfile.TarInfo(f"{directory}/{name}")
                info.size, info.mtime, info.mode = len(content), int(at), 0o600
                archive.addfile(info, io.BytesIO(content))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
