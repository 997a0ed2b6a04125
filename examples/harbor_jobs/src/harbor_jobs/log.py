"""trial.log of a run that goes on: the worker's own, and a copy on the shared storage for who follows it."""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from harbor_jobs import files

LIMIT_BYTES = 64 << 20  # of one log: a run that prints for ever must not fill the storage of all
_COPY_SECONDS = 1.0


class Log:
    """A log at `own`, copied to `live` as far as the shared storage lets it.

    By a thread: a storage that stalls must not hold up the run, whose time limits go on, and a full one not end it.
    """

    def __init__(self, own: Path, live: Path | None = None) -> None:
        self._own = own.open("wb", buffering=0)
        self._left = LIMIT_BYTES
        self._live = live
        self._over = threading.Event()
        self._copying = None if live is None else threading.Thread(target=self._copy, args=(own, live), daemon=True)
        if self._copying is not None:
            self._copying.start()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.close()
        self._over.set()

    def remove(self) -> None:
        """Remove the copy: the result has the log, or there is none. Waits for the storage."""
        self._over.set()
        if self._copying is not None and self._live is not None:
            self._copying.join()
            files.remove(self._live)

    def say(self, message: str) -> None:
        """Add a line of our own."""
        self.write(f"[{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}] {message}\n".encode())

    def write(self, data: bytes) -> None:
        """Add output of the run, up to the limit."""
        if self._left <= 0:
            return
        data = data[: self._left]
        self._left -= len(data)
        if self._left == 0:
            data += f"\n[the rest is left out: more than {LIMIT_BYTES >> 20} MiB]\n".encode()
        self._own.write(data)

    def _copy(self, own: Path, live: Path) -> None:
        with contextlib.suppress(OSError):
            handle = os.open(live, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
            with own.open("rb") as source, os.fdopen(handle, "wb") as target:
                while True:
                    while data := source.read(files.CHUNK):
                        target.write(data)
                        target.flush()
                        os.fdatasync(handle)  # a reader on another host sees what was flushed
                        if self._over.is_set():
                            return
                    if self._over.wait(_COPY_SECONDS):
                        return
