"""Drains: units that take no new jobs, until they may again. The script by which jobs are taken looks here itself.

    fleet:drains    hash: "host:<name>" | "pool:<name>" | "unit:<unit>@<host>" -> {"at": epoch, "by": text}

A drained unit still takes what is sent to its own direct queue.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

DRAINS = "fleet:drains"
KINDS = ("host:", "pool:", "unit:")


def listed(found: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """Return the drains of the hash in Redis by key."""
    return {key.decode(): json.loads(text) for key, text in found.items()}


def put(client: Any, prefix: str, keys: Sequence[str], *, by: str) -> dict[str, dict[str, Any]]:
    """Drain from now on; return all drains. One that holds already keeps its beginning. ValueError names a bad key."""
    if wrong := [key for key in keys if not key.startswith(KINDS) or key in KINDS]:
        raise ValueError(f"not a host:, pool: or unit: {', '.join(wrong)}")
    value = json.dumps({"at": round(time.time(), 3), "by": by})
    with client.pipeline() as pipe:
        for key in keys:
            pipe.hsetnx(prefix + DRAINS, key, value)
        return listed(pipe.hgetall(prefix + DRAINS).execute()[-1])


def lift(client: Any, prefix: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Undo drains; return those that are left."""
    with client.pipeline(transaction=False) as pipe:  # a full Redis lets no transaction begin
        for key in keys:
            pipe.hdel(prefix + DRAINS, key)
        return listed(pipe.hgetall(prefix + DRAINS).execute()[-1])
