"""exec: one command on many hosts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetctl.core.layout import WantedHost
from fleetctl.model import Host
from fleetctl.ports import Remote

_LATE = 124  # timeout(1)'s exit code
_AROUND_SECONDS = 20  # what the connection and the command's end may take beside


@dataclass(frozen=True)
class Ran:
    """What came of the command on one host. `code` is None where it did not run, or not to its end."""

    host: str
    code: int | None = None
    stdout: str = ""
    stderr: str = ""
    error: str | None = None
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        return self.code == 0 and self.error is None


def execute(
    remote: Remote, wanted: Sequence[WantedHost], running: Mapping[str, Host], argv: Sequence[str], *, timeout: float
) -> tuple[Ran, ...]:
    """Return what came of the command on each of these hosts, in their order.

    One word is a line for the shell, several are a program and its arguments. After `timeout` seconds the command is
    ended on the host too; what it had said by then is kept.
    """
    command = ["sh", "-c", *argv] if len(argv) == 1 else list(argv)
    limited = ["timeout", "--kill-after=5", f"{timeout:g}", *command]
    hosts = [running[host.name] for host in wanted if host.name in running]
    outcomes = remote.fan_out(hosts, limited, timeout=timeout + _AROUND_SECONDS)
    found = {}
    for outcome in outcomes:
        of = outcome.value
        if of is None:
            found[outcome.host] = Ran(outcome.host, error=outcome.error, seconds=outcome.seconds)
        elif of.code < 0:
            broken = f"{outcome.host}: the connection ended before the command did"
            found[outcome.host] = Ran(outcome.host, None, of.stdout, of.stderr, broken, outcome.seconds)
        elif of.code == _LATE and outcome.seconds >= timeout:
            late = f"still ran after {timeout:g} s, and was ended"
            found[outcome.host] = Ran(outcome.host, None, of.stdout, of.stderr, late, outcome.seconds)
        else:
            found[outcome.host] = Ran(outcome.host, of.code, of.stdout, of.stderr, None, outcome.seconds)
    return tuple(found.get(host.name) or Ran(host.name, error=f"{host.name}: does not run") for host in wanted)
