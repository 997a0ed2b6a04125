"""trial.log of a run that goes on: the worker's own, and a copy on the shared storage for who follows it."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from harbor_jobs import files

LIMIT_BYTES = 64 << 20  # of one log: a run that prints for ever must not fill the storage of all
_FLUSH_SECONDS = 2.0  # a reader on another host sees what was flushed


class Log:
    """A log at `own`, copied to `live` as far as the shared storage lets it: a full one does not end the run."""

    def __init__(self, own: Path, live: Path | None = None) -> None:
        self._own = own.open("wb", buffering=0)
        self._path = live
        self._live: int | None = None
        self._flushed = time.monotonic()
        self._left = LIMIT_BYTES
        if live is not None:
            with contextlib.suppress(OSError):
                self._live = os.open(live, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.close()
        self._give_up()

    def remove(self) -> None:
        """Remove the copy: the result has the log, or there is none."""
        self._give_up()
        if self._path is not None:
            files.remove(self._path)

    def say(self, message: str) -> None:
        """Add a line of our own."""
        self.write(f"[{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}] {message}\n".encode())
        self._flush(0)

    def write(self, data: bytes) -> None:
        """Add output of the run, up to the limit."""
        if self._left <= 0:
            return
        data = data[: self._left]
        self._left -= len(data)
        if self._left == 0:
            data += f"\n[the rest is left out: more than {LIMIT_BYTES >> 20} MiB]\n".encode()
        self._own.write(data)
        if self._live is not None:
            try:
                os.write(self._live, data)
            except OSError:
                self._give_up()
        self._flush(_FLUSH_SECONDS)

    def _flush(self, seconds: float) -> None:
        if self._live is not None and time.monotonic() - self._flushed >= seconds:
            self._flushed = time.monotonic()
            try:
                os.fdatasync(self._live)
            except OSError:
                self._give_up()

    def _give_up(self) -> None:
        if self._live is not None:
            handle, self._live = self._live, None
            with contextlib.suppress(OSError):
                os.close(handle)
