"""One look at all jobs that have not ended: in queues, in units' hands, waiting for their time, stranded.

One script that cannot write reads everything at one moment, so that every job is counted once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleetctl.worker import claims, drains
from fleetctl.worker.client import PRIORITIES, SEPARATOR, Client

FRESH_SECONDS = 15.0  # a heartbeat comes every second
MINUTES = 15
_INFO = (
    "used_memory", "maxmemory", "maxmemory_policy", "connected_clients", "maxclients", "blocked_clients", "aof_enabled",
    "aof_last_write_status", "rdb_last_bgsave_status", "loading", "uptime_in_seconds",
)  # fmt: skip

#: ARGV: prefix, queues as JSON, highest priority, separator, how many minutes. What is found in units' hands adds to
#: the queues. Of every list its length is told, and of its oldest message the entry of its job.
LOOK = """
local p = ARGV[1]
local now = redis.call('TIME')
local seen, names = {}, {}
local function add(name)
  if type(name) == 'string' and name ~= '' and not seen[name] then
    seen[name] = true
    names[#names + 1] = name
  end
end
local function read(text)
  local ok, found = pcall(cjson.decode, text)
  return ok and type(found) == 'table' and found or {}
end
for _, name in ipairs(cjson.decode(ARGV[2])) do add(name) end
local units = redis.call('HVALS', p .. 'fleet:units')
for _, text in ipairs(units) do
  local queues = read(text).queues
  if type(queues) == 'table' then for _, name in ipairs(queues) do add(name) end end
end
local claims, early = redis.call('HGETALL', p .. 'fleet:claims'), redis.call('HGETALL', p .. 'fleet:early')
local claimed = {}
for i = 1, #claims, 2 do
  claimed[claims[i]] = true
  add(read(claims[i + 1]).queue)
end
for i = 2, #early, 2 do add(read(early[i]).queue) end
local tags, loose = redis.call('HKEYS', p .. 'unacked'), {}
for _, tag in ipairs(tags) do
  if not claimed[tag] then
    local entry = redis.call('HGET', p .. 'unacked', tag)
    loose[#loose + 1] = entry
    add(read(entry)[3])
  end
end
local queues = {}
for _, name in ipairs(names) do
  local length, oldest = 0, false
  for priority = 0, tonumber(ARGV[3]) do
    local key = p .. name .. (priority > 0 and ARGV[4] .. priority or '')
    local count = redis.call('LLEN', key)
    if count > 0 then
      length = length + count
      local message = read(redis.call('LINDEX', key, -1))
      local id = type(message.headers) == 'table' and message.headers.id
      local entry = type(id) == 'string' and redis.call('HGET', p .. 'fleet:open', id)
      local at = entry and tonumber(string.match(entry, '^{"at": ([%d%.]+)'))
      if at and (not oldest or at < oldest) then oldest = at end
    end
  end
  queues[#queues + 1] = {name, length, oldest and string.format('%.3f', oldest)}
end
local minutes = {}
local minute = math.floor(now[1] / 60)
for i = 0, tonumber(ARGV[5]) - 1 do
  minutes[i + 1] = {minute - i, redis.call('HGETALL', p .. 'fleet:minute:' .. (minute - i))}
end
return {
  now, units, claims, early, loose, queues, minutes, redis.call('HGETALL', p .. 'fleet:drains'),
  redis.call('HGETALL', p .. 'fleet:totals'), redis.call('HLEN', p .. 'fleet:open'),
  redis.call('HLEN', p .. 'fleet:quarantine'), #tags
}
"""


@dataclass(frozen=True)
class Held:
    """A job in a unit's hands; `eta`: seconds since the epoch, None when it need not wait. `is_early`: acknowledged."""

    job: str
    task: str
    queue: str
    unit: str
    boot: str
    eta: float | None
    is_early: bool


@dataclass(frozen=True)
class Look:
    """What was seen at `now` (by Redis' clock). `loose`: queues of deliveries that nobody has claimed, with their jobs;
    `queues`: number of messages, and since when the first of them has been open (None: not on record)."""

    now: float
    units: tuple[dict[str, Any], ...]
    held: tuple[Held, ...]
    loose: tuple[tuple[str, str], ...]
    queues: Mapping[str, tuple[int, float | None]]
    minutes: Mapping[str, Mapping[str, float]]
    drains: Mapping[str, Mapping[str, Any]]
    totals: Mapping[str, float]
    open: int
    quarantined: int
    unacked: int
    redis: Mapping[str, Any] | None = None

    @property
    def live(self) -> dict[str, dict[str, Any]]:
        """Return the heartbeats of units that speak, by unit@host."""
        return {f"{unit['unit']}@{unit['host']}": unit for unit in self.units if self.now - unit["at"] < FRESH_SECONDS}


def take(client: Client, prefix: str, queues: Sequence[str] = (), *, others: Sequence[Mapping[str, Any]] = ()) -> Look:
    """Return one look, in one round trip. `others` are heartbeats of units that give none, by other means."""
    values = (prefix, json.dumps([*queues]), PRIORITIES[-1], SEPARATOR, MINUTES)
    with client.pipeline(transaction=False) as pipe:
        pipe.execute_command("EVAL_RO", LOOK, 0, *values)
        pipe.info()
        found, info = pipe.execute(raise_on_error=False)
    if isinstance(found, Exception):
        raise found
    seconds, units, taken, early, loose, lists, minutes, drained, totals, open_, quarantined, unacked = found
    entries = [json.loads(text) for text in loose]
    return Look(
        now=int(seconds[0]) + int(seconds[1]) / 1e6,
        units=(*(json.loads(text) for text in units), *(dict(other) for other in others)),
        held=(*_held(taken, is_early=False), *_held(early, is_early=True)),
        loose=tuple((str(key), str(message.get("headers", {}).get("id"))) for message, _, key in entries),
        queues={name.decode(): (length, float(oldest) if oldest else None) for name, length, oldest in lists},
        minutes={str(minute): _numbers(fields) for minute, fields in minutes if fields},
        drains=drains.listed(_pairs(drained)),
        totals=_numbers(totals),
        open=open_,
        quarantined=quarantined,
        unacked=unacked,
        redis=None if isinstance(info, Exception) else {name: info[name] for name in _INFO if name in info},
    )


def states(look: Look) -> Iterator[tuple[Held, str]]:
    """Return what is in units' hands, each with its state: "running", "scheduled", "reserved" or "stranded"."""
    live = look.live
    running = {name: {job["id"] for job in unit["jobs"]} for name, unit in live.items()}
    for held in look.held:
        unit = live.get(held.unit)
        if unit is None or unit.get("boot") not in (None, held.boot):
            yield held, "stranded"
        elif held.is_early or held.job in running[held.unit]:
            yield held, "running"
        else:
            yield held, "scheduled" if held.eta is not None and held.eta > look.now else "reserved"


def count(look: Look) -> dict[str, dict[str, Any]]:
    """Return of every queue how many jobs are where, each job once."""
    counts = Counter((queue, "stranded") for queue, _ in look.loose)
    counts.update((held.queue, state) for held, state in states(look))
    return {
        queue: {
            "queued": length,
            "oldest_at": oldest,
            **{state: counts[queue, state] for state in ("reserved", "scheduled", "running", "stranded")},
        }
        for queue, (length, oldest) in look.queues.items()
    }


def answer(look: Look) -> dict[str, Any]:
    """Return the look as the agent tells it."""
    totals = {name: int(value) for name, value in look.totals.items() if name != "since"}
    return {
        "now": look.now, "units": list(look.units), "queues": count(look), "drains": dict(look.drains),
        "minutes": dict(look.minutes), "totals": totals, "open": look.open, "quarantined": look.quarantined,
        "redis": look.redis, "unacked": look.unacked, "unclaimed": len(look.loose),
    }  # fmt: skip


def _held(flat: Sequence[bytes], *, is_early: bool) -> Iterator[Held]:
    for text in flat[1::2]:
        claim = claims.parse(text)
        eta = None if is_early else _epoch(json.loads(text).get("eta"))
        yield Held(claim.job, claim.task, claim.queue, f"{claim.unit}@{claim.host}", claim.boot, eta, is_early)


def _epoch(eta: Any) -> float | None:
    try:
        at = datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _numbers(flat: Sequence[bytes]) -> dict[str, float]:
    return {name.decode(): float(value) for name, value in _pairs(flat).items()}
