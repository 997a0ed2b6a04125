"""Orphans: jobs that are open and nowhere, such as one that was acknowledged when it began and whose unit was killed.

Whether a job is somewhere is told by one script, of one moment; the same script puts it back, so that none runs twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from celery import states

from fleetctl.worker import ledger
from fleetctl.worker.client import SEPARATOR, Client, lists_of, strays
from fleetctl.worker.survey import FRESH_SECONDS

_AT_ONCE = 100
_STEPS = (0, 3, 6, 9)  # kombu's priorities, where the app has not set others

#: ARGV: prefix, jobs as JSON, lists as JSON, how old a heartbeat of a live unit may be. Leaves `found`: those of the
#: jobs that are in a list, in a unit's hands or in quarantine. A job of a dead unit that was acknowledged is not.
_FIND = """
local p = ARGV[1]
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local wanted, found = {}, {}
for _, job in ipairs(cjson.decode(ARGV[2])) do wanted[job] = true end
local function read(text)
  local ok, value = pcall(cjson.decode, text)
  return ok and type(value) == 'table' and value or {}
end
local function note(job) if type(job) == 'string' and wanted[job] then found[job] = true end end
local function scan(text, inner)
  for job in pairs(wanted) do
    if not found[job] and string.find(text, job, 1, true) then
      local m = read(text)
      if inner then m = type(m[1]) == 'table' and m[1] or {} end
      local p = type(m.properties) == 'table' and m.properties or {}
      if type(m.headers) == 'table' then note(m.headers.id) end
      note(p.correlation_id)
    end
  end
end
for job in pairs(wanted) do
  if redis.call('HEXISTS', p .. 'fleet:quarantine', job) == 1 then found[job] = true end
end
for _, text in ipairs(redis.call('HVALS', p .. 'fleet:claims')) do note(read(text).job) end
for _, text in ipairs(redis.call('HVALS', p .. 'unacked')) do scan(text, true) end
local boots = {}
for _, text in ipairs(redis.call('HVALS', p .. 'fleet:units')) do
  local unit = read(text)
  if unit.boot and now - (unit.at or 0) < tonumber(ARGV[4]) then boots[unit.boot] = true end
end
local early = redis.call('HGETALL', p .. 'fleet:early')
for i = 2, #early, 2 do
  local claim = read(early[i])
  if boots[claim.boot] then note(claim.job) end
end
for _, name in ipairs(cjson.decode(ARGV[3])) do
  local start = 0
  while true do
    local page = redis.call('LRANGE', p .. name, start, start + 999)
    for _, text in ipairs(page) do scan(text, false) end
    if #page < 1000 then break end
    start = start + 1000
  end
end
"""

_TELL = """
local answer = {}
for job in pairs(found) do answer[#answer + 1] = job end
return answer
"""

#: ARGV[5]: as JSON, of each job its list, queue and message to put back, or how it has ended.
_MEND = """
local done = {}
for job, wish in pairs(cjson.decode(ARGV[5])) do
  if not found[job] and redis.call('HEXISTS', p .. 'fleet:open', job) == 1 then
    local event, detail = 'requeued', ''
    if wish.message then
      redis.call('RPUSH', p .. wish.list, wish.message)
      redis.call('HSET', p .. 'fleet:copies', job, 1)
    else
      event, detail = 'ended', wish.outcome .. ', by its result'
      redis.call('HDEL', p .. 'fleet:copies', job)
      redis.call('HDEL', p .. 'fleet:open', job)
      redis.call('HINCRBY', p .. 'fleet:totals', wish.outcome, 1)
    end
    redis.call('HDEL', p .. 'fleet:outcomes', job)
    for i = 1, #early, 2 do
      if read(early[i + 1]).job == job then redis.call('HDEL', p .. 'fleet:early', early[i]) end
    end
    redis.call('XADD', p .. 'fleet:events', 'MAXLEN', '~', 100000, '*', 'job', job, 'event', event,
      'queue', wish.queue, 'unit', '', 'host', '', 'at', string.format('%.3f', now), 'detail', detail)
    done[#done + 1] = job
  end
end
return done
"""

_ENDED = {states.SUCCESS: "done", states.FAILURE: "failed", states.REVOKED: "revoked"}


def whereabouts(client: Client, prefix: str, jobs: Collection[str]) -> frozenset[str]:
    """Return those of these jobs that are in a queue, in a unit's hands or in quarantine."""
    found: set[bytes] = set()
    for part in _parts(sorted(jobs)):
        values = (prefix, json.dumps(part), json.dumps(_lists(client, prefix, part)), FRESH_SECONDS)
        found |= set(client.execute_command("EVAL_RO", _FIND + _TELL, 0, *values))
    return frozenset(job.decode() for job in found)


def requeue(client: Client, prefix: str, jobs: Sequence[str]) -> dict[str, list[str]]:
    """Put orphans back at the head of their queues, and return what became of each job.

    "ended": its result says so, and a release without these books acknowledged it: it is closed. "unknown": no orphan,
    or its message was not kept.
    """
    wanted = list(dict.fromkeys(jobs))
    requeued: list[str] = []
    ended: list[str] = []
    for part in _parts(wanted):
        wishes = _wishes(client, prefix, part)
        values = (prefix, json.dumps(part), json.dumps(_lists(client, prefix, part)), FRESH_SECONDS, json.dumps(wishes))
        done = {job.decode() for job in client.execute_command("EVAL", _FIND + _MEND, 0, *values)} if wishes else set()
        requeued += [job for job in part if job in done and "message" in wishes[job]]
        ended += [job for job in part if job in done and "message" not in wishes[job]]
    unknown = [job for job in wanted if job not in requeued and job not in ended]
    return {"requeued": requeued, "ended": ended, "unknown": unknown}


def entries(client: Client, prefix: str, jobs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the books have of these jobs, of those that are open."""
    wanted = list(jobs)
    texts = client.hmget(prefix + ledger.OPEN, wanted) if wanted else []
    return {job: json.loads(text) for job, text in zip(wanted, texts, strict=True) if text is not None}


def result_state(client: Client, prefix: str, job: str) -> str | None:
    """Return the state of a job's stored result, None when there is none, or none that can be read."""
    text = client.get(f"{prefix}celery-task-meta-{job}")
    try:
        return str(json.loads(text)["status"]) if text else None
    except (ValueError, KeyError, TypeError):
        return None


def _wishes(client: Client, prefix: str, jobs: Sequence[str]) -> dict[str, dict[str, Any]]:
    wishes: dict[str, dict[str, Any]] = {}
    for job, entry in entries(client, prefix, jobs).items():
        outcome = _ENDED.get(result_state(client, prefix, job) or "")
        if outcome:
            wishes[job] = {"queue": entry["queue"], "outcome": outcome}
        elif "message" in entry:
            wishes[job] = {"queue": entry["queue"], **_again(entry["queue"], entry["message"])}
    return wishes


def _again(queue: str, message: dict[str, Any]) -> dict[str, str]:
    """Return list and text of a message to be delivered again, marked as kombu marks it."""
    message.setdefault("headers", {})["redelivered"] = True
    message["properties"].setdefault("delivery_info", {})["redelivered"] = True
    priority = message["properties"].get("priority")
    step = max((at for at in _STEPS if at <= priority), default=0) if isinstance(priority, int) else 0
    return {"list": f"{queue}{SEPARATOR}{step}" if step else queue, "message": json.dumps(message)}


def _lists(client: Client, prefix: str, jobs: Sequence[str]) -> list[str]:
    queues: Mapping[str, Any] = strays(client, prefix)
    own = {entry["queue"] for entry in entries(client, prefix, jobs).values()}
    return [name for queue in sorted({*queues, *own}) for name in lists_of(queue)]


def _parts(jobs: Sequence[str]) -> list[list[str]]:
    return [list(jobs[start : start + _AT_ONCE]) for start in range(0, len(jobs), _AT_ONCE)]
