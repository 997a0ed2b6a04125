"""A fleet's own directory on the computer that runs fleetctl: secrets, host keys, logs, bundles, history, the lock.

None of it is the fleet's state (that is the provider's); losing it costs new passwords at the next deploy.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fleetctl.adapters.privatefile import write_private
from fleetctl.errors import LockError
from fleetctl.model import Host


class State:
    """The directory of one fleet: $FLEETCTL_HOME/<name>, by default ~/.local/state/fleetctl/<name>; mode 0700."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        base = environ.get("FLEETCTL_HOME") or environ.get("XDG_STATE_HOME", "~/.local/state") + "/fleetctl"
        self.path = Path(base).expanduser().absolute() / name
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.lock_fd: int | None = None  # while the lock is held: a child that has it keeps the lock with it

    @property
    def known_hosts(self) -> Path:
        return self.path / "known_hosts"

    @property
    def wheelhouses(self) -> Path:
        """Wheels that hosts have built, named by the digest of their bundle: one directory for all fleets."""
        path = self.path.parent / ".wheelhouses"
        path.mkdir(exist_ok=True, mode=0o700)
        return path

    def directory(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(exist_ok=True, mode=0o700)
        return path

    def pin(self, hosts: Sequence[Host]) -> None:
        """Write known_hosts anew from the keys that the provider vouches for."""
        text = "".join(f"{known_as(host)} {key}\n" for host in hosts for key in host.host_keys)
        if self.known_hosts.exists() and self.known_hosts.read_text() == text:
            return
        write_private(self.known_hosts, text)

    @contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Hold the fleet for one change. Raises LockError that names the owner."""
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "somebody"
                message = f"fleet {self.path.name} is being changed by {owner}"
                raise LockError(message, hint="wait, then try again") from None
            file.truncate(0)
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"{operator()} (pid {os.getpid()}, {what}, since {stamp})")
            file.flush()
            self.lock_fd = file.fileno()
            try:
                yield
            finally:
                self.lock_fd = None
                file.truncate(0)


def operator() -> str:
    """Return who runs fleetctl, and where."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def known_as(host: Host) -> str:
    """Return the host's name in known_hosts."""
    return host.address if host.port == 22 else f"[{host.address}]:{host.port}"
