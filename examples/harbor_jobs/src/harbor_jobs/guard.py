"""Runs a command and ends all that it has started: when it ends, when told to, and when whoever started this dies.

    python guard.py SIGNAL SECONDS all|first COMMAND [ARGUMENT...]

Standard input is the rope: when it closes, also because its holder was killed, SIGNAL goes to all of the command's
processes (`all`) or to the command alone (`first`), and SIGKILL to whatever is left after SECONDS. Processes that left
their group or session are found too: their orphans become this one's children. Exit status: the command's, 128 + n
after signal n. Standard library only, and little of it: each slot pays for its start and its memory.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable

_PR_SET_CHILD_SUBREAPER = 36
_DEAF_SECONDS = 10.0  # for processes that even SIGKILL does not end: they wait for a dead NFS server


def main(arguments: list[str]) -> int:
    number, seconds, scope, *command = arguments
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakes, wake = os.pipe()
    for descriptor in (wakes, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    stops: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda received, _: stops.append(received))
    try:
        child = os.posix_spawnp(
            command[0], command, dict(os.environ), setpgroup=0,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        )  # fmt: skip
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)  # noqa: T201 (its output is the log)
        return 127
    ended: dict[int, int] = {}
    while child not in ended and not stops:
        ready, _, _ = select.select([0, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
        if 0 in ready and not os.read(0, 4096):
            stops.append(signal.SIGTERM)
        reap(ended)
    if child not in ended:
        is_for_all = scope == "all"
        tell(descendants(os.getpid()) if is_for_all else [child], int(number))
        wait(lambda: child in ended and not (is_for_all and descendants(os.getpid())), float(seconds), ended)
    wait(lambda: not tell(descendants(os.getpid()), signal.SIGKILL), _DEAF_SECONDS, ended)
    status = os.waitstatus_to_exitcode(ended.get(child, signal.SIGKILL))
    return 128 - status if status < 0 else status


def reap(ended: dict[int, int]) -> None:
    """Note the status of each child that has ended, also of orphans."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended[pid] = status


def wait(is_over: Callable[[], bool], seconds: float, ended: dict[int, int]) -> None:
    """Return when it is over, or after so long."""
    deadline = time.monotonic() + seconds
    reap(ended)
    while not is_over() and time.monotonic() < deadline:
        time.sleep(0.02)
        reap(ended)


def tell(pids: list[int], number: int) -> list[int]:
    """Send a signal to each; return them."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return pids


def descendants(ancestor: int) -> list[int]:
    """Return all processes below one, those that have ended and wait for their parent left out."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 (no pathlib)
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 (no pathlib)
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:  # it has just ended
                continue
            if state != b"Z":
                children.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    level = [ancestor]
    while level:
        level = [child for parent in level for child in children.get(parent, [])]
        found += level
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
