"""A job that does nothing, sent to each of some units at once: do they take it, and how soon?"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.utils.nodenames import worker_direct

from fleetctl.worker import heartbeat, jobs, ledger, publish, records
from fleetctl.worker.client import Client, lists_of

if TYPE_CHECKING:
    from celery import Celery

_POLL_SECONDS = 0.02


def ask(app: Celery[Any], client: Client, prefix: str, units: Sequence[str], seconds: float) -> dict[str, float | None]:
    """Return for each unit@host after how many seconds its job had ended, None where it had not within `seconds`.

    What is not taken is taken back, so that nothing is left for a unit that is away.
    """
    run = f"canary-{uuid.uuid4()}"
    nodes = _nodes(client, prefix, units)
    queues = {unit: worker_direct(nodes[unit]) for unit in units}
    sent = {str(uuid.uuid4()): unit for unit in units}
    answers: dict[str, float | None] = dict.fromkeys(units)
    start = time.monotonic()
    with app.connection_for_write() as connection:
        amqp: Any = app.amqp
        publish.submit_each(
            app, jobs.NOOP, {job: queues[unit] for job, unit in sent.items()}, kwargs={"run": run},
            expires_seconds=seconds, producer=amqp.Producer(connection),
        )  # fmt: skip
    waiting = dict(sent)
    while waiting and (took := time.monotonic() - start) < seconds:
        for record in records.fetch(client, records.key(prefix, run)):
            if record.id in waiting:
                answers[waiting.pop(record.id)] = round(took, 3)
        time.sleep(_POLL_SECONDS)
    for unit in waiting.values():
        queue = str(queues[unit].name)
        ledger.withdraw(client, prefix, queue, lists_of(queue), list(waiting))
    client.delete(records.key(prefix, run))
    return answers


def _nodes(client: Client, prefix: str, units: Sequence[str]) -> Mapping[str, str]:
    """Return the names of units in Celery, by their names in the fleet: as they say, else the same."""
    beats = client.hmget(prefix + heartbeat.UNITS, list(units)) if units else []
    return {
        unit: json.loads(beat).get("node") or unit if beat else unit for unit, beat in zip(units, beats, strict=True)
    }
