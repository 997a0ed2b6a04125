"""Programs of this computer, run as argument lists; their failure is a ProviderError."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from fleetctl.errors import ProviderError


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    timeout: float = 60,
    hint: str | None = None,
    keep_open: Sequence[int] = (),
) -> str:
    """Run a program and return its stdout; raise ProviderError with its last words when it fails.

    `keep_open` are descriptors that the program shall inherit: a lock is held until it ends, whatever becomes of us.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, pass_fds=keep_open
        )
    except FileNotFoundError as exc:
        raise ProviderError(f"{argv[0]}: no such program", hint=hint) from exc
    except subprocess.TimeoutExpired as exc:
        raise ProviderError(f"{' '.join(argv[:3])}: not finished after {timeout:.0f} s", hint=hint) from exc
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise ProviderError(f"{' '.join(argv[:4])}: exit {done.returncode}: {'; '.join(words)}", hint=hint)
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Tell whether a program ends well; for questions, and for removals of what may be gone."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
