"""The books of jobs against what can be seen of them: orphans are open, and nowhere.

A job may be seen nowhere while it moves from one place to another, so it is an orphan only at two looks in a row.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetctl.worker import claims, ledger, survey
from fleetctl.worker.client import Client, messages, strays
from fleetctl.worker.orphans import entries, whereabouts

BETWEEN_SECONDS = 3.0

#: Of one moment; not in a transaction, which a full Redis would not begin.
_BOOKS = "return {redis.call('HKEYS', KEYS[1]), redis.call('HVALS', KEYS[2]), redis.call('HGETALL', KEYS[3])}"


@dataclass(frozen=True)
class Sight:
    """Where jobs were seen: `open` by the books; the rest in queues, in units' hands or in quarantine."""

    look: survey.Look
    open: frozenset[str]
    copies: int  # messages of open jobs beyond the first; of the same moment as `open` and `totals`
    totals: Mapping[str, float]
    queued: int
    found: frozenset[str]  # jobs that are somewhere

    @property
    def missing(self) -> frozenset[str]:
        return self.open - self.found


def audit(client: Client, prefix: str) -> dict[str, Any]:
    """Return the books, what is where, and the orphans.

    `balance` is what was submitted less what has ended, less the open jobs that are somewhere: 0 when every job is
    accounted for, above 0 as many are missing as orphans are named, or the books are wrong.
    """
    first = see(client, prefix)
    time.sleep(BETWEEN_SECONDS)
    last = see(client, prefix)
    suspects = first.missing & last.missing
    orphans = sorted(suspects - whereabouts(client, prefix, suspects))
    totals = last.totals
    ended = {name: int(totals.get(name, 0)) for name in ledger.ENDS}
    submitted = int(totals.get("submitted", 0)) - last.copies
    states = Counter(state for held, state in survey.states(last.look) if not (held.is_early and state == "stranded"))
    closed = sum(count for name, count in ended.items() if name != "unrecorded")
    return {
        "submitted": submitted, **ended, "open": len(last.open), "queued": last.queued,
        **{state: states[state] for state in ("reserved", "running", "scheduled")},
        "stranded": states["stranded"] + len(last.look.loose), "quarantined": last.look.quarantined,
        "orphans": [_described(client, prefix, job) for job in orphans],
        "since": totals.get("since"), "balance": submitted - closed - (len(last.open) - len(orphans)),
    }  # fmt: skip


def see(client: Client, prefix: str) -> Sight:
    """Look where all jobs are. The open ones first: what is submitted meanwhile is not missed then."""
    keys = [prefix + name for name in (ledger.OPEN, ledger.COPIES, ledger.TOTALS)]
    known, copies, totals = client.execute_command("EVAL_RO", _BOOKS, len(keys), *keys)
    queues = strays(client, prefix)
    waiting: set[str] = set()
    queued = 0
    for queue in queues:
        for text in messages(client, prefix, queue):
            queued += 1
            waiting |= named(text)
    look = survey.take(client, prefix)
    kept = {job.decode() for job in client.hkeys(prefix + claims.QUARANTINE)}
    # One that was acknowledged early is gone with its unit: it is in nobody's hands.
    held = {held.job for held, state in survey.states(look) if not (held.is_early and state == "stranded")}
    held |= {job for _, job in look.loose} | {job["id"] for unit in look.live.values() for job in unit["jobs"]}
    return Sight(
        look=look,
        open=frozenset(job.decode() for job in known),
        copies=sum(int(count) - 1 for count in copies),
        totals={name.decode(): float(value) for name, value in zip(totals[::2], totals[1::2], strict=True)},
        queued=queued,
        found=frozenset(waiting | held | kept),
    )


def named(text: bytes) -> frozenset[str]:
    """Return the job of a message, none when it is no job."""
    try:
        found = ledger.identify(json.loads(text))
    except (ValueError, AttributeError):
        return frozenset()
    return frozenset() if found is None else frozenset({found[0]})


def _described(client: Client, prefix: str, job: str) -> dict[str, Any]:
    entry = entries(client, prefix, [job]).get(job, {})
    return {
        "job": job, "task": entry.get("task", ""), "queue": entry.get("queue", ""), "at": entry.get("at"),
        "has_message": "message" in entry,
    }  # fmt: skip
