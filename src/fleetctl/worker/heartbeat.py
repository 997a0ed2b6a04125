"""What a unit says of itself every second, from its event loop: a unit whose loop hangs falls silent.

    fleet:units     hash: unit@host -> heartbeat; removed when the unit stops well

While the loop rests for a good reason, a thread speaks for it: during a job of the solo pool, which runs in it, and
when the unit waits for its last jobs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from celery.concurrency import solo
from celery.worker import state
from redis.exceptions import RedisError

from fleetctl.worker import drains, ledger, waiting
from fleetctl.worker.custody import Custody

UNITS = "fleet:units"
SECONDS = 1.0
SCHEDULED = 1000  # ids in a heartbeat
_JOBS = 1000  # starts told at once

#: KEYS: units, drains, events, totals. ARGV: unit@host, its heartbeat without the time, three names of drains, then
#: events as JSON lists of fields. Returns whether the unit is drained. The first write is a deletion: a full Redis lets
#: the others go after it. The time is Redis' own.
BEAT = """
local now = redis.call('TIME')
local at = now[1] .. '.' .. string.format('%03d', math.floor(now[2] / 1000))
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], '{"at": ' .. at .. ', ' .. string.sub(ARGV[2], 2))
redis.pcall('HSETNX', KEYS[4], 'since', at)
for i = 6, #ARGV do
  redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', 100000, '*', unpack(cjson.decode(ARGV[i])))
end
for _, drain in ipairs(redis.call('HMGET', KEYS[2], ARGV[3], ARGV[4], ARGV[5])) do
  if drain then return 1 end
end
return 0
"""

log = logging.getLogger(__name__)


class Heart:
    """The heartbeat of one unit, over all its connections."""

    def __init__(self, c: Any, here: Custody) -> None:
        self._c = c
        self._here = here
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat now, and every second while this connection's event loop turns."""
        self.beat()
        timer = self._c.hub or self._c.timer
        timer.call_repeatedly(SECONDS, self.turn)
        if isinstance(self._c.pool, solo.TaskPool):
            self.stand_in()

    def turn(self) -> None:
        """Beat, and when the unit is drained give back what has not begun."""
        self.beat()
        if self._here.is_drained and not self._here.is_stopping:
            count = waiting.give_back(self._c, self._here)
            if count:
                self.beat()
                log.info("drained: gave back %d jobs that had not begun", count)

    def beat(self) -> None:
        """Tell Redis how this unit is; what it cannot be told now is told with the next beat."""
        here = self._here
        channel = here.channel
        with self._lock:
            if self._over.is_set() or channel is None or channel.closed:
                return
            started, here.started = here.started, {}
            prefix = channel.global_keyprefix
            keys = [prefix + name for name in (UNITS, drains.DRAINS, ledger.EVENTS, ledger.TOTALS)]
            told = [self._starting(tag, job, at) for tag, (job, at) in list(started.items())[:_JOBS]]
            content = json.dumps(self.content())
            try:
                with channel.conn_or_acquire() as client:
                    drained = client.execute_command(
                        "EVAL", BEAT, len(keys), *keys, _name(here), content, *here.drain_keys, *told
                    )
            except (RedisError, OSError) as exc:
                here.started = {**started, **here.started}
                log.debug("no heartbeat: %s", exc)
            else:
                here.is_drained = bool(drained)

    def content(self) -> dict[str, Any]:
        """Return the heartbeat, without the time that Redis adds."""
        c, here, tally = self._c, self._here, self._here.tally
        running = [request for request in _copy(state.active_requests) if request.time_start is not None]
        scheduled = _copy(vars(state)["scheduled_requests"])
        held = sum(request.message.delivery_tag in here.jobs for request in running)
        slots = getattr(c.controller, "max_concurrency", None) or c.pool.num_processes
        processes = getattr(getattr(c.pool, "_pool", None), "_pool", None)
        return {
            "unit": here.unit, "host": here.host, "pool": here.pool, "node": here.node,
            "machine": here.machine, "boot": here.boot, "pid": os.getpid(), "since": round(tally.since, 3),
            "queues": sorted(c.app.amqp.queues.consume_from), "slots": slots, "busy": len(running),
            "jobs": [self._job(request) for request in running],
            "reserved": max(0, len(here.jobs) - held - len(scheduled)), "scheduled": len(scheduled),
            "scheduled_jobs": [request.id for request in scheduled[:SCHEDULED]],
            "children": slots if processes is None else len(processes),
            "is_draining": here.is_drained or here.is_stopping or _is_told_to_stop(),
            "received": tally.received, "done": tally.done, "failed": tally.failed,
            "last_received": tally.last_received, "last_finished": tally.last_finished, "version": _version(),
        }  # fmt: skip

    def stand_in(self) -> None:
        """Have a thread beat while the loop rests: in a job of its own, or in waiting for the last jobs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._stand_in, name="heartbeat", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Beat no more, and take this unit from the list."""
        with self._lock:
            self._over.set()
            channel = self._here.channel
            if channel is None or channel.closed:
                return
            try:
                with channel.conn_or_acquire() as client:
                    client.execute_command("HDEL", UNITS, _name(self._here))
            except (RedisError, OSError) as exc:
                log.warning("this unit stays on the list of units: %s", exc)

    def _stand_in(self) -> None:
        while not self._over.wait(SECONDS):
            if self._here.is_stopping or state.active_requests:
                self.beat()

    def _job(self, request: Any) -> dict[str, Any]:
        delivery = getattr(request, "_delivery", None) or self._here.about.get(request.message.delivery_tag)
        queue = delivery.queue if delivery else ""
        return {"id": request.id, "task": request.type, "queue": queue, "started": round(request.time_start, 3)}

    def _starting(self, tag: str, job: str, at: float) -> str:
        here = self._here
        delivery = here.about.get(tag)
        told = ledger.event("", "started", job=job, queue=delivery.queue if delivery else "", at=at,
                            unit=here.unit, host=here.host)  # fmt: skip
        return json.dumps([str(word) for word in told[6:]])


def _name(here: Custody) -> str:
    return f"{here.unit}@{here.host}"


def _copy(requests: Any) -> list[Any]:
    for _ in range(10):
        try:
            return list(requests)
        except RuntimeError:  # it was changed meanwhile, by another thread
            continue
    return []


def _is_told_to_stop() -> bool:
    told: Any = state.should_stop  # an exit status, 0 for one
    return told is not None and told is not False


def _version() -> str:
    try:
        return version("fleetctl")
    except PackageNotFoundError:
        return ""
