"""How answers and progress look. The only module that imports rich. stdout: the answer; stderr: the story."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fleetctl.core.plan import Plan
from fleetctl.model import Check, Event, LoadReport, OnEvent
from fleetctl.workflows.deploy import DeployReport
from fleetctl.workflows.status import FleetStatus

WIDTH = 200  # of tables off a terminal

_LIVE: list[Progress] = []


@contextmanager
def story() -> Iterator[OnEvent]:
    """Yield the callback that tells progress: bars for phases and hosts on a terminal, plain lines off one."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().take
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        _LIVE.append(progress)
        try:
            yield _Bars(progress).take
        finally:
            _LIVE.pop()


class _Lines:
    """A line when a phase starts and ends, for each note, and every few seconds for the steps."""

    EVERY_SECONDS = 5.0

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._steps: dict[str, tuple[int, int]] = {}

    def take(self, event: Event) -> None:
        match event.kind:
            case "phase":
                self._began = self._said = time.monotonic()
                self._steps.clear()
                self._say(f"{event.phase}: {event.message}")
            case "note":
                self._say(f"{event.phase}: {event.message}")
            case "step":
                self._steps[event.host or ""] = (event.done, event.total)
                if time.monotonic() - self._said > self.EVERY_SECONDS:
                    self._said = time.monotonic()
                    done, total = (sum(values) for values in zip(*self._steps.values(), strict=True))
                    self._say(f"{event.phase}: {done} of {total} steps; {event.message}")
            case "end":
                self._say(f"{event.phase}: done in {time.monotonic() - self._began:.1f} s")

    def _say(self, text: str) -> None:
        click.echo(text, err=True)


class _Bars:
    """A bar for each phase, and under it one for each host at work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, TaskID] = {}
        self._hosts: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}

    def take(self, event: Event) -> None:
        match event.kind:
            case "phase":
                self._phases[event.phase] = self._progress.add_task(
                    f"[bold]{event.phase}", total=event.total or None, note=event.message
                )
            case "note":
                self._note(event)
            case "step":
                self._step(event)
            case "end":
                self._end(event.phase)

    def _phase(self, event: Event) -> TaskID:
        if event.phase not in self._phases:
            self._phases[event.phase] = self._progress.add_task(f"[bold]{event.phase}", total=event.total, note="")
        return self._phases[event.phase]

    def _note(self, event: Event) -> None:
        self._progress.update(self._phase(event), note=event.message)

    def _step(self, event: Event) -> None:
        phase = self._phase(event)
        if event.host is None:
            self._progress.update(phase, completed=event.done, total=event.total, note=event.message)
            return
        if event.host not in self._hosts:
            self._hosts[event.host] = self._progress.add_task(f"  {event.host}", total=event.total, note="")
        self._progress.update(self._hosts[event.host], completed=event.done, total=event.total, note=event.message)
        self._shares[event.host] = event.done / event.total if event.total else 0
        self._progress.update(phase, completed=int(sum(self._shares.values())))

    def _end(self, phase: str) -> None:
        for task in self._hosts.values():
            self._progress.remove_task(task)
        self._hosts.clear()
        self._shares.clear()
        task_id = self._phases[phase]
        total = next(task.total for task in self._progress.tasks if task.id == task_id) or 1
        self._progress.update(task_id, completed=total, total=total)
        self._progress.stop_task(task_id)


@contextmanager
def paused() -> Iterator[None]:
    """Take the bars away for a question on the terminal."""
    for progress in _LIVE:
        progress.stop()
    yield
    for progress in _LIVE:
        progress.start()


def plan(value: Plan, *, as_json: bool) -> None:
    """Print a plan: what is baked, launched, converged, kept and retired, with reasons."""
    if as_json:
        _json(value)
        return
    for line in _plan_lines(value):
        click.echo(line)


def plan_note(value: Plan) -> None:
    """Tell the plan on stderr, before it is applied."""
    for line in _plan_lines(value):
        if _LIVE:
            _LIVE[-1].console.print(line, highlight=False)
        else:
            click.echo(line, err=True)


def _plan_lines(value: Plan) -> Iterator[str]:
    if value.is_empty:
        yield f"plan: nothing to do, {len(value.keep)} hosts are as they should be"
        return
    for image in value.bake:
        yield f"plan: bake the image for {'+'.join(image.roles)} (once)"
    launched = {request.name for request in value.launch}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in (*[r.name for r in value.launch], *[n for n in value.converge if n not in launched], *value.retire):
        verb = "launch" if name in launched else "retire" if name in value.retire else "converge"
        groups.setdefault((verb, value.reasons[name]), []).append(name)
    for (verb, reason), names in groups.items():
        yield f"plan: {verb} {', '.join(names)} ({reason})"
    if value.keep:
        yield f"plan: keep {', '.join(value.keep)}"


def deploy(report: DeployReport, *, as_json: bool) -> None:
    """Print what a deploy made: hosts, units and slots, phases, the slowest step, what failed, what comes next."""
    if as_json:
        _json(report, is_ok=report.is_ok)
        return
    console = _console()
    addresses = {host.name: host.address for host in report.hosts}
    recaps = {host.host: host for host in report.converged.hosts} if report.converged else {}
    broken = {check.host for check in report.checks if not check.is_ok}
    table = Table("host", "address", "groups", "units", "slots", "changed", "verified", box=None, pad_edge=False)
    for host in report.wanted:
        is_ok = host.name not in report.failed and host.name not in broken and host.name in addresses
        table.add_row(
            host.name,
            addresses.get(host.name, "-"),
            " ".join(host.groups),
            " ".join(unit.name for unit in host.units) or "-",
            str(sum(unit.concurrency for unit in host.units)) if host.units else "-",
            str(recaps[host.name].changed) if host.name in recaps else "0",
            _verdict(is_ok),
        )
    console.print(table)
    units = [unit for host in report.wanted for unit in host.units]
    console.print(
        f"\n{len(addresses)} hosts, {len(units)} units, {sum(unit.concurrency for unit in units)} slots; "
        f"changed={report.converged.changed if report.converged else 0}; "
        f"{sum(c.is_ok for c in report.checks)} of {len(report.checks)} checks passed",
    )
    _storage_note(report.checks, console)
    console.print(_phase_line(report))
    for name, error in report.failed.items():
        console.print(Text(f"failed: {name}: {error}", style="red"))
    _failed_checks(report.checks, console)
    if report.is_ok:
        console.print("next: fleetctl status | fleetctl load --jobs 600 --seconds 20 | fleetctl ssh HOST")
    else:
        log = report.converged.log if report.converged else None
        console.print("next: fleetctl deploy, again" + (f" | less {log}" if log else ""))


def _phase_line(report: DeployReport) -> str:
    phases = ", ".join(f"{phase.name} {phase.seconds:.1f} s" for phase in report.phases)
    total = sum(phase.seconds for phase in report.phases)
    steps = sorted(report.converged.steps, key=lambda step: -step.seconds) if report.converged else []
    slowest = f"; slowest step: {steps[0].name} ({steps[0].seconds:.1f} s)" if steps else ""
    return f"{total:.1f} s: {phases}{slowest}"


def _storage_note(checks: Sequence[Check], console: Console) -> None:
    if any(check.name == "storage" and "bind mount" in check.detail for check in checks):
        note = "shared storage is a directory of this computer, bind-mounted on every host: it proves nothing about NFS"
        console.print(Text(note, style="yellow"))


def _failed_checks(checks: Sequence[Check], console: Console) -> None:
    for check in checks:
        if not check.is_ok:
            where = f"{check.host}: " if check.host else ""
            console.print(Text(f"failed: {where}{check.name}: {check.detail}", style="red"))
            if check.fix:
                console.print(f"   fix: {check.fix}")


def checks(values: Sequence[Check], *, as_json: bool) -> None:
    """Print the checks: a line for each kind that passed, each failure with its fix."""
    if as_json:
        _json({"checks": [dataclasses.asdict(check) for check in values], "is_ok": all(c.is_ok for c in values)})
        return
    console = _console()
    table = Table("check", "passed", "of", box=None, pad_edge=False)
    for name in dict.fromkeys(check.name for check in values):
        of = [check for check in values if check.name == name]
        table.add_row(name, str(sum(check.is_ok for check in of)), str(len(of)))
    console.print(table)
    _storage_note(values, console)
    _failed_checks(values, console)


def status(value: FleetStatus, *, as_json: bool) -> None:
    """Print hosts, units and slots."""
    if as_json:
        _json(value)
        return
    console = _console()
    table = Table("host", "address", "state", "groups", "set up", "units", "slots", box=None, pad_edge=False)
    for host in value.hosts:
        units = " ".join(f"{name} {state}" for name, state in host.units.items()) or "-"
        state = Text(host.state, style="green" if host.state == "running" else "red")
        table.add_row(
            host.name, host.address or "-", state, " ".join(host.groups), _verdict(host.is_set_up), units,
            str(host.slots) if host.units else "-",
        )  # fmt: skip
    console.print(f"fleet {value.fleet} on {value.provider}")
    console.print(table)
    for host in value.hosts:
        if host.error:
            console.print(Text(f"{host.name}: {host.error}", style="red"))
    for note in value.notes:
        console.print(note)


def load(report: LoadReport, *, as_json: bool) -> None:
    """Print what became of a load."""
    if as_json:
        _json(report)
        return
    console = _console()
    table = Table("figure", "value", box=None, pad_edge=False)
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        if field.name in ("per_unit", "problems"):
            continue
        table.add_row(field.name, f"{value:.2f}" if isinstance(value, float) else str(value))
    console.print(table)
    jobs = sorted(report.per_unit.values())
    if jobs:
        console.print(f"{len(jobs)} units, {jobs[0]} to {jobs[-1]} jobs each")
    for problem in report.problems:
        console.print(Text(problem, style="red"))


def _console() -> Console:
    """Return a console for answers: lines as long as they are, so that they can be searched and copied."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)


def _verdict(is_ok: bool) -> Text:
    return Text("yes", style="green") if is_ok else Text("no", style="red")


def _json(value: Any, **more: Any) -> None:
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    json.dump(plain | more, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
