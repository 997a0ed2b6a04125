"""What single hosts say of an incident: journals, the kernel, mounts, how they are; and others of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetctl.core.journal import Entry
from fleetctl.core.layout import WantedHost
from fleetctl.core.timeline import Moment, stamp
from fleetctl.errors import FleetError
from fleetctl.model import Host
from fleetctl.ports import Remote
from fleetctl.workflows import journal

MOST_LINES = 20_000  # of one host's journal
_SECONDS = 40.0
_WARNING = 4
_KERNEL = re.compile(
    r"oom|out of memory|killed process|memory cgroup|hung_task|blocked for more|nfs|i/o error|segfault|no space", re.I
)

# Nothing of it touches the shared storage, which may stall.
_SYSTEM = """
for what in 'date -u' uptime 'cat /proc/pressure/memory /proc/pressure/io' 'free -m' 'df -hlT' 'df -il' \
    'systemctl list-units --failed --no-pager --plain' 'cat /etc/fleet/stamp' 'timedatectl show' \
    'ps -eo pid,stat,rss,etime,wchan:20,args --sort=-rss'; do
  echo "\\$ $what"
  timeout -s KILL 5 $what 2>&1 | head -n 100
done
echo '$ systemctl status fleet-worker@*'
timeout -s KILL 5 systemctl status --no-pager -n 0 'fleet-worker@*' 2>&1
echo '$ systemctl show fleet-worker@*'
timeout -s KILL 5 systemctl show --no-pager \
    -p Id,ActiveState,SubState,NRestarts,Result,ExecMainStatus,MemoryCurrent,MemoryMax,ActiveEnterTimestamp \
    'fleet-worker@*' 2>&1
"""
_MOUNTS = "timeout -s KILL 5 cat /proc/self/mountstats; echo; timeout -s KILL 5 cat /proc/self/mounts"
_KERNEL_RING = "timeout -s KILL 5 dmesg -T 2>&1 | tail -n 2000"


@dataclass
class Findings:
    """What has been gathered so far."""

    files: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)

    def attempt(self, source: str, gather: Callable[[], object]) -> None:
        """Gather from one source; note it when that fails."""
        try:
            gather()
        except FleetError as error:
            self.missing[source] = error.message

    def keep(self, path: str, value: Any) -> None:
        self.files[path] = value if isinstance(value, str) else json.dumps(value, indent=2, default=str) + "\n"


def of_hosts(
    found: Findings,
    remote: Remote,
    wanted: Sequence[WantedHost],
    hosts: Mapping[str, Host],
    job: str | None,
    since: float,
    until: float,
) -> None:
    """Keep what these hosts say: journals of their units, the kernel's, mounts, and how they are now."""
    if not hosts:
        return
    span = [f"--until=@{until + 1:.0f}"]
    all_of = journal.sources(list(hosts), wanted, ()) if all(_is_wanted(name, wanted) for name in hosts) else ()
    all_of = all_of or tuple(journal.Source(name, journal.UNITS["workers"]) for name in hosts)
    said = journal.read(
        remote, all_of, hosts, since=f"@{since:.0f}", lines=None, options=[*span, f"--lines={MOST_LINES}"]
    )
    rings = [journal.Source(name, ()) for name in hosts]
    kernel = journal.read(
        remote, rings, hosts, since=f"@{since:.0f}", lines=MOST_LINES, options=[*span, "_TRANSPORT=kernel"]
    )
    for name in hosts:
        mine = [entry for entry in said.entries if entry.host == name]
        ring = [entry for entry in kernel.entries if entry.host == name and _KERNEL.search(entry.message)]
        found.keep(f"hosts/{name}/journal.log", _log(mine))
        found.keep(f"hosts/{name}/kernel.log", _log(ring))
        found.moments += [_moment(entry) for entry in [*mine, *ring] if _tells(entry, job) or entry in ring]
    for source, errors in (("journal", said.errors), ("kernel's journal", kernel.errors)):
        found.missing |= {f"{source} of {name}": error for name, error in errors.items()}
    for file, script in (("system.txt", _SYSTEM), ("mounts.txt", _MOUNTS), ("dmesg.txt", _KERNEL_RING)):
        for outcome in remote.fan_out(list(hosts.values()), ["sh", "-c", script], timeout=_SECONDS):
            if outcome.value is None:
                found.missing[f"{file} of {outcome.host}"] = outcome.error or "no answer"
                continue
            text = outcome.value.stdout
            lines = text.splitlines(keepends=True)
            text = "".join(line for line in lines if _KERNEL.search(line)) if file == "dmesg.txt" else text
            found.keep(f"hosts/{outcome.host}/{file}", text + outcome.value.stderr)


def mentions(
    found: Findings,
    remote: Remote,
    wanted: Sequence[WantedHost],
    answers: Mapping[str, Host],
    host: Host | None,
    name: str,
    since: float,
    until: float,
) -> None:
    """Keep what the hosts of the services have said of this one."""
    names = {of.name for of in wanted if set(of.groups) & {"nfs", "postgres", "redis"} and of.name != name}
    others = {other: answers[other] for other in answers if other in names}
    if not others:
        return
    of = [journal.Source(other, ()) for other in others]
    said = journal.read(
        remote, of, others, since=f"@{since:.0f}", lines=None,
        options=[f"--until=@{until + 1:.0f}", f"--lines={MOST_LINES}"],
    )  # fmt: skip
    found.missing |= {f"journal of {other}": error for other, error in said.errors.items()}
    words = [name, *([host.address] if host is not None else [])]
    fits = re.compile("|".join(rf"(?<![\w.-]){re.escape(word)}(?![\w-]|\.\d)" for word in words))
    for other in others:
        mine = [entry for entry in said.entries if entry.host == other and fits.search(entry.message)]
        found.keep(f"others/{other}.log", _log(mine))
        found.moments += map(_moment, mine)


def _tells(entry: Entry, job: str | None) -> bool:
    """Tell whether a line belongs into the timeline: one that names the job; of a host, warnings and systemd's own."""
    if job is not None:
        return job in entry.message
    return entry.priority <= _WARNING or entry.pid == 1


def _moment(entry: Entry) -> Moment:
    return Moment(entry.at, entry.host, f"{entry.unit}: {entry.message}")


def _log(entries: Sequence[Entry]) -> str:
    return "".join(f"{stamp(entry.at)} {entry.unit}[{entry.pid or '-'}]: {entry.message}\n" for entry in entries)


def _is_wanted(name: str, wanted: Sequence[WantedHost]) -> bool:
    return any(host.name == name for host in wanted)
