"""What waits in a queue, removed or moved to another; each message in one step, in its order and priority."""

from __future__ import annotations

from fleetctl.worker import ledger
from fleetctl.worker.client import PRIORITIES, SEPARATOR, Client, lists_of

_AT_ONCE = 200

#: KEYS: list, list to move to, open, events. ARGV: how many at most, queue that they come from, and go to. Moves the
#: oldest behind those that wait there already.
MOVE = """
local now = redis.call('TIME')
local at = now[1] .. '.' .. string.format('%03d', math.floor(now[2] / 1000))
local moved = 0
while moved < tonumber(ARGV[1]) do
  local text = redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')
  if not text then break end
  moved = moved + 1
  local ok, m = pcall(cjson.decode, text)
  local job = ok and type(m) == 'table' and type(m.headers) == 'table' and m.headers.id
  local entry = type(job) == 'string' and redis.pcall('HGET', KEYS[3], job)
  if type(entry) == 'string' then
    local head, tail = string.match(entry, '^({"at": [%d%.]+, "queue": )"[^"]*"(.*)$')
    if head then redis.pcall('HSET', KEYS[3], job, head .. cjson.encode(ARGV[3]) .. tail) end
    redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', 100000, '*', 'job', job, 'event', 'requeued', 'queue', ARGV[3],
      'unit', '', 'host', '', 'at', at, 'detail', 'moved from ' .. ARGV[2])
  end
end
return moved
"""


def purge(client: Client, prefix: str, queue: str) -> int:
    """Remove all that waits in a queue; return how many jobs. They end as purged."""
    return ledger.purge(client, prefix, queue, lists_of(queue))


def move(client: Client, prefix: str, source: str, target: str, count: int | None = None) -> int:
    """Move jobs, those that would be taken first, to another queue; return how many. `count` None: all that are there.

    ValueError where source and target are one.
    """
    if source == target:
        raise ValueError(f"{source} is the queue that they are in")
    moved = 0
    for priority in PRIORITIES:
        names = [f"{queue}{SEPARATOR}{priority}" if priority else queue for queue in (source, target)]
        keys = [prefix + name for name in (*names, ledger.OPEN, ledger.EVENTS)]
        left = int(client.llen(keys[0]))  # not what comes meanwhile
        while left > 0 and (count is None or moved < count):
            most = min(_AT_ONCE, left, _AT_ONCE if count is None else count - moved)
            done = int(client.execute_command("EVAL", MOVE, len(keys), *keys, most, source, target))
            moved += done
            left -= done
            if done < most:
                break
    return moved
