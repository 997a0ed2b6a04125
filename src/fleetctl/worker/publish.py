"""Submit many jobs in one go: the same messages as `apply_async` publishes, in pipelines of a thousand.

Celery's own message and routing, kombu's publish batch (kombu 5.7); only the subscription to each single result is left
out, which costs `apply_async` a round trip for each job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from kombu import Queue

from fleetctl.worker import ledger, settings

BATCH = 1000  # jobs


def program(broker: settings.Broker) -> Celery[Any]:
    """Return an app that publishes to a fleet; nothing connects yet."""
    app: Celery[Any] = Celery("fleetctl")
    settings.apply(app, broker, is_worker=False)
    return app


def submit(
    app: Celery[Any],
    name: str,
    ids: Sequence[str],
    *,
    queue: str | Queue,
    kwargs: Mapping[str, Any],
    expires_seconds: float | None = None,
) -> None:
    """Publish one job for each id to one queue; all or an error (some may then be out: delivery is uncertain)."""
    submit_each(app, name, dict.fromkeys(ids, queue), kwargs=kwargs, expires_seconds=expires_seconds)


def submit_each(
    app: Celery[Any],
    name: str,
    queues: Mapping[str, str | Queue],
    *,
    kwargs: Mapping[str, Any],
    expires_seconds: float | None = None,
    producer: Any = None,
) -> None:
    """Publish one job for each id to the queue that stands with it, as `submit` does. `producer`: else the app's."""
    amqp: Any = app.amqp  # its stubs lack create_task_message
    options = {} if expires_seconds is None else {"expiration": expires_seconds}
    with app.producer_or_acquire(producer) as ours, ours.batch(max_size=BATCH * ledger.COMMANDS):
        for job, queue in queues.items():
            target = amqp.queues[queue] if isinstance(queue, str) else queue
            message = amqp.create_task_message(
                job, name, (), dict(kwargs), expires=expires_seconds, ignore_result=False
            )
            amqp.send_task_message(ours, name, message, queue=target, serializer="json", **options)
