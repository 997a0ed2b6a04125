"""What happened, line by line in the order of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Moment:
    """One thing that happened. `at`: seconds since the epoch; `source`: who says so."""

    at: float
    source: str
    text: str


def stamp(at: float) -> str:
    """Return a time as UTC to the millisecond: 2026-01-31T12:00:00.000Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def written(moments: Iterable[Moment]) -> str:
    """Return the moments in order, a line each."""
    ordered = sorted(moments, key=lambda moment: moment.at)
    return "".join(f"{stamp(moment.at)} {moment.source}: {_line(moment.text)}\n" for moment in ordered)


def _line(text: str) -> str:
    return " | ".join(part for part in text.splitlines() if part.strip())
