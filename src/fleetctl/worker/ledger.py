"""The fleet's books of jobs in Redis: what was submitted and has not ended, counts, and what happened when.

A publisher writes with MULTI, in the same transaction as the message (its user may run no scripts), and a unit settles
with a script that also acknowledges: no crash comes in between. Keys, all below the fleet's prefix:

    fleet:open              hash: job -> {"at", "queue", "task", "message"}: not ended; the message only up to 64 KiB
    fleet:copies            hash: job -> messages of it that are about: a retry is one more until the first is settled
    fleet:outcomes          hash: job -> how one message of it ended while others were about; a retry may overtake
    fleet:totals            hash: submitted, done, failed, revoked, purged, unrecorded, since -> count
    fleet:minute:<epoch/60> hash, kept for two hours: "<queue>|submitted", "<queue>|done", "<task>|runs", "|seconds"
    fleet:events            stream of about the last 100,000: job, event, queue, unit, host, at, detail
    fleet:early             hash: delivery tag -> claim of a job that was acknowledged when it began and has not ended

Every message is counted in once and out once, whatever becomes of it in between; a job ends with its last message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kombu.utils.json import dumps

CLAIMS = "fleet:claims"  # claims.py; no queue of fleet.yml has a colon in its name
OPEN, COPIES, TOTALS, EVENTS, EARLY = "fleet:open", "fleet:copies", "fleet:totals", "fleet:events", "fleet:early"
OUTCOMES = "fleet:outcomes"
MINUTE = "fleet:minute:"
MINUTE_SECONDS = 7200
KEEP_EVENTS = 100_000
MAX_MESSAGE_BYTES = 65_536
COMMANDS = 7  # of one submission

#: The ends of jobs, as they are counted. One that refused itself, or is not known to the app, has failed.
ENDS = ("done", "failed", "revoked", "purged", "unrecorded")

Event = Literal[
    "submitted", "received", "started", "ended", "given back", "died", "quarantined", "released", "requeued"
]
Outcome = Literal["done", "failed", "revoked", "retried", "early"]

#: KEYS: unacked, its index, claims, early, open, copies, totals, events, outcomes. ARGV: tag, outcome, job, task,
#: queue, unit, host, seconds that it ran or '', when it started or '', detail, prefix of minutes. What nobody holds any
#: more is not counted: it was given back, and ends with its next run. The first write is a deletion, which a full Redis
#: lets; after it the others go, and none of those can make the acknowledgement fail.
SETTLE = """
local tag, outcome, job, task, queue = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
redis.call('ZREM', KEYS[2], tag)
local claim = redis.call('HGET', KEYS[3], tag)
local held = redis.call('HDEL', KEYS[1], tag)
redis.call('HDEL', KEYS[3], tag)
if outcome == 'early' then
  if held == 1 and claim then redis.pcall('HSET', KEYS[4], tag, claim) end
else
  held = held + redis.call('HDEL', KEYS[4], tag)
end
local function tell(event, at, detail)
  redis.pcall('XADD', KEYS[8], 'MAXLEN', '~', 100000, '*', 'job', job, 'event', event, 'queue', queue,
    'unit', ARGV[6], 'host', ARGV[7], 'at', at, 'detail', detail)
end
if ARGV[9] ~= '' then tell('started', ARGV[9], '') end
if outcome == 'early' or held == 0 then return held end
local now = redis.call('TIME')
local minute = ARGV[11] .. math.floor(now[1] / 60)
local left = redis.pcall('HINCRBY', KEYS[6], job, -1)
if type(left) ~= 'number' then left = 0 end
local detail = ARGV[10]
local ends = outcome
if left > 0 then
  ends = nil
  if outcome ~= 'retried' then
    redis.pcall('HSET', KEYS[9], job, outcome)
    detail = detail .. ', and another message of it is about'
  end
  redis.pcall('HINCRBY', KEYS[7], 'submitted', -1)
  redis.pcall('HINCRBY', minute, queue .. '|submitted', -1)
elseif outcome == 'retried' then
  local other = redis.pcall('HGET', KEYS[9], job)
  ends = type(other) == 'string' and other or nil
  if not ends and left == 0 then redis.pcall('HSET', KEYS[6], job, 1) end
end
if ends or left < 0 then
  redis.pcall('HDEL', KEYS[6], job)
  redis.pcall('HDEL', KEYS[9], job)
end
if ends then
  local known = redis.pcall('HDEL', KEYS[5], job) == 1
  redis.pcall('HINCRBY', KEYS[7], known and ends or 'unrecorded', 1)
  redis.pcall('HINCRBY', minute, queue .. '|' .. ends, 1)
end
if ARGV[8] ~= '' then
  redis.pcall('HINCRBY', minute, task .. '|runs', 1)
  redis.pcall('HINCRBYFLOAT', minute, task .. '|seconds', ARGV[8])
end
redis.pcall('EXPIRE', minute, 7200)
tell('ended', now[1] .. '.' .. string.format('%03d', math.floor(now[2] / 1000)), detail)
return held
"""

#: KEYS: open, copies, totals, events, outcomes, then lists. ARGV[1]: queue. `close` ends the job of a message that was
#: taken out.
_CLOSE = """
local now = redis.call('TIME')
local at = now[1] .. '.' .. string.format('%03d', math.floor(now[2] / 1000))
local function identify(text)
  local ok, m = pcall(cjson.decode, text)
  local h = ok and type(m) == 'table' and type(m.headers) == 'table' and m.headers or {}
  local p = ok and type(m) == 'table' and type(m.properties) == 'table' and m.properties or {}
  if type(h.task) ~= 'string' then return nil end
  for _, each in ipairs({h.id or false, p.correlation_id or false, p.delivery_tag or false}) do
    if type(each) == 'string' and each ~= '' then return each end
  end
end
local function close(job)
  if not job then return end
  local left = redis.pcall('HINCRBY', KEYS[2], job, -1)
  if type(left) == 'number' and left > 0 then
    redis.pcall('HSET', KEYS[5], job, 'purged')
    redis.pcall('HINCRBY', KEYS[3], 'submitted', -1)
  else
    redis.pcall('HDEL', KEYS[2], job)
    redis.pcall('HDEL', KEYS[5], job)
    local known = redis.pcall('HDEL', KEYS[1], job) == 1
    redis.pcall('HINCRBY', KEYS[3], known and 'purged' or 'unrecorded', 1)
  end
  redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', 100000, '*', 'job', job, 'event', 'ended', 'queue', ARGV[1],
    'unit', '', 'host', '', 'at', at, 'detail', 'purged')
end
"""

#: ARGV[2]: how many at most. Takes messages out of one list, oldest first, and returns how many those were.
PURGE = (
    _CLOSE
    + """
local removed = 0
while removed < tonumber(ARGV[2]) do
  local text = redis.call('RPOP', KEYS[6])
  if not text then break end
  removed = removed + 1
  close(identify(text))
end
return removed
"""
)

#: ARGV[2]: jobs as JSON. Takes their messages out of the lists, and returns how many those were.
WITHDRAW = (
    _CLOSE
    + """
local removed, wanted = 0, {}
for _, job in ipairs(cjson.decode(ARGV[2])) do wanted[job] = true end
for i = 6, #KEYS do
  for _, text in ipairs(redis.call('LRANGE', KEYS[i], 0, -1)) do
    local job = identify(text)
    if job and wanted[job] and redis.call('LREM', KEYS[i], 1, text) == 1 then
      removed = removed + 1
      close(job)
    end
  end
end
return removed
"""
)


@dataclass(frozen=True)
class Delivery:
    """A message in a unit's hands: its job, that job's task, and the queue that it was taken from."""

    job: str
    task: str
    queue: str


@dataclass(frozen=True)
class Ending:
    """How a delivery ends: `early` is acknowledged and begins, `retried` goes on as another message of the same job.
    `seconds` that it ran, None when it did not run."""

    outcome: Outcome
    detail: str = ""
    seconds: float | None = None


def identify(message: Any) -> tuple[str, str] | None:
    """Return job and task of a message as kombu puts it, None when it is no job. The script TAKE does the same."""
    headers = message.get("headers")
    if not isinstance(headers, dict) or not isinstance(headers.get("task"), str):
        return None
    properties = message.get("properties") or {}
    names = (headers.get("id"), properties.get("correlation_id"), properties.get("delivery_tag"))
    job = next((name for name in names if isinstance(name, str) and name), None)
    return None if job is None else (job, headers["task"])


def submission(prefix: str, queue: str, key: str, message: dict[str, Any]) -> list[tuple[Any, ...]] | None:
    """Return the commands that put a message into its list and record its job, None when it is no job.

    To be given to kombu's client: that puts the prefix before the keys of LPUSH and HSET, and before no others.
    """
    found = identify(message)
    if found is None:
        return None
    job, task = found
    text = dumps(message)
    at = round(time.time(), 3)
    minute = f"{prefix}{MINUTE}{int(at // 60)}"
    kept = f', "message": {text}' if len(text.encode()) <= MAX_MESSAGE_BYTES else ""
    entry = f'{{"at": {at}, "queue": {json.dumps(queue)}, "task": {json.dumps(task)}{kept}}}'
    retries = (message.get("headers") or {}).get("retries")
    detail = f"retry {retries}" if retries else ""
    # The push comes last: Redis names the first command that it refuses, and errors are logged.
    return [
        ("HINCRBY", prefix + TOTALS, "submitted", 1),
        ("HINCRBY", prefix + COPIES, job, 1),
        ("HINCRBY", minute, f"{queue}|submitted", 1),
        ("EXPIRE", minute, MINUTE_SECONDS),
        event(prefix, "submitted", job=job, queue=queue, at=at, detail=detail),
        ("HSET", OPEN, job, entry),
        ("LPUSH", key, text),
    ]


def event(
    prefix: str, name: Event, *, job: str, queue: str, at: float, unit: str = "", host: str = "", detail: str = ""
) -> tuple[Any, ...]:
    """Return the command that notes what happened to a job."""
    return (
        "XADD", prefix + EVENTS, "MAXLEN", "~", KEEP_EVENTS, "*",
        "job", job, "event", name, "queue", queue, "unit", unit, "host", host, "at", at, "detail", detail,
    )  # fmt: skip


def settle(
    channel: Any, tag: str, delivery: Delivery, ending: Ending, *, unit: str, host: str, started: float | None = None
) -> None:
    """Acknowledge a delivery and note how it ended, in one step. `started`: when, if that is not told yet."""
    prefix = channel.global_keyprefix
    names = (
        channel.unacked_key, channel.unacked_index_key, CLAIMS, EARLY, OPEN, COPIES, TOTALS, EVENTS, OUTCOMES,
    )  # fmt: skip
    values = (
        tag, ending.outcome, delivery.job, delivery.task, delivery.queue, unit, host,
        "" if ending.seconds is None else round(ending.seconds, 3), started or "", ending.detail or ending.outcome,
        prefix + MINUTE,
    )  # fmt: skip
    with channel.conn_or_acquire() as client:
        client.execute_command("EVAL", SETTLE, len(names), *(prefix + name for name in names), *values)


def purge(client: Any, prefix: str, queue: str, lists: Sequence[str], *, chunk: int = 500) -> int:
    """Remove all messages of these lists of a queue; their jobs end as purged. Return how many."""
    removed = 0
    for name in lists:
        count = chunk
        while count == chunk:
            count = _close(client, prefix, PURGE, [name], queue, chunk)
            removed += count
    return removed


def withdraw(client: Any, prefix: str, queue: str, lists: Sequence[str], jobs: Sequence[str]) -> int:
    """Remove the messages of some jobs that nobody has taken; they end as purged. Return how many."""
    return _close(client, prefix, WITHDRAW, lists, queue, json.dumps([*jobs]))


def _close(client: Any, prefix: str, script: str, lists: Sequence[str], *values: Any) -> int:
    keys = [prefix + name for name in (OPEN, COPIES, TOTALS, EVENTS, OUTCOMES, *lists)]
    return int(client.execute_command("EVAL", script, len(keys), *keys, *values))
