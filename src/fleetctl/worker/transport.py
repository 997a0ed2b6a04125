"""Kombu's Redis transport, where a job changes hands inside Redis: out of its queue and into the ledger in one step.

Kombu pops a job with BRPOP and notes it afterwards. A job whose unit dies in between is in no one's books, and so is
one that Redis pops for a host that is gone but still has a connection. Here a script pops it, notes it and claims it.
The script cannot wait for a job, so an idle unit has Redis wait before: BLMOVE of a list's last item onto its own place
changes nothing and returns when there is one (Redis 6.2). Other lists are looked at after each such wait.

Only a unit's main process takes jobs like this (custody.py); everywhere else this is kombu's transport, except that
what is submitted is recorded in the same step (ledger.py), and what settles an entry removes its claim too.
"""

from __future__ import annotations

import json
import logging
from queue import Empty
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from kombu.transport import redis
from kombu.utils.json import loads
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoPermissionError, ResponseError

from fleetctl.worker import claims, custody, drains, ledger

if TYPE_CHECKING:
    stock: Any  # the stubs know nothing of what is extended here
else:
    stock = redis

log = logging.getLogger(__name__)

REFUSED_SECONDS = 1.0  # before the next request to a Redis that refuses
IDLE_SECONDS = 0.25  # how long a job in a list that is not waited for may lie there though a slot is free

#: KEYS: unacked, its index, claims, drains, events, then lists in the order of preference. ARGV: time, a claim's
#: constant parts, the three names under which the unit may be drained, its direct queue, then the queue of each list.
#: A drained unit takes only from its direct queue, and is told so by 1. Nothing can fail after the pop: what is not a
#: message is returned without a note, to be told.
TAKE = """
local drained = false
for _, at in ipairs(redis.call('HMGET', KEYS[4], ARGV[3], ARGV[4], ARGV[5])) do drained = drained or at end
for i = 6, #KEYS do
  local queue = ARGV[i + 1]
  local text = (not drained or queue == ARGV[6]) and redis.call('RPOP', KEYS[i])
  if text then
    local ok, m = pcall(cjson.decode, text)
    local p = ok and type(m) == 'table' and m.properties
    if type(p) == 'table' and p.delivery_tag and type(p.delivery_info) == 'table' then
      local h = type(m.headers) == 'table' and m.headers or {}
      local claim = cjson.decode(ARGV[2])
      local function text_of(value, other)
        if type(value) == 'string' and value ~= '' then return value end
        return other
      end
      claim.job = text_of(h.id, text_of(p.correlation_id, p.delivery_tag))
      claim.task = text_of(h.task, '')
      claim.eta = text_of(h.eta, nil)
      claim.queue = queue
      claim.at = tonumber(ARGV[1])
      local info = p.delivery_info
      redis.call('HSET', KEYS[1], p.delivery_tag,
        '[' .. text .. ',' .. cjson.encode(info.exchange) .. ',' .. cjson.encode(info.routing_key) .. ']')
      redis.call('ZADD', KEYS[2], ARGV[1], p.delivery_tag)
      redis.call('HSET', KEYS[3], p.delivery_tag, cjson.encode(claim))
      local now = redis.call('TIME')
      redis.pcall('XADD', KEYS[5], 'MAXLEN', '~', 100000, '*', 'job', claim.job, 'event', 'received', 'queue', queue,
        'unit', claim.unit, 'host', claim.host, 'at', string.format('%d.%03d', now[1], math.floor(now[2] / 1000)),
        'detail', '')
      return {queue, text, p.delivery_tag, claim.job, KEYS[i], claim.task}
    end
    return {queue, text}
  end
end
return drained and 1
"""


class QoS(stock.QoS):  # type: ignore[misc]
    """Deliveries: kombu's outside a unit; in one, the process's own, which outlive the channel."""

    def __init__(self, channel: Any, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._custody = custody.here()
        if self._custody is not None:  # what is held counts against the prefetch count of every later channel
            self._delivered = self._custody.delivered
            self._dirty = self._custody.dirty
            self._quick_ack = self._dirty.add
            self._quick_append = self._delivered.__setitem__

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivery; one that the script took is in the ledger already."""
        if self._custody is None or delivery_tag not in self._custody.jobs:
            super().append(message, delivery_tag)
            return
        if self._dirty:
            self._flush()
        self._quick_append(delivery_tag, message)

    def ack(self, delivery_tag: str) -> None:
        """Settle a job as its request has told, or as begun."""
        if self._custody is None or delivery_tag not in self._custody.jobs:
            super().ack(delivery_tag)
        else:
            self._custody.acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Settle a job as refused: dropped, or put at the end of its queue."""
        here = self._custody
        if here is None or delivery_tag not in here.jobs:
            super().reject(delivery_tag, requeue=requeue)
        elif requeue:
            here.settle(delivery_tag, lambda channel: here.give_back(channel, delivery_tag, is_last=True) and None)
        else:
            self.ack(delivery_tag)

    def remove(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Return a pipeline that removes a delivery from the entries, their index and the ledger."""
        return self._remove_from_indices(delivery_tag, pipe)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        return super()._remove_from_indices(delivery_tag, pipe).hdel(claims.CLAIMS, delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a delivery back: by its claim, and one that has none as kombu does."""
        if claims.give_back(self.channel, tag, is_theirs=lambda _: True, is_last=leftmost) is None:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Look after our own deliveries, then as kombu does for those whose holders went silent."""
        here = self._custody
        if here is not None:
            here.renew(self.channel)
            here.settle_owed(self.channel)
            here.give_back_lost(self.channel)
        super().restore_visible(start, num, interval)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Leave what a unit holds: its jobs run, whatever becomes of a channel (consumer.py gives back at the end)."""
        if self._custody is None:
            super().restore_unacked_once(stderr)
        else:
            self._on_collect.cancel()


class Channel(stock.Channel):  # type: ignore[misc]
    """A channel by which a unit takes jobs with the script, and all others as kombu does."""

    QoS = QoS
    _waits_for: str | None = None  # the list whose head the request waits for
    _is_idle = False
    _last_list: str | None = None
    _takes_unnoted = False
    _keeps_books = True
    _direct_queue = ""

    def create_publish_batch(self, max_size: int) -> Any:
        """Create a batch each of whose pipelines is one transaction: messages and their records go together."""
        batch = super().create_publish_batch(max_size)
        batch.pipeline.transaction = True
        return batch

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        commands = ledger.submission(self.global_keyprefix, queue, key, message) if self._keeps_books else None
        if commands is None:
            super()._put(queue, message, **kwargs)
            return
        if queue in self._expires:
            for priority in self.priority_steps:
                commands.append(("PEXPIRE", self._q_for_pri(queue, priority), self._expires[queue]))
        batch = kwargs.get("_publish_batch")
        if batch is not None:
            for command in commands:
                batch.add("execute_command", *command)
            return
        try:
            with self.conn_or_acquire() as client, client.pipeline() as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                pipe.execute()
        except NoPermissionError as exc:  # a Redis that was set up by an earlier release; nothing has been done
            log.warning("jobs are submitted without a record: %s", exc)
            self._keeps_books = False
            super()._put(queue, message, **kwargs)

    def _purge(self, queue: str) -> int:
        lists = [self._q_for_pri(queue, priority) for priority in self.priority_steps]
        with self.conn_or_acquire() as client:
            return ledger.purge(client, self.global_keyprefix, queue, lists)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from a queue; what needs no acknowledgement is not a job."""
        self._takes_unnoted = self._takes_unnoted or no_ack
        here = custody.here()
        if here is not None and queue == here.direct_queue:
            self._direct_queue = queue
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        here = custody.here()
        if here is None or self._takes_unnoted:
            super()._brpop_start(timeout)
            return
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        prefix = self.global_keyprefix
        lists = [(prefix + self._q_for_pri(queue, pri), queue) for pri in self.priority_steps for queue in queues]
        names = (self.unacked_key, self.unacked_index_key, claims.CLAIMS, drains.DRAINS, ledger.EVENTS)
        keys = [*(prefix + name for name in names), *(key for key, _ in lists)]
        connection = self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        commands: list[tuple[Any, ...]] = []
        self._waits_for = None
        if self._is_idle:
            self._waits_for = self._last_list if self._last_list in keys else lists[0][0]
            if here.is_drained:  # the others may hold jobs: to wait for one of those would return at once
                self._waits_for = prefix + self._q_for_pri(self._direct_queue, 0)
            commands.append(("BLMOVE", self._waits_for, self._waits_for, "RIGHT", "RIGHT", IDLE_SECONDS))
        constant = json.dumps(here.template)
        values = (here.ask(), constant, *here.drain_keys, self._direct_queue, *(queue for _, queue in lists))
        commands.append(("EVAL", TAKE, len(keys), *keys, *values))
        connection.send_packed_command(connection.pack_commands(commands))

    def _brpop_read(self, **options: Any) -> Any:
        here = custody.here()
        if here is None or self._takes_unnoted:
            return super()._brpop_read(**options)
        connection = self.client.connection
        try:
            taken = self._answer(connection)
            self._is_idle = not isinstance(taken, list)
            if not isinstance(taken, list):
                here.is_drained = taken is not None
                raise Empty
            queue, text, *noted = taken
            self._queue_cycle.rotate(queue.decode())
            raw = loads(text.decode())
            if noted:
                tag, job, key, task = (each.decode() for each in noted)
                here.take(tag, job, task=task, queue=queue.decode())
                self._last_list = key
                if not self._can_read(raw, tag):
                    raise Empty
            self.connection._deliver(raw, queue.decode())
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _can_read(self, raw: Any, tag: str) -> bool:
        """Tell whether a job's message can be decoded. One that cannot would end unit after unit: it dies instead."""
        here: Any = custody.here()
        try:
            self.Message(raw, channel=self)
        except Exception as exc:
            log.exception("delivery %s cannot be read", tag)
            detail = f"its message cannot be read: {type(exc).__name__}"
            death = claims.died("process", unit=here.unit, host=here.host, detail=detail)
            here.settle(tag, lambda channel: here.give_back(channel, tag, death=death) and None)
            return False
        return True

    def _answer(self, connection: Any) -> Any:
        is_refused = False
        try:
            if self._waits_for is not None:
                try:
                    connection.read_response()
                except ResponseError:  # Redis is full: it refuses to wait, and still hands jobs over
                    is_refused = True
            taken = connection.read_response()
        except ResponseError as exc:  # Redis may not write at all: to be tried again, as when it is away
            connection.disconnect()
            sleep(REFUSED_SECONDS)
            raise LostError(str(exc)) from exc
        except self.connection_errors:
            connection.disconnect()
            raise
        if is_refused and not isinstance(taken, list):
            sleep(REFUSED_SECONDS)
        return taken


class Transport(stock.Transport):  # type: ignore[misc]
    """The transport of everything that takes or gives back jobs."""

    Channel = Channel

    def _reject_inbound_message(self, raw_message: dict[str, Any]) -> None:
        # The answer to a request that was made while there was still a consumer.
        here, tag = custody.here(), raw_message["properties"]["delivery_tag"]
        if here is None or tag not in here.jobs:
            super()._reject_inbound_message(raw_message)
        else:
            here.settle(tag, lambda channel: here.give_back(channel, tag) and None)
