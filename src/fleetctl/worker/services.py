"""What Postgres and Redis say of themselves, as seen from this host."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import RedisError

from fleetctl.worker.client import Client

_SECONDS = 5
_QUESTION = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database), current_setting('max_connections')::int,
    (SELECT extract(epoch FROM max(now() - xact_start)) FROM pg_stat_activity WHERE pid <> pg_backend_pid())
"""


def ask(client: Client, database_url: str) -> dict[str, Any]:
    """Return connections, limits and latency; "error" says why there is nothing else, without what was asked.

    The longest transaction is that of the fleet's own user: Postgres shows no others to it.
    """
    return {"postgres": _postgres(database_url), "redis": _redis(client)}


def _postgres(database_url: str) -> dict[str, Any]:
    import psycopg

    found: dict[str, Any] = dict.fromkeys(
        ("connections", "max_connections", "longest_transaction_seconds", "latency_seconds", "error")
    )
    if not database_url:
        return found | {"error": "DATABASE_URL is not set on this host"}
    try:
        with psycopg.connect(database_url, connect_timeout=_SECONDS, tcp_user_timeout=_SECONDS * 1000) as database:
            database.execute("SELECT set_config('statement_timeout', %s, false)", (str(_SECONDS * 1000),))
            start = time.monotonic()
            database.execute("SELECT 1")
            found["latency_seconds"] = round(time.monotonic() - start, 6)
            row = database.execute(_QUESTION).fetchone()
    except psycopg.Error as exc:
        return found | {"error": _first_line(exc)}
    if row is not None:
        connections, most, longest = row
        found |= {"connections": int(connections or 0), "max_connections": most}
        found["longest_transaction_seconds"] = None if longest is None else round(float(longest), 3)
    return found


def _redis(client: Client) -> dict[str, Any]:
    try:
        client.ping()
        start = time.monotonic()
        client.ping()
    except (RedisError, OSError) as exc:
        return {"latency_seconds": None, "error": _first_line(exc)}
    return {"latency_seconds": round(time.monotonic() - start, 6), "error": None}


def _first_line(exc: BaseException) -> str:
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)
