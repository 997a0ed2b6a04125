"""Answers of agents, as units and queues would make them."""

from __future__ import annotations

from typing import Any

NOW = 1_800_000_030.0  # half a minute into a minute
MINUTE = int(NOW // 60)


def beat(unit: str, **changes: Any) -> dict[str, Any]:
    """Return the heartbeat of an idle unit of 4 slots on a host of its name, a second old."""
    pool = unit.rpartition("-")[0]
    value = {
        "unit": unit, "host": unit, "pool": pool, "machine": "m", "boot": "b", "pid": 7, "at": NOW - 1,
        "since": NOW - 900, "queues": ["celery"], "slots": 4, "busy": 0, "jobs": [], "reserved": 0, "scheduled": 0,
        "scheduled_jobs": [], "children": 4, "is_draining": False, "received": 0, "done": 0, "failed": 0,
        "last_received": None, "last_finished": None, "version": "0.1.0",
    }  # fmt: skip
    return value | changes


def answer(*units: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the answer to a survey of an empty queue; `changes` replace top-level keys."""
    empty = {"queued": 0, "oldest_at": None, "reserved": 0, "scheduled": 0, "running": 0, "stranded": 0}
    value: dict[str, Any] = {
        "event": "result", "now": NOW, "units": list(units),
        "queues": {"celery": empty}, "drains": {}, "minutes": {}, "totals": {}, "open": 0, "quarantined": 0,
        "redis": {"maxclients": 1024}, "unacked": 0, "unclaimed": 0,
    }  # fmt: skip
    return value | changes
