"""Publishes runs to the fleet, with the settings that all of its apps share, and asks what became of their messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.exceptions import OperationalError

from harbor_jobs import layout
from harbor_jobs.errors import JobError, UsageError

_REFUSED = (OperationalError, redis.RedisError, OSError)


class QueueError(JobError):
    """Redis did not take a message, or did not answer."""


class Queue:
    """The fleet's broker and results, as the environment names them. Nothing connects before it must."""

    def __init__(self) -> None:
        from harbor_jobs.app import app, run

        try:
            # Here, not in app.py: routes, prefix and priorities apply where a job is published, and the workers' side
            # has them already.
            from fleetctl.worker import ConfigurationError, configure
        except ImportError as exc:
            raise UsageError(
                f"{exc}: jobs are published with the fleet's own settings",
                hint="run it by `fleet-app harbor-jobs ...` on a client or worker of the fleet",
            ) from exc
        try:
            self._app = configure(app)
        except ConfigurationError as exc:
            raise UsageError(str(exc)) from exc
        self._run: Any = run

    def publish(self, job: str, numbers: Iterable[int]) -> Iterator[int]:
        """Publish runs, each number yielded once its message is out; QueueError where one is refused."""
        with _redis_errors(), self._app.producer_or_acquire() as producer:
            for number in numbers:
                self._run.apply_async(
                    kwargs={"job": job, "number": number}, task_id=layout.message_id(job, number), producer=producer
                )
                yield number

    def forget(self, job: str, numbers: Iterable[int]) -> None:
        """Remove what earlier messages of these runs came to, so that status does not take it for the new one's."""
        backend: Any = self._app.backend  # its stubs lack what a key-value store has
        with _redis_errors():
            for number in numbers:
                backend.delete(self._key(job, number))

    def failures(self, job: str, numbers: Iterable[int]) -> dict[int, str]:
        """Return the runs that Celery itself gave up on, with its reason: ended at a time limit, lost, refused."""
        numbers = list(numbers)
        if not numbers:
            return {}
        backend: Any = self._app.backend
        with _redis_errors():
            answers = backend.mget([self._key(job, number) for number in numbers])
        found = {}
        for number, answer in zip(numbers, answers, strict=True):
            meta = json.loads(answer) if answer else {}
            if meta.get("status") == "FAILURE":
                found[number] = _reason(meta.get("result"))
        return found

    def _key(self, job: str, number: int) -> Any:
        backend: Any = self._app.backend
        return backend.get_key_for_task(layout.message_id(job, number))


def _reason(result: Any) -> str:
    if not isinstance(result, dict):
        return str(result)
    parts = result.get("exc_message")
    text = " ".join(str(part) for part in parts) if isinstance(parts, list | tuple) else str(parts)
    return f"{result.get('exc_type')}: {text}"


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except _REFUSED as exc:
        raise QueueError(f"Redis does not take the work: {exc}", hint="fleetctl status") from exc
