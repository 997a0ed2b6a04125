"""Commands on hosts over SSH by Fabric, host keys pinned. Implements the Remote port.

Fabric checks no host key by itself, and its group has neither bound nor timeout: here every connection refuses
unknown keys, and every connection and command has a time limit.
"""

from __future__ import annotations

import base64
import io
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import paramiko
from fabric import Connection
from invoke.exceptions import CommandTimedOut

from fleetctl.adapters.state import known_as
from fleetctl.errors import ConnectError
from fleetctl.model import CommandResult, Host, Outcome

CONNECT_SECONDS = 10
PARALLEL = 32


class FabricRemote:
    """Connections are kept open for the time of a `with` block, one for each host."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> FabricRemote:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        command = shlex.join(["sudo", "-n", "--", *argv] if host.become else argv)
        sink = _Lines(on_line) if on_line else None
        with _translated(host):
            result = self._connect(host).run(
                command,
                hide=sink is None or "stderr",
                warn=True,
                in_stream=io.StringIO(stdin) if stdin else False,
                out_stream=sink,
                timeout=timeout,
                encoding="utf-8",
            )
        return CommandResult(result.exited, result.stdout, result.stderr)

    def fan_out(
        self,
        hosts: Sequence[Host],
        argv: Sequence[str],
        *,
        stdin: Mapping[str, str] | None = None,
        timeout: float,
        on_done: Callable[[str], None] | None = None,
    ) -> tuple[Outcome[CommandResult], ...]:
        texts = stdin or {}

        def act(host: Host) -> CommandResult:
            try:
                return self.run(host, argv, stdin=texts.get(host.name, ""), timeout=timeout)
            finally:
                if on_done is not None:
                    on_done(host.name)

        return _each(hosts, act)

    def wait_until_up(self, hosts: Sequence[Host], *, timeout: float) -> tuple[Outcome[None], ...]:
        deadline = time.monotonic() + timeout

        def wait(host: Host) -> None:
            while True:
                try:
                    self.run(host, ["true"], timeout=CONNECT_SECONDS)
                except ConnectError as error:
                    if "host key" in error.message or time.monotonic() > deadline:
                        raise
                    self._forget(host)
                    time.sleep(0.3)
                else:
                    return

        return _each(hosts, wait)

    def _connect(self, host: Host) -> Connection:
        with self._lock:
            connection = self._connections.get(host.id)
            if connection is None:
                connection = self._connections[host.id] = connect(host)
        return connection

    def _forget(self, host: Host) -> None:
        with self._lock:
            if (connection := self._connections.pop(host.id, None)) is not None:
                connection.close()


def connect(host: Host) -> Connection:
    """Return a connection (opened on first use) that accepts only the host's pinned keys."""
    keywords: dict[str, Any] = {"banner_timeout": CONNECT_SECONDS, "auth_timeout": CONNECT_SECONDS}
    if host.key_file is not None:
        keywords |= {"key_filename": str(host.key_file), "look_for_keys": False, "allow_agent": False}
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        connect_timeout=CONNECT_SECONDS,
        connect_kwargs=keywords,
        gateway=_gateway(host.jump) if host.jump else None,
    )
    _pin(connection, host)
    return connection


def _each(hosts: Sequence[Host], act: Callable[[Host], Any]) -> tuple[Outcome[Any], ...]:
    """Return what `act` returned, or the error that it raised, for each host in order."""

    def one(host: Host) -> Outcome[Any]:
        started = time.monotonic()
        try:
            value = act(host)
        except ConnectError as error:
            return Outcome(host.name, error=error.message, seconds=time.monotonic() - started)
        return Outcome(host.name, value=value, seconds=time.monotonic() - started)

    if not hosts:
        return ()
    with ThreadPoolExecutor(min(PARALLEL, len(hosts))) as pool:
        return tuple(pool.map(one, hosts))


def _pin(connection: Connection, host: Host) -> None:
    client = connection.client
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if not host.host_keys:
        client.load_system_host_keys()
    for key in host.host_keys:
        kind, encoded = key.split()[:2]
        pinned = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
        client.get_host_keys().add(known_as(host), kind, pinned)


def _gateway(jump: str) -> Connection:
    gateway = Connection(jump, connect_timeout=CONNECT_SECONDS)
    gateway.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    gateway.client.load_system_host_keys()
    return gateway


@contextmanager
def _translated(host: Host) -> Iterator[None]:
    try:
        yield
    except paramiko.BadHostKeyException as exc:
        raise ConnectError(f"{host.name}: its host key is not the pinned one") from exc
    except paramiko.AuthenticationException as exc:
        raise ConnectError(f"{host.name}: {host.user}@{host.address} refused the key") from exc
    except CommandTimedOut as exc:
        raise ConnectError(f"{host.name}: the command was still running after {exc.timeout:.0f} s") from exc
    except (TimeoutError, paramiko.SSHException, OSError, EOFError) as exc:
        message = str(exc) or type(exc).__name__
        if "not found in known_hosts" in message:
            message = "unknown host key; add it to ~/.ssh/known_hosts or to host_key in fleet.yml"
        raise ConnectError(f"{host.name}: {message}") from exc


class _Lines(io.StringIO):
    """A stream that hands on whole lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        super().__init__()
        self._on_line = on_line
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line)
        return len(text)
