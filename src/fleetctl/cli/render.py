"""How answers look, on stdout. This module and story.py are the only ones that import rich."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleetctl.adapters.history import Change
from fleetctl.cli.story import say
from fleetctl.core.plan import Plan
from fleetctl.model import Check, LoadReport
from fleetctl.workflows.claims import Rescue
from fleetctl.workflows.deploy import DeployReport
from fleetctl.workflows.quarantine import Quarantined, Released
from fleetctl.workflows.status import FleetStatus

WIDTH = 200  # of tables off a terminal


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
        say(line)


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
        if field.name in ("per_unit", "reasons", "problems"):
            continue
        table.add_row(field.name, f"{value:.2f}" if isinstance(value, float) else str(value))
    console.print(table)
    jobs = sorted(report.per_unit.values())
    if jobs:
        console.print(f"{len(jobs)} units, {jobs[0]} to {jobs[-1]} jobs each")
    for problem in (*report.reasons, *report.problems):
        console.print(Text(problem, style="red"))


def _console() -> Console:
    """Return a console for answers: lines as long as they are, so that they can be searched and copied."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)


def _verdict(is_ok: bool) -> Text:
    return Text("yes", style="green") if is_ok else Text("no", style="red")


def _json(value: Any, **more: Any) -> None:
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    json.dump(plain | more if more else plain, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def history(changes: Sequence[Change], *, as_json: bool) -> None:
    """Print who changed the fleet, the latest last."""
    if as_json:
        _json([dataclasses.asdict(change) for change in changes])
        return
    table = Table("when (UTC)", "who", "command", "took", "result", "what", box=None, pad_edge=False)
    for change in changes:
        took = f"{change.seconds:.0f} s" if change.seconds is not None else "-"
        style = "green" if change.result == "done" else "red"
        table.add_row(
            _time(change.began_at),
            change.operator,
            change.command,
            took,
            Text(change.result, style=style),
            change.summary,
        )
    _console().print(table)


def rescue(value: Rescue, *, as_json: bool) -> None:
    """Print what became of a dead host's jobs."""
    if as_json:
        _json(value)
        return
    if value.held:
        click.echo(f"{value.host}: {len(value.held)} jobs would be given back: {', '.join(value.held)}")
        return
    click.echo(f"{value.host}: {len(value.restored)} jobs are in their queues again")
    for job in value.quarantined:
        click.echo(f"{value.host}: job {job} has lost its worker too often: fleetctl quarantine show {job}")


def quarantined(jobs: Sequence[Quarantined], *, as_json: bool) -> None:
    """Print the jobs in quarantine."""
    if as_json:
        _json({"jobs": [dataclasses.asdict(job) for job in jobs]})
        return
    table = Table("job", "task", "queue", "since (UTC)", "last death", box=None, pad_edge=False)
    for job in jobs:
        last = job.deaths[-1]
        table.add_row(job.job, job.task, job.queue, _time(job.at), f"{last.unit} on {last.host}: {last.detail}")
    _console().print(table)


def evidence(job: Quarantined, *, as_json: bool) -> None:
    """Print one job with how its workers died, and what it was called with."""
    if as_json:
        _json(job)
        return
    click.echo(f"job {job.job}: {job.task} from queue {job.queue}, in quarantine since {_time(job.at)} UTC")
    for death in job.deaths:
        click.echo(f"  {_time(death.at)}: {death.kind} died, unit {death.unit} on {death.host}: {death.detail}")
    click.echo(json.dumps(job.message, indent=2))
    click.echo(f"fleetctl quarantine release {job.job} puts it back")


def released(value: Released, *, as_json: bool) -> None:
    """Print which jobs left quarantine."""
    if as_json:
        _json(value)
        return
    for job in value.released:
        click.echo(f"{job}: in its queue again")
    for job in value.unknown:
        click.echo(f"{job}: not in quarantine", err=True)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
