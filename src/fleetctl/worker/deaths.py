"""A job whose process dies under it: noted, given back at once, and at its third death put into quarantine.

Celery's own ways are to reject, which repeats for ever, or to retry, which uses up the app's retries and waits. A job
killed at its time limit has failed and not died; one that its task rejects asked for it; neither counts here.
"""

from __future__ import annotations

import logging
from typing import Any

from billiard import einfo
from billiard.exceptions import WorkerLostError
from celery.utils.imports import symbol_by_name
from celery.worker import state

from fleetctl.worker import claims, custody, quarantine
from fleetctl.worker.endings import Told

log = logging.getLogger(__name__)


class Guarded(Told):
    """Mixed into a task's class of requests: counts deaths too, of tasks that are acknowledged late and rejected."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Handle the end of a job that did not succeed."""
        request: Any = self
        here = custody.here()
        reason = reason_of_death(request, exc_info)
        if here is None or reason is None or request._success_was_stored():
            stock: Any = super()
            return stock.on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        state.task_ready(request)
        if not state.should_terminate:  # else its process was ended with its unit: given back at the very end
            record(request, here, reason)
            request.acknowledged = True
            request.send_event("task-rejected", requeue=True)
        return None


def record(request: Any, here: custody.Custody, reason: str) -> None:
    """Give a job back with its death on record, now or on the next connection."""
    log.error("job %s[%s] died: %s", request.name, request.id, reason)
    death = claims.died("process", unit=here.unit, host=here.host, detail=reason)
    tag = request.message.delivery_tag

    def act(channel: Any) -> None:
        if here.give_back(channel, tag, death=death) == "quarantined":
            log.error("job %s[%s] is in quarantine", request.name, request.id)
            if request.store_errors:
                quarantine.mark(request.app, request.id)

    here.settle(tag, act)


def reason_of_death(request: Any, exc_info: Any) -> str | None:
    """Return what the job's process died of; None when it did not die, or when the task wants no second run."""
    task = request.task
    if request.acknowledged or not task.acks_late or not task.reject_on_worker_lost or task.retry_on_worker_lost:
        return None
    exc = exc_info.exception
    if isinstance(exc, einfo.ExceptionWithTraceback):  # type: ignore[attr-defined]  # its stubs lack it
        exc = exc.exc
    if isinstance(exc, SystemExit | KeyboardInterrupt):  # billiard tells of an exit before the process is gone
        # What a program says at its end may hold anything, a password too: only a number is kept.
        code = getattr(exc, "code", None)
        said = f" with exit status {code}" if isinstance(code, int) else ""
        return None if request._already_cancelled or request._already_revoked else f"process ended{said}"
    return str(exc) if isinstance(exc, WorkerLostError) else None


def guard(task: Any) -> None:
    """Give a task the guarded form of its own class of requests."""
    own = symbol_by_name(task.Request)
    if not issubclass(own, Guarded):
        task.Request = type(own.__name__, (Guarded, own), {"__module__": own.__module__})
