"""put: one file to many hosts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetctl.core.layout import WantedHost
from fleetctl.errors import UsageError
from fleetctl.model import CommandResult, Host, Outcome
from fleetctl.ports import Remote

MOST_BYTES = 64 << 20  # it is held in memory, once for each host that is written to
_AT_ONCE_BYTES = 256 << 20
_BYTES_A_SECOND = 1 << 20  # of the slowest connection that is waited for
_SECONDS = 60

# The file appears whole, by a rename in its own directory, and only when it is what was sent.
_WRITE = """
set -e
to=$1
[ ! -d "$to" ] || to=${to%/}/$4
new=$(mktemp "$to.XXXXXX")
trap 'rm -f "$new"' EXIT
base64 -d > "$new"
have=$(sha256sum < "$new")
[ "${have%% *}" = "$3" ] || { echo "what arrived is not what was sent" >&2; exit 1; }
chmod "$2" "$new"
mv -fT "$new" "$to"
trap - EXIT
echo "$to"
"""


@dataclass(frozen=True)
class Sent:
    """What came of the file on one host: `path` where it is now, or the error."""

    host: str
    path: str | None = None
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        return self.error is None


def put(
    remote: Remote,
    wanted: Sequence[WantedHost],
    running: Mapping[str, Host],
    content: bytes,
    *,
    name: str,
    path: str,
    mode: int,
) -> tuple[Sent, ...]:
    """Write a file on each of these hosts, and return what came of it, in their order.

    `path` is absolute; where it is a directory, the file goes into it under its `name`. Raises UsageError for a file
    above MOST_BYTES.
    """
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"{name} has {len(content) >> 20} MiB: put takes {MOST_BYTES >> 20} MiB at most",
            hint="put it on the shared storage, or in the app",
        )
    if not path.startswith("/"):
        raise UsageError(f"{path} is not an absolute path", hint=f"/{path}")
    digest = hashlib.sha256(content).hexdigest()
    text = base64.b64encode(content).decode()
    hosts = [running[host.name] for host in wanted if host.name in running]
    argv = ["sh", "-c", _WRITE, "put", path, f"{mode:04o}", digest, name]
    size = max(1, _AT_ONCE_BYTES // max(1, len(text)))
    timeout = _SECONDS + len(text) / _BYTES_A_SECOND
    outcomes: list[Outcome[CommandResult]] = []
    for first in range(0, len(hosts), size):
        part = hosts[first : first + size]
        outcomes += remote.fan_out(part, argv, stdin={host.name: text for host in part}, timeout=timeout)
    found = {outcome.host: _sent(outcome) for outcome in outcomes}
    return tuple(found.get(host.name) or Sent(host.name, error=f"{host.name}: does not run") for host in wanted)


def _sent(outcome: Outcome[CommandResult]) -> Sent:
    if outcome.value is None:
        return Sent(outcome.host, error=outcome.error)
    if outcome.value.code != 0:
        said = (outcome.value.stderr or outcome.value.stdout).strip()[-400:]
        return Sent(outcome.host, error=said or f"exit code {outcome.value.code}")
    return Sent(outcome.host, path=outcome.value.stdout.strip())
