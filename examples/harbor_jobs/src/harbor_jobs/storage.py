"""The shared storage as commands on a client host touch it: in a child, so that one that stalls can be given up.

Jobs do not come through here: they wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, TypeVar

from harbor_jobs.errors import JobError, UsageError

SECONDS = 30.0

T = TypeVar("T")


class StalledError(JobError):
    """The shared storage does not answer."""


def touch(work: Callable[..., T], *arguments: Any, seconds: float = SECONDS) -> T:
    """Return what `work` returns, called in a child; StalledError when it gives no sign for `seconds`."""
    storage = _bounded()

    def answer() -> tuple[T | None, tuple[type[JobError], str, str | None] | None]:
        try:
            return work(*arguments), None
        except JobError as error:  # in parts: pickled, message and hint would be one text
            return None, (type(error), error.message, error.hint)

    try:
        value, failed = storage.in_child(answer, seconds=seconds)
    except storage.StalledError:
        raise StalledError(
            f"the shared storage does not answer within {seconds:g} s",
            hint="runs wait for it and go on when it is back; fleetctl verify tells which hosts wait",
        ) from None
    except (storage.StorageError, OSError) as exc:
        raise JobError(f"the shared storage: {exc}") from exc
    if failed is not None:
        kind, message, hint = failed
        raise kind(message, hint=hint)
    return value  # type: ignore[no-any-return]  # fleetctl is found when this runs


def still_here() -> None:
    """Give a sign, in the child of `touch`."""
    _bounded().still_here()


class Input:
    """A stream that is not on the storage: who reads it may wait for it without limit."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        with _bounded().elsewhere():
            return self._stream.read(size)


def _bounded() -> Any:
    try:
        from fleetctl.worker import storage
    except ImportError as exc:
        raise UsageError(
            f"{exc}: the command comes with a fleet",
            hint="run it by `fleet-app harbor-jobs ...` on a client or worker of the fleet",
        ) from exc
    return storage
