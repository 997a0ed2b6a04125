"""Submit many jobs in one go: the same messages as `apply_async` publishes, in pipelines of a thousand.

Celery's own message and routing, kombu's publish batch (kombu 5.7); only the subscription to each single result is left
out, which costs `apply_async` a round trip for each job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from kombu import Queue

BATCH = 1000


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
    amqp: Any = app.amqp  # its stubs lack create_task_message
    target = amqp.queues[queue] if isinstance(queue, str) else queue
    with app.producer_or_acquire() as producer, producer.batch(max_size=BATCH):
        for job in ids:
            message = amqp.create_task_message(
                job, name, (), dict(kwargs), expires=expires_seconds, ignore_result=False
            )
            options = {} if expires_seconds is None else {"expiration": expires_seconds}
            amqp.send_task_message(producer, name, message, queue=target, serializer="json", **options)
