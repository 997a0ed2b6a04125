"""What jobs under a load wrote about themselves, and the report that follows from it.

Each run of a built-in job appends one record to the Redis list <prefix>load:<run>. The sums are pure.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004  redis-py's own names

KEEP_SECONDS = 6 * 3600
_RETRY_SECONDS = 1.0
_REASONS = 5  # that a report names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One run of one job: who ran it, and from when to when (seconds since the epoch)."""

    id: str
    unit: str
    host: str
    pid: int
    start: float
    end: float
    error: str | None = None


def key(prefix: str, run: str) -> str:
    """Return the Redis key of a run's records."""
    return f"{prefix}load:{run}"


def append(client: Any, list_key: str, record: Record) -> None:
    """Append a record, waiting for Redis if need be; a job's time limit is the bound.

    One that was written and whose answer was lost is written again, all the same: `summarise` counts it once.
    """
    while True:
        try:
            pipe = client.pipeline(transaction=False)
            pipe.rpush(list_key, json.dumps(asdict(record)))
            pipe.expire(list_key, KEEP_SECONDS)
            pipe.execute()
        except (ConnectionError, TimeoutError) as exc:
            log.warning("job %s waits for Redis to tell of its end: %s", record.id, exc)
            time.sleep(_RETRY_SECONDS)
        else:
            return


def fetch(client: Any, list_key: str, start: int = 0) -> tuple[Record, ...]:
    """Return the records from position `start` on."""
    return tuple(Record(**json.loads(item)) for item in client.lrange(list_key, start, -1))


def peak(intervals: Sequence[tuple[float, float]]) -> int:
    """Return how many intervals overlap at most; one that ends when another starts does not overlap it."""
    edges = sorted([(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals])
    most = running = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank); 0.0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def summarise(
    ids: Collection[str],
    records: Sequence[Record],
    *,
    failed_elsewhere: Collection[str],
    quarantined: Collection[str] = (),
    died: Collection[str] = (),
    submitted_at: float,
) -> dict[str, Any]:
    """Return the fields of a load report.

    A job is done when a run of it succeeded, failed when none did and one failed or its result says so
    (`failed_elsewhere`: killed at its time limit, for one), in quarantine, else lost. Every success after a job's first
    counts as a duplicate. A job was repeated when it left more than one record, or one after a death (`died`), since a
    process that is killed leaves none. Starts and the makespan are seconds since `submitted_at`, the moment before the
    first was submitted.
    """
    wanted = set(ids)
    ours = [record for record in dict.fromkeys(records) if record.id in wanted]
    runs = Counter(record.id for record in ours)
    successes = Counter(record.id for record in ours if record.error is None)
    failed = ({record.id for record in ours} | (set(failed_elsewhere) & wanted)) - successes.keys()
    kept_out = (set(quarantined) & wanted) - successes.keys() - failed
    reasons = Counter(record.error for record in ours if record.error is not None and record.id in failed)
    starts = [record.start - submitted_at for record in ours]
    return {
        "submitted": len(wanted),
        "done": len(successes),
        "failed": len(failed),
        "quarantined": len(kept_out),
        "lost": len(wanted) - len(successes) - len(failed) - len(kept_out),
        "duplicates": successes.total() - len(successes),
        "repeated": sum(count > 1 or job in died for job, count in runs.items()),
        "peak_concurrency": peak([(record.start, record.end) for record in ours]),
        "distinct_processes": len({(record.host, record.pid) for record in ours}),
        "start_p50_seconds": round(percentile(starts, 0.50), 3),
        "start_p99_seconds": round(percentile(starts, 0.99), 3),
        "makespan_seconds": round(max((record.end for record in ours), default=submitted_at) - submitted_at, 3),
        "reasons": [f"{error} ({count} runs)" for error, count in reasons.most_common(_REASONS)],
        "per_unit": dict(sorted(Counter(record.unit for record in ours if record.error is None).items())),
    }
