"""The Celery app: one job, which is one run of a task. Broker and settings are given by who runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celery import Celery, Task

from harbor_jobs.errors import DatabaseError
from harbor_jobs.running import perform, place

if TYPE_CHECKING:
    _Task = Task[Any, Any]
else:
    _Task = Task  # generic in its stubs only

_RETRY_SECONDS = 60
_RETRIES = 10  # of five minutes each: then the rows wait for `harbor-jobs resubmit`

app = Celery("harbor_jobs")


# The result is a file and a row; Redis keeps errors alone, also those of runs whose process could not write a row.
@app.task(name="harbor_jobs.run", bind=True, ignore_result=True, store_errors_even_if_ignored=True)
def run(self: _Task, job: str, number: int) -> dict[str, Any]:
    """Return the result of a job's run: the published one, where there is one already."""
    try:
        return perform(place(os.environ, str(self.request.hostname)), job, number)
    except DatabaseError as exc:  # the result is published; what is left is a row
        raise self.retry(exc=exc, countdown=_RETRY_SECONDS, max_retries=_RETRIES) from exc
