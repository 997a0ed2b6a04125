"""What the agent answers from Redis alone: looks at jobs and units, and changes to what waits.

{"command": "survey", "queues": [name], "units": [unit@host]}   survey.py; of `units` those that give no heartbeat
                                                      are asked one by one, which takes seconds
    -> {"event": "result", "now", "units": [heartbeat], "queues": {name: {...}}, "drains", "minutes", "totals",
        "open", "quarantined", "redis", "unacked", "unclaimed"}
{"command": "strays"}                                 all queues with jobs, known or not
    -> {"event": "result", "queues": {name: jobs}}
{"command": "canary", "units": [unit@host], "timeout": 5}
    -> {"event": "result", "answers": {unit@host: seconds | null}}
{"command": "services"}                               services.py
    -> {"event": "result", "postgres": {...}, "redis": {...}}
{"command": "drain", "keys": ["host:a"], "by": who}, {"command": "undrain", "keys": [...]}
    -> {"event": "result", "drains": {key: {"at", "by"}}}     all that hold now
{"command": "job", "job": id}                         timeline.py
    -> {"event": "result", "job", "task", "queue", "state", "events", "claim", "deaths", "quarantined",
        "result_state"}
{"command": "purge", "queue": name} -> {"event": "result", "removed": count}
{"command": "move", "from": name, "to": name, "count": count | null} -> {"event": "result", "moved": count}
{"command": "audit"}                                  audit.py
    -> {"event": "result", "submitted", "done", ..., "orphans": [...], "since", "balance"}
{"command": "requeue", "jobs": [job]}                 orphans alone
    -> {"event": "result", "requeued": [job], "ended": [job], "unknown": [job]}
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fleetctl.worker import (
    audit,
    canary,
    client,
    drains,
    older,
    orphans,
    publish,
    queues,
    services,
    settings,
    survey,
    timeline,
)

Answer = dict[str, Any]


def _survey(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    names = request.get("queues", ())
    look = survey.take(redis, broker.key_prefix, names)
    if silent := [unit for unit in request.get("units", ()) if unit not in look.live]:
        look = survey.take(redis, broker.key_prefix, names, others=older.heartbeats(publish.program(broker), silent))
    return survey.answer(look)


def _strays(_: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return {"queues": client.strays(redis, broker.key_prefix)}


def _canary(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    seconds = float(request.get("timeout", 5))
    return {"answers": canary.ask(publish.program(broker), redis, broker.key_prefix, request["units"], seconds)}


def _services(_: Mapping[str, Any], __: settings.Broker, redis: client.Client) -> Answer:
    return services.ask(redis, os.environ.get("DATABASE_URL", ""))


def _drain(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return {"drains": drains.put(redis, broker.key_prefix, request["keys"], by=str(request.get("by", "")))}


def _undrain(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return {"drains": drains.lift(redis, broker.key_prefix, request["keys"])}


def _job(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return timeline.describe(redis, broker.key_prefix, str(request["job"]))


def _purge(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return {"removed": queues.purge(redis, broker.key_prefix, request["queue"])}


def _move(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    ends = request["from"], request["to"]
    return {"moved": queues.move(redis, broker.key_prefix, *ends, count=request.get("count"))}


def _audit(_: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return audit.audit(redis, broker.key_prefix)


def _requeue(request: Mapping[str, Any], broker: settings.Broker, redis: client.Client) -> Answer:
    return dict(orphans.requeue(redis, broker.key_prefix, request["jobs"]))


#: What is asked of Redis alone, without Celery's connections.
COMMANDS: Mapping[str, Callable[[Mapping[str, Any], settings.Broker, client.Client], Answer]] = {
    "survey": _survey, "strays": _strays, "canary": _canary, "services": _services, "drain": _drain,
    "undrain": _undrain, "job": _job, "purge": _purge, "move": _move, "audit": _audit, "requeue": _requeue,
}  # fmt: skip


def give(name: str, request: Mapping[str, Any], broker: settings.Broker) -> Answer:
    """Carry out one of these commands and return its answer."""
    with client.connect(broker) as redis:
        return COMMANDS[name](request, broker, redis)
