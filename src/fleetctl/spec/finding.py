"""A mistake by its place in the data, before it has a file and a line."""

from __future__ import annotations

import re
from dataclasses import dataclass

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """One mistake. `reads` are the other places that it was concluded from."""

    loc: Loc
    message: str
    fix: str
    reads: tuple[Loc, ...] = ()


def dotted(loc: Loc) -> str:
    """Write a place as a user reads it: pools.worker.queues[0]."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return re.sub(r"[^ -~]", "?", "".join(parts).removeprefix("."))
