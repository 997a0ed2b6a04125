"""What views share: the console, JSON, and how durations and money are written."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 200  # of tables off a terminal


def console() -> Console:
    """Return a console for answers: lines as long as they are, so that they can be searched and copied."""
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def table(*columns: str) -> Table:
    """Return an empty table without lines."""
    return Table(*columns, box=None, pad_edge=False)


def as_json(value: Any) -> None:
    """Print a value of plain parts as JSON."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def duration(seconds: float | None) -> str:
    """Write seconds for reading: 45 s, 12 min, 3.5 h, 2.1 d; - for None."""
    if seconds is None:
        return "-"
    for size, unit in ((172_800, "d"), (7_200, "h"), (120, "min")):
        if seconds >= size:
            whole = {"d": 86_400, "h": 3_600, "min": 60}[unit]
            return f"{seconds / whole:.0f} {unit}" if unit == "min" else f"{seconds / whole:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"


def money(usd: float | None) -> str:
    """Write USD, with as many places as small sums need; - for None."""
    if usd is None:
        return "-"
    return f"{usd:,.2f} USD" if usd >= 1 or usd == 0 else f"{usd:.4f} USD" if usd >= 0.001 else f"{usd:.2g} USD"


def percent(share: float | None) -> str:
    """Write a share as a percentage; - for None."""
    if share is None:
        return "-"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def jobs(number: int) -> str:
    """Write a number of jobs: 1 job, 2,000 jobs."""
    return f"{number:,} job" if number == 1 else f"{number:,} jobs"
