"""What one unit's main process has taken from the queues and has not settled, over any number of connections.

Kombu ties a delivery to the channel it came by, and gives all back when that closes. Here a delivery belongs to the
process: it goes on through a lost connection, and what cannot be told to Redis now is owed until the next connection.
One object for each process that takes jobs; children that were forked from it take none.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from celery.utils.nodenames import worker_direct
from redis.exceptions import RedisError, ResponseError

from fleetctl.worker import claims, ledger
from fleetctl.worker.claims import Claim, Death, Outcome
from fleetctl.worker.ledger import Delivery, Ending

log = logging.getLogger(__name__)

#: A full Redis refuses ZADD, and lets a script go on whose first write it lets (TAKE relies on that too).
_RENEW = """
redis.call('ZREM', KEYS[1], '')
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[i]) end
"""

Act = Callable[[Any], None]  # what is done to a delivery, over whichever channel there is
_AWAY = (RedisError, OSError)


class Deliveries(OrderedDict[str, Any]):
    """Kombu's record of deliveries by tag, with the mark that it wants there."""

    restored = False


@dataclass
class Tally:
    """What this process has done so far; times are seconds since the epoch."""

    since: float = field(default_factory=time.time)
    received: int = 0
    done: int = 0
    failed: int = 0
    last_received: float | None = None
    last_finished: float | None = None


class Custody:
    """The deliveries in the hands of this process: `jobs` by tag, what they are `about`, and what is `owed` to Redis.

    `endings` are told before an acknowledgement, `started` (job and time, by tag) is told to Redis with the next word.
    """

    def __init__(self, unit: str, host: str, machine: str, *, pool: str = "", node: str = "") -> None:
        self.unit = unit
        self.host = host
        self.pool = pool or unit.rpartition("-")[0]
        self.node = node or f"{unit}@{host}"  # in Celery
        self.machine = machine
        self.boot = uuid.uuid4().hex
        self.pid = os.getpid()
        self.jobs: dict[str, str] = {}
        self.owed: dict[str, Act] = {}
        self.delivered = Deliveries()
        self.dirty: set[str] = set()
        self.channel: Any = None
        self.asked_at = 0.0  # names the request for a job that has no answer yet
        self.about: dict[str, Delivery] = {}
        self.endings: dict[str, Ending] = {}
        self.started: dict[str, tuple[str, float]] = {}
        self.is_drained = False  # as Redis said last
        self.is_stopping = False
        self.tally = Tally()

    @property
    def template(self) -> dict[str, str]:
        """Return the parts of a claim that are the same for every job."""
        return {"unit": self.unit, "host": self.host, "machine": self.machine, "boot": self.boot}

    def ask(self) -> float:
        """Return the time for a new request, different from that of any before."""
        self.asked_at = max(round(time.time(), 3), round(self.asked_at + 0.001, 3))
        return self.asked_at

    @property
    def direct_queue(self) -> str:
        """Return the queue that leads to this unit alone."""
        return str(worker_direct(self.node).name)

    @property
    def drain_keys(self) -> tuple[str, str, str]:
        """Return the names under which this unit may be drained."""
        return (f"host:{self.host}", f"pool:{self.pool}", f"unit:{self.unit}@{self.host}")

    def take(self, tag: str, job: str, *, task: str = "", queue: str = "") -> None:
        """Note a job that Redis has handed over."""
        self.jobs[tag] = job
        self.about[tag] = Delivery(job, task, queue)
        self.tally.received += 1
        self.tally.last_received = time.time()

    def is_ours(self, claim: Claim) -> bool:
        """Return whether this process holds the claim."""
        return claim.boot == self.boot

    def is_of_a_former_life(self, claim: Claim) -> bool:
        """Return whether the claim is of a main process of this unit that is no more."""
        mine = (self.unit, self.host, self.machine)  # copies of one disk may share the machine's id
        return (claim.unit, claim.host, claim.machine) == mine and claim.boot != self.boot

    def settle(self, tag: str, act: Act) -> None:
        """Do something final about a delivery, now or on the next connection."""
        channel = self.channel
        if channel is not None and not channel.closed:
            try:
                act(channel)
            except _AWAY as exc:
                log.warning("delivery %s is settled on the next connection: %s", tag, exc)
            else:
                self._forget(tag)
                return
        self.owed[tag] = act

    def acknowledge(self, tag: str) -> None:
        """Settle a delivery as its job's request has told; one that no request was made of has failed."""
        ending = self.endings.pop(tag, None) or Ending("failed", "not understood")
        if ending.outcome != "early":
            self.finish(tag, self.about[tag], ending)
        elif tag not in self.owed:  # else it has ended, and that is owed
            self.settle(tag, self._booking(tag, self.about[tag], ending))

    def finish(self, tag: str, delivery: Delivery, ending: Ending) -> None:
        """Settle a delivery whose job has ended, also one that was acknowledged before."""
        if ending.outcome in ("done", "failed"):
            self.tally.done += ending.outcome == "done"
            self.tally.failed += ending.outcome == "failed"
            self.tally.last_finished = time.time()
        self.settle(tag, self._booking(tag, delivery, ending))

    def _booking(self, tag: str, delivery: Delivery, ending: Ending) -> Act:
        def act(channel: Any) -> None:
            _, started = self.started.get(tag, (None, None))
            ledger.settle(channel, tag, delivery, ending, unit=self.unit, host=self.host, started=started)
            self.started.pop(tag, None)

        return act

    def settle_owed(self, channel: Any) -> None:
        """Do what earlier connections left undone; raises the connection's errors."""
        for tag, act in list(self.owed.items()):
            try:
                act(channel)
            except ResponseError as exc:  # Redis is full: the others may go all the same
                log.warning("delivery %s is settled later: %s", tag, exc)
            else:
                self._forget(tag)

    def give_back(self, channel: Any, tag: str, *, death: Death | None = None, is_last: bool = False) -> Outcome | None:
        """Put a job of ours back into its queue, or with its third death into quarantine."""
        _, started = self.started.get(tag, (None, None))
        outcome = claims.give_back(channel, tag, is_theirs=self.is_ours, death=death, is_last=is_last, started=started)
        self.started.pop(tag, None)
        return outcome

    def finish_asking(self) -> None:
        """Hear the answer to the last request for a job, so that none is on its way when no more are wanted."""
        channel = self.channel
        if channel is not None and channel._in_poll:
            with contextlib.suppress(Empty, *_AWAY):
                channel._brpop_read()

    def give_back_all(self, channel: Any, *, but: Collection[str] = ()) -> int:
        """Give back what is held and not settled, except these deliveries; return how many that were."""
        tags = [tag for tag in self.jobs if tag not in self.owed and tag not in but]
        for tag in reversed(tags):  # the first taken is put first in line
            self.give_back(channel, tag)
            self._forget(tag)
        return len(tags)

    def give_back_lost(self, channel: Any) -> None:
        """Give back what Redis handed over and this process never saw, its connection being cut in between."""
        for tag, claim in claims.held(channel).items():
            if self.is_ours(claim) and tag not in self.jobs and claim.at != self.asked_at:
                self.give_back(channel, tag)
                log.warning("job %s was handed over by a connection that was cut: given back", claim.job)

    def recover(self, channel: Any) -> dict[Outcome, list[Claim]]:
        """Give back what an earlier main process of this unit held when it died."""
        death = claims.died("unit", unit=self.unit, host=self.host, detail="the unit's main process ended")
        return claims.rescue(
            channel, is_theirs=self.is_of_a_former_life, death=death, is_spared=was_told_to_stop(channel)
        )

    def note_stop(self, channel: Any) -> None:
        """Say that this process was told to stop: jobs that outlast its stop timeout did not cause its end."""
        with contextlib.suppress(*_AWAY), channel.conn_or_acquire() as client:
            key = channel.global_keyprefix + claims.stopped_key(self.boot)
            client.execute_command("SET", key, 1, "EX", claims.DEATHS_SECONDS)

    def renew(self, channel: Any) -> None:
        """Tell Redis that what is held is still held: the visibility timeout is for holders that went silent."""
        if tags := [tag for tag in self.jobs if tag not in self.owed]:
            key = channel.global_keyprefix + channel.unacked_index_key
            try:
                with channel.conn_or_acquire() as client:
                    client.execute_command("EVAL", _RENEW, 1, key, time.time(), *tags)
            except ResponseError as exc:  # full, for one: no reason to end
                log.warning("could not renew the hold on %d jobs: %s", len(tags), exc)

    def _forget(self, tag: str) -> None:
        self.owed.pop(tag, None)
        self.about.pop(tag, None)
        if self.jobs.pop(tag, None) is not None:  # else it was acknowledged before
            self.dirty.add(tag)


_here: Custody | None = None


def begin(unit: str, host: str, *, pool: str = "", node: str = "") -> Custody:
    """Make this process one that takes jobs as a unit."""
    global _here
    _here = Custody(unit, host, machine_id(), pool=pool, node=node)
    return _here


def was_told_to_stop(channel: Any) -> Callable[[Claim], bool]:
    """Return who tells whether a claim's holder had been told to stop before it ended."""

    def is_spared(claim: Claim) -> bool:
        with channel.conn_or_acquire() as client:
            key = channel.global_keyprefix + claims.stopped_key(claim.boot)
            return bool(client.execute_command("EXISTS", key))

    return is_spared


def here() -> Custody | None:
    """Return this process's custody; None in every other process, its children included."""
    return _here if _here is not None and _here.pid == os.getpid() else None


def machine_id(path: Path = Path("/etc/machine-id")) -> str:
    """Return what tells this machine from all others, also from an earlier one of the same name."""
    try:
        return path.read_text().strip() or socket.gethostname()
    except OSError:
        return socket.gethostname()
