"""Runs a command under the guard, up to a time limit, its output to a sink as it comes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

_GUARD = str(Path(__file__).with_name("guard.py"))
_CHUNK = 1 << 16
_MARGIN_SECONDS = 15.0  # what the guard may take after its grace


@dataclass(frozen=True)
class Stop:
    """How a command is ended: this signal to all of its processes, or to the first alone, and SIGKILL after so long."""

    signal: signal.Signals = signal.SIGTERM
    seconds: float = 5.0
    is_for_all: bool = True


@dataclass(frozen=True)
class Ended:
    """How a command ended; `is_late`: it was ended at its limit."""

    exit_code: int
    is_late: bool
    seconds: float


def run(
    command: Sequence[str],
    *,
    directory: Path,
    environ: Mapping[str, str],
    seconds: float | None,
    sink: Callable[[bytes], None],
    stop: Stop | None = None,
) -> Ended:
    """Run a command to its end, and all that it has started; at the limit, or when this is interrupted, end them."""
    stop = stop or Stop()
    scope = "all" if stop.is_for_all else "first"
    guard = [sys.executable, "-I", "-S", _GUARD, str(int(stop.signal)), str(stop.seconds), scope, *command]
    begun = time.monotonic()
    with subprocess.Popen(
        guard, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
        cwd=directory, env=dict(environ), start_new_session=True,
    ) as process:  # fmt: skip
        rope, output = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        try:
            is_whole = _pump(output, sink, None if seconds is None else begun + seconds)
            if not is_whole:
                rope.close()
                _pump(output, sink, time.monotonic() + stop.seconds + _MARGIN_SECONDS)
        finally:  # also on a soft time limit, which comes as an exception
            rope.close()
            _wait(process, stop.seconds + _MARGIN_SECONDS)
    return Ended(process.returncode, not is_whole, time.monotonic() - begun)


def _pump(stream: IO[bytes], sink: Callable[[bytes], None], deadline: float | None) -> bool:
    """Hand on what comes until the stream ends; False where the deadline came first."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            if selector.select(left):
                data = os.read(stream.fileno(), _CHUNK)
                if not data:
                    return True
                sink(data)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
