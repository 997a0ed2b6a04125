"""How jobs, one job's way, the fleet at a glance and incidents look."""

from __future__ import annotations

import os
import queue
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fleetctl.cli.views.page import as_json as write
from fleetctl.cli.views.page import console, duration, table
from fleetctl.core.glance import Glance
from fleetctl.core.glance import glance as glance_of
from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey
from fleetctl.core.timeline import stamp
from fleetctl.errors import FleetError
from fleetctl.workflows.incident import Incident
from fleetctl.workflows.jobs import Job, Story

_KEYS_SECONDS = 0.1
_QUIT = ("q", "Q", "\x03", "\x04")


def running(now: float, jobs: Sequence[Job], *, as_json: bool) -> None:
    """Print the jobs that run."""
    if as_json:
        write({"now": now, "jobs": [asdict(job) for job in jobs]})
        return
    page = console()
    rows = table("job", "task", "queue", "unit", "host", "since (UTC)", "for")
    for job in jobs:
        took = Text(duration(job.seconds)) if not job.is_silent else Text("its unit is silent", style="red")
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(job.since)) if job.since is not None else "-"
        rows.add_row(job.job, job.task, job.queue, job.unit, job.host, since, took)
    page.print(rows if jobs else "no job runs")


def story(value: Story, *, as_json: bool) -> None:
    """Print one job's way."""
    if as_json:
        write(asdict(value))
        return
    page = console()
    state = value.state or value.result_state or "unknown"
    page.print(f"job {value.job}: {value.task or 'task unknown'}, queue {value.queue or 'unknown'}, {state}")
    rows = table("when (UTC)", "after", "what", "unit", "host", "")
    for step in value.steps:
        after = duration(max(0.0, step.at - value.steps[0].at))
        style = "red" if step.event in ("died", "quarantined") else ""
        rows.add_row(stamp(step.at), after, Text(step.event, style=style), step.unit, step.host, step.detail)
    if value.steps:
        page.print(rows)
    else:
        page.print("no events of it are kept")
    if value.holder:
        page.print(f"in the hands of {value.holder}")
    if value.is_quarantined:
        page.print(Text(f"in quarantine: fleetctl quarantine show {value.job}", style="red"))
    if value.result_state:
        page.print(f"result: {value.result_state}")


def glance(fleet: str, value: Glance, *, as_json: bool) -> None:
    """Print one look at the fleet."""
    if as_json:
        write({"fleet": fleet, **asdict(value)})
        return
    console().print(_page(fleet, value))


def watch(fleet: str, look: Callable[[], Survey], wanted: Sequence[WantedHost], interval: float) -> None:
    """Show the fleet anew every `interval` seconds, until q is pressed. A failed look leaves the last one standing."""
    heard: queue.SimpleQueue[Survey | FleetError] = queue.SimpleQueue()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                heard.put(look())
            except FleetError as error:
                heard.put(error)
            stop.wait(max(0.0, interval - (time.monotonic() - began)))

    threading.Thread(target=ask, daemon=True, name="looks").start()
    before: Survey | None = None
    shown: Glance | None = None
    try:
        with (
            _keys() as pressed,
            Live(Text("asking the fleet"), console=Console(), screen=True, auto_refresh=False) as live,
        ):
            live.refresh()
            while pressed() not in _QUIT:
                while not heard.empty():
                    answer = heard.get()
                    if isinstance(answer, FleetError):
                        error = Text(f"{answer.message}; asking again", style="red")
                        live.update(Group(error, _page(fleet, shown)) if shown else error, refresh=True)
                        continue
                    shown = glance_of(answer, wanted, before)
                    before = answer
                    live.update(_page(fleet, shown), refresh=True)
    finally:
        stop.set()


def incident(value: Incident, path: Path, *, as_json: bool) -> None:
    """Print where the archive is, and what it lacks."""
    if as_json:
        write({
            "archive": str(path), "subject": value.subject, "files": list(value.files), "missing": dict(value.missing),
            "redactions": value.redactions,
        })  # fmt: skip
        return
    click.echo(f"{path}: {len(value.files)} files, {value.redactions} places redacted")
    for source, why in value.missing.items():
        click.echo(f"missing: {source}: {why}", err=True)


def _page(fleet: str, value: Glance) -> Group:
    of = value.capacity
    slots, work = of.slots, of.work
    head = f"fleet {fleet}  {time.strftime('%H:%M:%S', time.gmtime(value.now))} UTC   "
    head += f"{slots.busy} of {slots.live} slots busy, {slots.idle} idle, {slots.draining} draining"
    head += f" ({slots.wanted - slots.live} missing)" if slots.wanted > slots.live else ""
    flow = f"{work.queued} queued, {work.reserved} reserved, {work.running} running, {work.scheduled} scheduled"
    flow += f"; {work.jobs_per_hour:.0f} jobs/h"
    if value.ended_per_second is not None and value.submitted_per_second is not None:
        flow += f"; now {value.submitted_per_second:.1f}/s in, {value.ended_per_second:.1f}/s out"
    warnings = [f"{work.stranded} stranded"] if work.stranded else []
    warnings += [f"{of.quarantined} in quarantine"] if of.quarantined else []
    warnings += [f"silent: {', '.join(of.missing)}"] if of.missing else []
    parts: list[Text | Table] = [Text(head, style="bold"), Text(flow)]
    parts += [Text("; ".join(warnings), style="red")] if warnings else []
    return Group(*parts, Text(""), _hosts(value), Text(""), _queues(value))


def _hosts(value: Glance) -> Table:
    rows = table("host", "pool", "units", "slots", "busy", "", "done", "failed", "last job", "")
    for host in value.hosts:
        note = Text("silent", style="red") if host.live < host.units else Text("")
        note = Text("draining", style="yellow") if host.is_draining else note
        last = "-" if host.last_seconds is None else f"{duration(host.last_seconds)} ago"
        rows.add_row(
            host.host, host.pool, f"{host.live}/{host.units}", str(host.slots), str(host.busy),
            ProgressBar(total=max(1, host.slots), completed=host.busy, width=20), str(host.done), str(host.failed),
            last, note,
        )  # fmt: skip
    return rows


def _queues(value: Glance) -> Table:
    rows = table("queue", "queued", "reserved", "running", "scheduled", "oldest", "in/h", "out/h", "empty in")
    for of in value.capacity.queues:
        work = of.work
        numbers = (work.queued, work.reserved, work.running, work.scheduled)
        rows.add_row(
            of.name if of.pools else Text(f"{of.name} (nobody serves it)", style="red"), *map(str, numbers),
            duration(work.oldest_seconds), f"{work.arrivals_per_hour:.0f}", f"{work.jobs_per_hour:.0f}",
            duration(work.drain_seconds),
        )  # fmt: skip
    return rows


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Yield what returns the key that was pressed within a moment, "" for none. The terminal is restored at the end."""
    handle = sys.stdin.fileno()
    kept = termios.tcgetattr(handle)

    def pressed() -> str:
        ready, _, _ = select.select([handle], [], [], _KEYS_SECONDS)
        return os.read(handle, 1).decode(errors="replace") if ready else ""

    try:
        tty.setcbreak(handle)
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, kept)
