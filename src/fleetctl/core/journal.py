"""Lines of journals: from journalctl's JSON, and into the order of their times. Pure: the clock is an argument."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FIELDS = ("MESSAGE", "PRIORITY", "_SYSTEMD_UNIT", "UNIT", "_PID", "SYSLOG_IDENTIFIER")


@dataclass(frozen=True)
class Entry:
    """One line of a host's journal. `at`: epoch seconds by the host's clock; `priority` as syslog's, 0 to 7."""

    at: float
    host: str
    unit: str = ""
    message: str = ""
    priority: int = 6
    pid: int | None = None
    cursor: str = field(default="", repr=False)


def parse(host: str, line: str) -> Entry | None:
    """Return the entry of a line of `journalctl -o json`, None when it is none."""
    try:
        value: dict[str, Any] = json.loads(line)
        at = int(value["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return None
    unit = str(value.get("UNIT") or value.get("_SYSTEMD_UNIT") or value.get("SYSLOG_IDENTIFIER") or "")
    pid, priority = value.get("_PID"), value.get("PRIORITY", "6")
    return Entry(
        at=at,
        host=host,
        unit=unit.removesuffix(".service"),
        message=_text(value.get("MESSAGE")),
        priority=int(priority) if str(priority).isdecimal() else 6,
        pid=int(str(pid)) if str(pid).isdecimal() else None,
        cursor=str(value.get("__CURSOR", "")),
    )


def merged(entries: Iterable[Iterable[Entry]]) -> tuple[Entry, ...]:
    """Return the entries of many hosts in the order of their times."""
    return tuple(sorted((entry for of in entries for entry in of), key=_order))


class Reorder:
    """Holds entries for a moment, so that those of slower hosts come before later ones of faster hosts.

    No entry is held for longer than `window` seconds, whatever others come: a host whose clock is behind delays nobody.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._held: list[tuple[Entry, float]] = []

    def take(self, entry: Entry, now: float) -> None:
        self._held.append((entry, now))

    def due(self, now: float) -> list[Entry]:
        """Return what has been held for long enough, with all that is older, in order."""
        ripe = [entry for entry, came in self._held if came + self._window <= now]
        if not ripe:
            return []
        last = max(map(_order, ripe))
        out = sorted((entry for entry, _ in self._held if _order(entry) <= last), key=_order)
        self._held = [(entry, came) for entry, came in self._held if _order(entry) > last]
        return out

    def rest(self) -> list[Entry]:
        """Return all that is held, in order."""
        out = sorted((entry for entry, _ in self._held), key=_order)
        self._held.clear()
        return out


def _order(entry: Entry) -> tuple[float, str]:
    """Entries of one host and one time stay as they came."""
    return (entry.at, entry.host)


def _text(message: Any) -> str:
    """Return the message; journald gives one that is not UTF-8 as a list of bytes."""
    if isinstance(message, list):
        return bytes(byte for byte in message if isinstance(byte, int) and 0 <= byte < 256).decode(errors="replace")
    return "" if message is None else str(message)
