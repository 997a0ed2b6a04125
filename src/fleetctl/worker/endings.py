"""How jobs end: told to custody before they are acknowledged, so that the books are settled in the same step.

A job that is acknowledged when it begins ends later, when it ends: then a settlement of its own is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]  # its stubs lack it
from billiard.exceptions import Terminated
from celery.exceptions import Ignore, Reject, Retry

from fleetctl.worker import custody
from fleetctl.worker.ledger import Delivery, Ending, Outcome


class Told:
    """Mixed into a task's class of requests: tells when its job starts and how it ends."""

    _ending: Ending | None = None
    _delivery: Delivery | None = None  # of a job that is acknowledged, and has not ended
    _is_over = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have the class that Celery makes for each task tell of success: what it does then, it does alone."""
        super().__init_subclass__(**kwargs)
        if own := cls.__dict__.get("on_success"):
            cls.on_success = _telling(own)  # type: ignore[attr-defined]  # as in Celery's class

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Handle the start of the job."""
        request: Any = self
        if here := custody.here():
            started = time.time() - (time.monotonic() - time_accepted)
            here.started[request.message.delivery_tag] = (request.id, round(started, 3))
        stock: Any = super()
        stock.on_accepted(pid, time_accepted)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Handle the end of a job that did not succeed."""
        exc = exc_info.exception
        self._say(*_outcome(exc.exc if isinstance(exc, ExceptionWithTraceback) else exc))
        stock: Any = super()
        try:
            return stock.on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        finally:
            self._finish()

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Handle a time limit; after the hard one the job has ended."""
        if not soft:
            self._say("failed", f"time limit of {timeout:g} s")
        stock: Any = super()
        try:
            stock.on_timeout(soft, timeout)
        finally:
            if not soft:
                self._finish()

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        self._say("revoked", reason)
        stock: Any = super()
        try:
            stock._announce_revoked(reason, terminated, signum, expired)
        finally:
            self._finish()

    def acknowledge(self) -> None:
        """Acknowledge the job: for good, or because it begins."""
        request: Any = self
        here = custody.here()
        if here is not None and not request.acknowledged:
            tag = request.message.delivery_tag
            ending = self._ending
            if ending is None and not request.task.acks_late:
                self._delivery = here.about.get(tag)
                ending = Ending("early")
            here.endings[tag] = ending or Ending("done")
        stock: Any = super()
        stock.acknowledge()

    def reject(self, requeue: bool = False) -> None:
        """Refuse the job: for good, or to have it delivered again."""
        request: Any = self
        here = custody.here()
        if here is not None and not request.acknowledged and not requeue:
            here.endings[request.message.delivery_tag] = self._ending or Ending("failed", "rejected")
        stock: Any = super()
        stock.reject(requeue=requeue)

    def _say(self, outcome: Outcome, detail: str = "") -> None:
        if self._ending is None:  # what was said first: a job at its time limit is killed after that
            began = getattr(self, "time_start", None)
            self._ending = Ending(outcome, detail, None if began is None else max(0.0, time.time() - began))

    def _finish(self) -> None:
        request: Any = self
        here = custody.here()
        if here is not None and self._delivery is not None and not self._is_over:
            self._is_over = True
            here.finish(request.message.delivery_tag, self._delivery, self._ending or Ending("failed"))


def _telling(own: Callable[..., Any]) -> Callable[..., Any]:
    def on_success(self: Any, failed__retval__runtime: Any, **kwargs: Any) -> Any:
        if not failed__retval__runtime[0]:
            self._say("done")
        try:
            return own(self, failed__retval__runtime, **kwargs)
        finally:
            self._finish()

    return on_success


def _outcome(exc: BaseException) -> tuple[Outcome, str]:
    if isinstance(exc, Retry):
        return "retried", ""
    if isinstance(exc, Ignore):
        return "done", "ignored"
    if isinstance(exc, Terminated):
        return "revoked", "terminated"
    # Never what the exception says: it may hold anything, a password too.
    return "failed", "rejected" if isinstance(exc, Reject) else type(exc).__name__
