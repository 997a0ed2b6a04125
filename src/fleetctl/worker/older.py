"""Units of a release that gives no heartbeat, asked one by one: what the others say of themselves every second."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

_SECONDS = 2.0


def heartbeats(app: Celery[Any], units: Sequence[str]) -> list[dict[str, Any]]:
    """Return of those of these units (unit@host) that answer what would be their heartbeat.

    One that is dead costs all of the time that the others have to answer.
    """
    if not units:
        return []
    inspect = app.control.inspect(destination=list(units), timeout=_SECONDS, limit=len(units))
    stats: Mapping[str, Any] = inspect.stats() or {}
    active: Mapping[str, Any] = (inspect.active() or {}) if stats else {}
    served: Mapping[str, Any] = (inspect.active_queues() or {}) if stats else {}
    return [_heartbeat(node, stats[node], active.get(node, ()), served.get(node, ())) for node in sorted(stats)]


def _heartbeat(node: str, stats: Mapping[str, Any], active: Sequence[Any], served: Sequence[Any]) -> dict[str, Any]:
    unit, _, host = node.partition("@")
    pool = stats["pool"]
    jobs = [
        {
            "id": job["id"],
            "task": job["name"],
            "queue": job["delivery_info"]["routing_key"],
            "started": job["time_start"],
        }
        for job in active
    ]
    return {
        "unit": unit, "host": host, "pool": unit.rpartition("-")[0], "node": node, "boot": None, "pid": stats["pid"],
        "at": time.time(), "queues": sorted(queue["name"] for queue in served), "slots": pool["max-concurrency"],
        "busy": len(jobs), "jobs": jobs, "children": len(pool.get("processes", ())) or pool["max-concurrency"],
        "is_draining": False, "version": "",
    }  # fmt: skip
