"""What happened to one job, and where it is: from the stream of events, the ledger of claims and its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fleetctl.worker import claims, ledger, orphans, survey
from fleetctl.worker.audit import named
from fleetctl.worker.client import Client, messages

_PAGE = 5000


def describe(client: Client, prefix: str, job: str) -> dict[str, Any]:
    """Return all that is known of a job; its state is "unknown" where nothing is.

    "queued", "reserved", "scheduled", "running", "stranded", "quarantined", "orphaned"; or how it ended.
    """
    events = ordered([*_events(client, prefix, job)][::-1])
    entry = orphans.entries(client, prefix, [job]).get(job, {})
    look = survey.take(client, prefix, [entry["queue"]] if entry else [])
    held = next(((held, state) for held, state in survey.states(look) if held.job == job), None)
    kept = client.hget(prefix + claims.QUARANTINE, job)
    record = json.loads(kept) if kept else {}
    deaths = [json.loads(text) for text in client.lrange(prefix + claims.deaths_key(job), 0, -1)]
    queue = held[0].queue if held else entry.get("queue") or next((event["queue"] for event in reversed(events)), "")
    return {
        "job": job,
        "task": held[0].task if held else entry.get("task") or record.get("task", ""),
        "queue": queue or record.get("queue", ""),
        "state": _state(client, prefix, job, entry, held, record, events, look),
        "events": [{name: event[name] for name in ("at", "event", "unit", "host", "detail")} for event in events],
        "claim": _claim(client, prefix, job),
        "deaths": record.get("deaths", deaths),
        "quarantined": bool(kept),
        "result_state": orphans.result_state(client, prefix, job),
    }


def ordered(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events in their order: a unit tells of a start a moment later, so that goes to where it was received."""
    told: list[dict[str, Any]] = []
    for event in events:
        place = len(told)
        if event["event"] == "started":
            same = (at for at in range(place, 0, -1) if told[at - 1]["event"] == "received")
            place = next((at for at in same if told[at - 1]["unit"] == event["unit"]), place)
        told.insert(place, event)
    return told


def _state(
    client: Client,
    prefix: str,
    job: str,
    entry: dict[str, Any],
    held: tuple[survey.Held, str] | None,
    record: dict[str, Any],
    events: list[dict[str, Any]],
    look: survey.Look,
) -> str:
    if record:
        return "quarantined"
    if held is not None:
        return held[1]
    if entry:
        queues = {entry["queue"], *look.queues}
        is_there = any(job in named(text) for queue in queues for text in messages(client, prefix, queue))
        return "queued" if is_there else "orphaned"
    return next((event["detail"] for event in reversed(events) if event["event"] == "ended"), "unknown")


def _events(client: Client, prefix: str, job: str) -> Iterator[dict[str, Any]]:
    """Return the events of a job, the last first."""
    last = "+"
    wanted = job.encode()
    while page := client.xrevrange(prefix + ledger.EVENTS, max=last, count=_PAGE):
        for stamp, fields in page:
            if fields.get(b"job") == wanted:
                event: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
                at = int(stamp.partition(b"-")[0]) / 1000  # by one clock, that of Redis
                yield event | {"at": float(event["at"]) if event["event"] == "started" else at}
        last = f"({page[-1][0].decode()}"


def _claim(client: Client, prefix: str, job: str) -> dict[str, Any] | None:
    for key in (claims.CLAIMS, ledger.EARLY):
        for tag, text in client.hgetall(prefix + key).items():
            claim = json.loads(text)
            if claim.get("job") == job:
                return {**claim, "tag": tag.decode()}
    return None
