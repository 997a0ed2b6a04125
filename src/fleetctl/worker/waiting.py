"""What a unit took and has not begun: jobs that wait for their time, or for a slot."""

from __future__ import annotations

import time
from typing import Any

from celery.worker import state

from fleetctl.worker.custody import Custody


def give_back(c: Any, here: Custody) -> int:
    """Give back what a drained unit took and has not begun: jobs that wait for their time, or for a slot.

    What was sent to this unit alone stays: it would come back at once.
    """
    count = 0
    waiting: Any = vars(state)["scheduled_requests"]
    for request in tuple(waiting):
        entry = request._eta_timer_entry
        is_due = request.eta is None or request.eta.timestamp() <= time.time()
        if entry is None or is_due or not _may_go(request, here):
            continue
        c.timer.cancel(entry)
        c.qos.decrement_eventually()
        _go(request, here)
        count += 1
    queued: Any = getattr(getattr(c.controller, "semaphore", None), "_waiting", ())
    for waiter in reversed(tuple(queued)):  # the first taken is put first in line
        _, arguments, _ = waiter
        if arguments and hasattr(arguments[0], "message") and _may_go(arguments[0], here):
            queued.remove(waiter)
            _go(arguments[0], here)
            count += 1
    return count


def _may_go(request: Any, here: Custody) -> bool:
    delivery = here.about.get(request.message.delivery_tag)
    return delivery is not None and delivery.queue != here.direct_queue


def _go(request: Any, here: Custody) -> None:
    tag = request.message.delivery_tag
    state.task_ready(request)
    here.settle(tag, lambda channel: here.give_back(channel, tag) and None)
