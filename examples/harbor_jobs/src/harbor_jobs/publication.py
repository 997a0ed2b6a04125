"""A run's result on the shared storage: appears whole, by one rename, and the first one stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harbor_jobs import files, layout
from harbor_jobs.errors import JobError


class PublicationError(JobError):
    """The result could not be written: the storage is full, or refused."""


def find(directory: Path, number: int) -> tuple[Path, dict[str, Any]] | None:
    """Return where a run's result is, and what it says; None while there is none."""
    for path in sorted(layout.run_directory(directory, number).glob(f"task__*/{layout.RESULT}")):
        return path.parent, json.loads(path.read_bytes())
    return None


def publish(directory: Path, number: int, attempt: str, trial: Path, result: dict[str, Any]) -> bool:
    """Copy the tree `trial`, with `result` as its result.json, to the run's place; False where another was first.

    Whatever goes wrong, what is half-written goes again; PublicationError says why.
    """
    temporary = layout.temporary(directory, number, attempt)
    target = layout.run_directory(directory, number)
    try:
        temporary.mkdir(exist_ok=True)
        copied = temporary / trial.name
        files.copy(trial, copied)
        files.write(copied / layout.RESULT, (json.dumps(result, indent=2) + "\n").encode())
        files.flush(copied)
        files.flush(temporary)
        temporary.rename(target)
        files.flush(directory)
    except OSError as exc:
        # Not by the error's number: a server that starts again between rename and answer says "no such file" of what
        # it has done, and a run that came first may have swept what this one wrote.
        found = find(directory, number)
        if found is None:
            raise PublicationError(f"the result could not be published: {exc.strerror or exc}") from exc
        return bool(found[1].get("attempt") == attempt)
    finally:
        files.remove(temporary)
    return True


def sweep(directory: Path, number: int) -> None:
    """Remove what attempts have left; only once the run's result is there, so that no living one loses its own."""
    for path in layout.leftovers(directory, number):
        files.remove(path)
