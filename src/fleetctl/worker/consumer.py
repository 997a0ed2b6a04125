"""Celery's consumer, where a lost connection to Redis interrupts nothing but the taking of new jobs.

Celery forgets on a lost connection all that has not started and frees the slots of what has, since with other brokers
every delivery comes again. Ours do not (custody.py), so nothing is forgotten: what waits for a slot or for its time
goes on waiting, what runs keeps its slot.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.worker import consumer, state
from celery.worker.consumer.tasks import Tasks

from fleetctl.worker import custody, deaths, quarantine
from fleetctl.worker.heartbeat import Heart

if TYPE_CHECKING:
    Stock: Any  # the stubs know nothing of what is extended here
    CLOSE: int
else:
    CLOSE, Stock = bootsteps.CLOSE, consumer.Consumer

DEATHS_SECONDS = 1.0  # between looks for processes that have died

log = logging.getLogger(__name__)


class Ledger(bootsteps.StartStopStep):
    """Joins the custody of this process to each new connection, speaks for it, and gives back at the end."""

    requires = (Tasks,)
    _heart: Heart | None = None

    def start(self, c: Any) -> None:
        """Settle what earlier connections and an earlier life of this unit left open."""
        here = custody.here()
        if here is None:
            return
        channel = c.task_consumer.channel
        here.settle_owed(channel)
        here.channel = channel
        found = here.recover(channel)
        for claim in found["quarantined"]:
            quarantine.mark(c.app, claim.job)
        if lives := sum(len(each) for each in found.values()):
            log.warning("gave back %d jobs of an earlier life of this unit", lives)
        here.renew(channel)
        here.give_back_lost(channel)
        if c.hub is not None and hasattr(getattr(c.pool, "_pool", None), "maintain_pool"):
            # billiard holds both ends of what would tell of a dead process; Celery looks every 5 s only
            c.hub.call_repeatedly(DEATHS_SECONDS, c.pool.maintain_pool)
        waiting: Any = vars(state)["scheduled_requests"]
        c.qos.increment_eventually(len(waiting))  # jobs that wait for their time take no slot
        self._heart = self._heart or Heart(c, here)
        self._heart.start()

    def stop(self, c: Any) -> None:
        """At the end, and not on a lost connection: give back at once what was taken and cannot start any more."""
        here = custody.here()
        if here is None or here.channel is None or c.blueprint.state != CLOSE:
            return
        c.task_consumer.cancel()
        here.is_stopping = True
        if self._heart is not None:
            self._heart.stand_in()
        here.finish_asking()
        settle_what_has_ended(c.hub)
        here.note_stop(here.channel)
        count = here.give_back_all(here.channel, but=c.under_way)
        log.info("gave back %d jobs that had not started", count)

    def shutdown(self, c: Any) -> None:
        """When no job runs any more: settle what is owed, and give back what was cut short.

        Waits for Redis when it is away, as long as the unit may take to stop: else jobs that are done would run again.
        """
        here = custody.here()
        if here is None:
            return
        if here.jobs or here.owed:
            if here.channel is None or here.channel.closed:
                here.channel = c.app.connection_for_read().ensure_connection(max_retries=None).default_channel
            here.settle_owed(here.channel)
            count = here.give_back_all(here.channel)
            if count:
                log.warning("gave back %d jobs that were cut short", count)
        if self._heart is not None:
            self._heart.end()


class Consumer(Stock):  # type: ignore[misc]
    """Celery's consumer for a unit."""

    class Blueprint(Stock.Blueprint):  # type: ignore[misc]
        """Celery's steps and the ledger's."""

        default_steps = [*Stock.Blueprint.default_steps, Ledger]  # noqa: RUF012  as in Celery

    _lost = False
    under_way: Collection[str] = ()  # at the end: tags of the jobs that a process or thread has, or will still run

    def update_strategies(self) -> None:
        """Have every task's deaths counted."""
        for task in self.app.tasks.values():
            deaths.guard(task)
        super().update_strategies()

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Note that there is no connection."""
        self._lost = True
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Note that the connection is lost."""
        self._lost = True
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """Forget nothing when the connection is lost; at the end, only what no process has been given."""
        was_lost, self._lost = self._lost, False
        if custody.here() is None:
            super().on_close()
        elif was_lost:
            finish_writes(self.pool)
        else:
            given = given_to_processes(self.pool)
            requests: Any = vars(state)["requests"]
            tags = {job: request.message.delivery_tag for job, request in requests.items()}
            threads = {request.id for request in state.reserved_requests}
            super().on_close()
            for job in given:  # forgotten with the others; but a process has them and will run them
                job._cache[job._job] = job
            cache = getattr(getattr(self.pool, "_pool", None), "_cache", None)
            jobs = threads if cache is None else {job.correlation_id for job in cache.values()}
            self.under_way = {tags[job] for job in jobs if job in tags}


def settle_what_has_ended(hub: Any) -> None:
    """Do what the event loop was left with: the acknowledgements of jobs that ended in its last turn."""
    for settle in hub._pop_ready() if hub is not None else ():
        try:
            settle()
        except Exception:
            log.exception("a job that has ended is settled later")


def given_to_processes(pool: Any) -> list[Any]:
    """Return the pool's jobs that were written to a process which has not yet said that it runs them."""
    cache = getattr(getattr(pool, "_pool", None), "_cache", {})
    return [job for job in cache.values() if not job._accepted and job._write_to is not None]


def finish_writes(pool: Any) -> None:
    """Complete what is half written to a process: with the connection goes the event loop that would have done it."""
    processes: Any = getattr(pool, "_pool", None)
    writers = list(getattr(processes, "_active_writers", ()))
    for job in list(processes._cache.values()) if writers else ():
        writer = job._writer() if getattr(job, "_writer", None) else None
        if writer in writers and job._write_to is not None:
            processes._flush_writer(job._write_to, writer)
