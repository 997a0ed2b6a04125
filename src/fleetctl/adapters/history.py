"""Who changed a fleet, when, and with which result: a line when a change begins, and one when it ends.

What was killed has no second line: it is shown as one that did not end.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fleetctl.adapters.state import operator
from fleetctl.errors import FleetError

FILE = "history.jsonl"
UNENDED = "did not end"


@dataclass(frozen=True)
class Change:
    """One change of the fleet. `began_at` is UTC, seconds since the epoch."""

    id: str
    command: str
    operator: str
    began_at: float
    seconds: float | None = None
    result: str = UNENDED
    summary: str = ""


class Entry:
    """What the command that is under way says of itself, for the line at its end."""

    def __init__(self) -> None:
        self.result = "done"
        self.summary = ""


class History:
    """The history file of one fleet."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    @contextmanager
    def record(self, command: str) -> Iterator[Entry]:
        """Keep that a command began, and how it ended."""
        change = {"id": uuid.uuid4().hex[:12], "command": command, "operator": operator(), "began_at": time.time()}
        self._write(change)
        began = time.monotonic()
        entry = Entry()
        try:
            yield entry
        except BaseException as exc:
            entry.result = "interrupted" if isinstance(exc, KeyboardInterrupt) else "failed"
            entry.summary = exc.message.partition("\n")[0] if isinstance(exc, FleetError) else entry.summary
            raise
        finally:
            ended = {"seconds": round(time.monotonic() - began, 1), "result": entry.result, "summary": entry.summary}
            self._write({"id": change["id"], **ended})

    def changes(self) -> tuple[Change, ...]:
        """Return all changes, the latest last. A line that a crash cut short is left out."""
        found: dict[str, Change] = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            try:
                value: dict[str, Any] = json.loads(line or "{}")
            except ValueError:
                continue
            if "id" not in value:
                continue
            known = found.get(value["id"])
            if known is not None:
                found[value["id"]] = replace(known, **value)
            elif "command" in value:  # else its first line is the one that was cut short
                found[value["id"]] = Change(**value)
        return tuple(found.values())

    def _write(self, value: dict[str, Any]) -> None:
        # One write to a file opened for appending: lines of two commands do not mix.
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, ("\n" + json.dumps(value) + "\n").encode())  # a line that was cut short ends here
        finally:
            os.close(handle)
