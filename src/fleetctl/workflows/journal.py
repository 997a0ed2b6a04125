"""logs: the journals of many hosts as one, in time order."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleetctl.core.journal import FIELDS, Entry, Reorder, merged, parse
from fleetctl.core.layout import WantedHost
from fleetctl.core.targets import resolve, units_of
from fleetctl.errors import ConnectError, UsageError
from fleetctl.model import Host
from fleetctl.ports import Remote

WINDOW_SECONDS = 0.5
LEG_SECONDS = 300  # a channel is opened anew after it, where it stood: what a channel has said is kept in memory
BEAT_SECONDS = 5
SILENT_SECONDS = 20.0  # a host that says nothing for so long, not even an empty line, does not answer
AGAIN_SECONDS = 5.0
_READ_SECONDS = 120.0

# What a host's journal is read for, by what the host is.
UNITS = {
    "nfs": ("nfs-*", "rpc-*", "rpcbind*"),
    "postgres": ("postgresql*",),
    "redis": ("redis-server*",),
    "clients": (),
    "workers": ("fleet-worker@*",),
}
_NONE = "fleetctl-none.service"  # journalctl fails where a pattern fits nothing, unless it has a name beside it
_SPAN = re.compile(r"\d+(\.\d+)?\s*(s|sec|m|min|h|hours?|d|days?|w|weeks?)")

# An empty line now and then shows that the host lives, and finds out that nobody listens any more: then the reader ends
# too. The sleeper holds none of the connection's pipes.
_FOLLOW = """
every=$1
shift
timeout "$@" &
reader=$!
trap '' PIPE
while sleep "$every" >/dev/null 2>&1; kill -0 $reader 2>/dev/null; do
  echo 2>/dev/null || { kill $reader; break; }
done
wait $reader
"""
# Each host reads its own units: they come on stdin.
_READ = 'set -f; exec "$@" $(cat)'


@dataclass(frozen=True)
class Source:
    """One host's journal, and the units (names or patterns) that are read; all lines without one."""

    host: str
    units: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """Something that befell a host while its journal was read."""

    host: str
    text: str


@dataclass(frozen=True)
class Journal:
    """The entries in time order, and host -> error for those that could not be read."""

    entries: tuple[Entry, ...]
    errors: dict[str, str]


def sources(names: Sequence[str], wanted: Sequence[WantedHost], globs: Sequence[str]) -> tuple[Source, ...]:
    """Return which journals these names mean: of a host those of its service or workers, of a unit or pool its own.

    All workers without a name. `globs` take the units' place. Raises UsageError for a name that is not the fleet's.
    """
    hosts = {host.name: host for host in wanted}
    found: dict[str, list[str]] = {}
    for name in names or [host.name for host in wanted if host.units]:
        if name in hosts:
            groups = hosts[name].groups
            found.setdefault(name, []).extend(glob for group in groups for glob in UNITS.get(group, ()))
            continue
        for unit in units_of(resolve([name], wanted), wanted):
            found.setdefault(unit.host, []).append(f"fleet-worker@{unit.name}.service")
    if not found:
        raise UsageError("the fleet has no units", hint="fleetctl deploy")
    order = [host.name for host in wanted if host.name in found]
    return tuple(Source(name, tuple(globs) or tuple(dict.fromkeys(found[name]))) for name in order)


def read(
    remote: Remote,
    of: Sequence[Source],
    running: Mapping[str, Host],
    *,
    since: str | None,
    lines: int | None,
    options: Sequence[str] = (),
) -> Journal:
    """Return the last `lines` entries of all these journals together (None: all) since a time, in time order.

    `options` are journalctl's own, beside those.
    """
    outcomes = _each(remote, of, running, [*_from(since, lines), *options])
    entries = merged(found for found, _ in outcomes.values())
    errors = {name: error for name, (_, error) in outcomes.items() if error is not None}
    return Journal(entries[-lines:] if lines else entries, errors)


def follow(
    remote: Remote,
    of: Sequence[Source],
    running: Mapping[str, Host],
    *,
    since: str | None,
    lines: int | None,
    clock: Callable[[], float],
    window: float = WINDOW_SECONDS,
) -> Iterator[Entry | Note]:
    """Yield entries as they come, for ever: in time order as far as a window of half a second allows.

    A host that dies is told once, and again when it is back; the others go on. Whoever stops asking closes `remote`,
    which ends all channels.
    """
    there = [source for source in of if source.host in running]
    yield from (Note(source.host, "does not run") for source in of if source.host not in running)
    heard: queue.SimpleQueue[tuple[str, Entry | Note | None]] = queue.SimpleQueue()
    stop = threading.Event()
    for source in there:
        reader = _Reader(remote, running[source.host], source, since, lines, heard, stop)
        threading.Thread(target=reader.run, daemon=True, name=f"journal of {source.host}").start()
    reorder = Reorder(window)
    spoke = {source.host: clock() for source in there}
    lost: set[str] = set()
    try:
        while there:
            try:
                host, what = heard.get(timeout=window / 2)
            except queue.Empty:
                host, what = "", None
            now = clock()
            if isinstance(what, Note):
                if host not in lost:
                    lost.add(host)
                    yield what
            elif host:
                spoke[host] = now
                if host in lost:
                    lost.discard(host)
                    yield Note(host, "answers again")
            if isinstance(what, Entry):
                reorder.take(what, now)
            for name, last in spoke.items():
                if now - last > SILENT_SECONDS and name not in lost:
                    lost.add(name)
                    yield Note(name, f"does not answer: silent for {SILENT_SECONDS:g} s")
            yield from reorder.due(now)
    finally:
        stop.set()


def argv(units: Sequence[str], *options: str) -> list[str]:
    """Return how to read a journal as JSON lines."""
    fields = f"--output-fields={','.join(FIELDS)}"
    return ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", fields, *options, *_named(units)]


def when(text: str) -> str:
    """Return a time as journalctl takes it: 10m and 2h are that long ago, the rest is its own (systemd.time(7))."""
    return f"-{text.strip()}" if _SPAN.fullmatch(text.strip()) else text


class _Reader:
    """Follows one host's journal in a thread, leg by leg, and starts again when the connection broke."""

    def __init__(
        self,
        remote: Remote,
        host: Host,
        source: Source,
        since: str | None,
        lines: int | None,
        heard: queue.SimpleQueue[tuple[str, Entry | Note | None]],
        stop: threading.Event,
    ) -> None:
        self._remote, self._host, self._units, self._heard, self._stop = remote, host, source.units, heard, stop
        self._from = _from(since, lines)

    def run(self) -> None:
        while not self._stop.is_set():
            command = [str(BEAT_SECONDS), str(LEG_SECONDS), *argv(self._units, "--follow", *self._from)]
            leg = ["sh", "-c", _FOLLOW, "follow", *command]
            try:
                done = self._remote.run(self._host, leg, timeout=LEG_SECONDS + 30, on_line=self._take)
            except ConnectError as error:
                self._tell(error.message.removeprefix(f"{self._host.name}: "))
                self._stop.wait(AGAIN_SECONDS)
                continue
            if done.code not in (0, 124):
                said = done.stderr.strip()[-200:]
                broken = "the connection ended" if done.code < 0 else None
                self._tell(broken or f"its journal cannot be read: {said or f'exit code {done.code}'}")
                self._stop.wait(AGAIN_SECONDS)

    def _take(self, line: str) -> None:
        entry = parse(self._host.name, line)
        if entry is not None and entry.cursor:
            self._from = ["--lines=all", f"--after-cursor={entry.cursor}"]
        self._heard.put((self._host.name, entry))

    def _tell(self, text: str) -> None:
        if not self._stop.is_set():
            self._heard.put((self._host.name, Note(self._host.name, text)))


def _each(
    remote: Remote, of: Sequence[Source], running: Mapping[str, Host], options: Sequence[str]
) -> dict[str, tuple[list[Entry], str | None]]:
    """Return host -> entries and error."""
    found: dict[str, tuple[list[Entry], str | None]] = {
        source.host: ([], f"{source.host}: does not run") for source in of
    }
    units = {source.host: " ".join(_named(source.units)) + "\n" for source in of}
    hosts = [running[source.host] for source in of if source.host in running]
    command = ["sh", "-c", _READ, "read", *argv((), *options)]
    for outcome in remote.fan_out(hosts, command, stdin=units, timeout=_READ_SECONDS):
        value = outcome.value
        entries = [parse(outcome.host, line) for line in value.stdout.splitlines()] if value is not None else []
        error = outcome.error
        if value is not None and value.code != 0:
            error = f"{outcome.host}: {value.stderr.strip()[-200:] or f'exit code {value.code}'}"
        found[outcome.host] = ([replace(entry, cursor="") for entry in entries if entry is not None], error)
    return found


def _from(since: str | None, lines: int | None) -> list[str]:
    return [f"--lines={'all' if lines is None else lines}", *([f"--since={when(since)}"] if since else [])]


def _named(units: Sequence[str]) -> list[str]:
    return [f"--unit={unit}" for unit in (*units, _NONE)] if units else []
