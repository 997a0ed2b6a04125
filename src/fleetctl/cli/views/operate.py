"""How the answers of drain, undrain, restart, exec, put and logs look."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click
from rich.text import Text

from fleetctl.cli.story import say
from fleetctl.cli.views.page import as_json as write
from fleetctl.cli.views.page import console, duration, table
from fleetctl.core.journal import Entry
from fleetctl.core.layout import WantedHost
from fleetctl.core.timeline import stamp
from fleetctl.core.waiting import Waiting
from fleetctl.workflows.drain import Drained, Undrained
from fleetctl.workflows.execute import Ran
from fleetctl.workflows.journal import Journal, Note
from fleetctl.workflows.restart import Restarted
from fleetctl.workflows.transfer import Sent

_ERROR, _WARNING = 3, 4


def drained_note(value: Drained) -> None:
    """Tell on stderr what is drained, before it is waited for."""
    say(_drained_line(value, value.waiting))


def drained(value: Drained, left: Waiting, *, waited: bool, as_json: bool) -> None:
    """Print what takes no more jobs, and what still runs there."""
    if as_json:
        write({
            "drained": list(value.keys), "units": list(value.units), "is_over": left.is_over,
            "eta_seconds": left.seconds, "at_most_seconds": left.at_most, "silent": list(left.silent),
            "jobs": [asdict(job) for job in left.jobs],
        })  # fmt: skip
        return
    page = console()
    page.print(_drained_line(value, left))
    if left.jobs:
        rows = table("job", "task", "unit", "host", "may take", "at most")
        for job in sorted(left.jobs, key=lambda job: -(job.left or 0)):
            rows.add_row(job.job, job.task, job.unit, job.host, _unknown(job.left), duration(job.at_most))
        page.print(rows)
    for unit in left.silent:
        page.print(Text(f"{unit} does not answer: nobody knows what it does; fleetctl health", style="red"))
    if waited and not left.is_over:
        page.print(Text("at the deadline jobs still ran; the drain holds, and nothing was killed", style="yellow"))
    page.print(f"undo: fleetctl undrain {' '.join(key.partition('@')[0] for key in value.keys)}")


def _drained_line(value: Drained, left: Waiting) -> str:
    count = len(left.jobs)
    head = (
        f"{', '.join(value.units)} take no more jobs; "
        if len(value.units) > 1
        else f"{value.units[0]} takes no more jobs; "
    )
    if not count:
        return head + ("none runs" if left.is_over else "none is known to run")
    runs = f"{count} job{'s' * (count > 1)} still run{'s' * (count == 1)}"
    if left.seconds is not None:
        return f"{head}{runs}, for about {duration(left.seconds)} by the runs of the last 15 minutes"
    most = f", {duration(left.at_most)} at most" if left.at_most is not None else ""
    return f"{head}{runs}; how long is unknown{most}"


def undrained(value: Undrained, *, as_json: bool) -> None:
    """Print which drains are over, and what is still drained by another."""
    if as_json:
        write({"undrained": list(value.keys), "unknown": list(value.unknown), "still": dict(value.still)})
        return
    for key in value.keys:
        click.echo(f"{key}: takes jobs again")
    for name in value.unknown:
        click.echo(f"{name}: was not drained")
    if not value.keys and not value.unknown:
        click.echo("nothing was drained")
    for unit, key in value.still:
        click.echo(f"{unit} is still drained by {key}: fleetctl undrain {key.partition('@')[0]}")


def batches(values: Sequence[Sequence[WantedHost]], units: Mapping[str, tuple[str, ...]], *, as_json: bool) -> None:
    """Print what would be restarted, batch by batch."""
    if as_json:
        write({"batches": [{host.name: list(units[host.name]) for host in of} for of in values]})
        return
    for number, of in enumerate(values, 1):
        hosts = "; ".join(f"{host.name} ({' '.join(units[host.name])})" for host in of)
        click.echo(f"batch {number}: {hosts}")


def restarted(value: Restarted, *, as_json: bool) -> None:
    """Print which hosts are proven, which are not and why, and which were left alone."""
    if as_json:
        write({**asdict(value), "is_ok": value.is_ok})
        return
    page = console()
    page.print(f"restarted and proven: {', '.join(value.proven) or 'none'}")
    for host, error in value.failed.items():
        page.print(Text(f"failed: {host}: {error}", style="red"))
        page.print(f"   fix: fleetctl logs {host} -n 50")
    if value.untouched:
        page.print(f"not touched: {', '.join(value.untouched)}")
    if value.failed:
        rest = " ".join([*value.failed, *value.untouched])
        page.print(f"next: fleetctl restart --rolling {rest}")


def ran(values: Sequence[Ran], *, as_json: bool) -> None:
    """Print what each host said under its name, in the fleet's order; what went wrong on stderr."""
    if as_json:
        write({"hosts": [asdict(value) | {"is_ok": value.is_ok} for value in values]})
        return
    for value in values:
        verdict = "" if value.is_ok else f" (exit code {value.code})" if value.code is not None else " (failed)"
        click.echo(f"{value.host}{verdict}:")
        for line in value.stdout.splitlines():
            click.echo(f"  {line}")
        sys.stdout.flush()
        for line in [*value.stderr.splitlines(), *([value.error] if value.error else [])]:
            click.echo(f"  {line}", err=True)
    bad = [value.host for value in values if not value.is_ok]
    if bad:
        click.echo(f"failed on {len(bad)} of {len(values)}: {', '.join(bad)}", err=True)


def sent(values: Sequence[Sent], *, as_json: bool) -> None:
    """Print which hosts have the file."""
    if as_json:
        write({"hosts": [asdict(value) | {"is_ok": value.is_ok} for value in values]})
        return
    good = [value for value in values if value.is_ok]
    for path in dict.fromkeys(value.path for value in good):
        click.echo(f"{path}: on {', '.join(value.host for value in good if value.path == path)}")
    for value in values:
        if not value.is_ok:
            click.echo(f"{value.host}: {value.error}", err=True)


def journal(value: Journal, *, as_json: bool) -> None:
    """Print entries in time order; what could not be read on stderr."""
    for entry in value.entries:
        line(entry, as_json=as_json)
    for error in value.errors.values():
        click.echo(error, err=True)


def line(what: Entry | Note, *, as_json: bool) -> None:
    """Print one entry; tell a note on stderr."""
    if isinstance(what, Note):
        click.echo(f"{what.host}: {what.text}", err=True)
    elif as_json:
        fields = {key: value for key, value in asdict(what).items() if key != "cursor"}
        click.echo(json.dumps(fields))
    else:
        colour = "red" if what.priority <= _ERROR else "yellow" if what.priority == _WARNING else None
        unit = what.unit.removeprefix("fleet-worker@")
        where = what.host if unit == what.host else f"{what.host} {unit}"
        click.echo(f"{stamp(what.at)} {where}: {click.style(what.message, fg=colour)}")


def _unknown(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)
