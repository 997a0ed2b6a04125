"""fleetctl rescue and quarantine: jobs whose host or process died."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fleetctl.cli.common import FILE, JSON, deployed, ends_well


@click.command()
@FILE
@click.argument("host")
@click.option("--confirmed-dead", is_flag=True, help="You have made sure that the host is off: its jobs may run again.")
@click.option("--dry-run", is_flag=True, help="Show which jobs would be given back.")
@JSON
@ends_well
def rescue(spec_file: Path, host: str, confirmed_dead: bool, dry_run: bool, as_json: bool) -> None:
    """Give the jobs of a dead HOST back to their queues at once, without waiting for the visibility timeout.

    Refused while the host may be alive, because its jobs would run twice: the provider must say that it is gone or
    stopped, or you say so with --confirmed-dead. A host that answers is alive whatever is said.
    """
    from contextlib import nullcontext

    from fleetctl.adapters.history import Entry
    from fleetctl.cli import render
    from fleetctl.workflows.claims import rescue as workflow

    it = deployed(spec_file)
    command = f"rescue {host}{' --confirmed-dead' if confirmed_dead else ''}"
    # Without the lock: a deploy may drain for long, and what is given back is what the dead machine alone held.
    with it.wired.history.record(command) if not dry_run else nullcontext(Entry()) as entry, it.wired.remote:
        value = workflow(it.fleet, it.wanted, host, confirmed_dead=confirmed_dead, dry_run=dry_run)
        entry.summary = f"{len(value.restored)} jobs queued again, {len(value.quarantined)} quarantined"
    render.rescue(value, as_json=as_json)


@click.group()
def quarantine() -> None:
    """Jobs that were taken out of their queues because their worker died under them three times."""


@quarantine.command("list")
@FILE
@JSON
@ends_well
def list_jobs(spec_file: Path, as_json: bool) -> None:
    """List the jobs in quarantine."""
    from fleetctl.cli import render
    from fleetctl.workflows import quarantine as workflow

    it = deployed(spec_file)
    with it.wired.remote:
        render.quarantined(workflow.listed(it.fleet, it.helpers()), as_json=as_json)


@quarantine.command()
@FILE
@click.argument("job")
@JSON
@ends_well
def show(spec_file: Path, job: str, as_json: bool) -> None:
    """Show one job with the evidence: when, where and how its workers died, and what it was called with."""
    from fleetctl.cli import render
    from fleetctl.workflows import quarantine as workflow

    it = deployed(spec_file)
    with it.wired.remote:
        render.evidence(workflow.shown(it.fleet, it.helpers(), job), as_json=as_json)


@quarantine.command()
@FILE
@click.argument("jobs", nargs=-1, required=True)
@JSON
@ends_well
def release(spec_file: Path, jobs: tuple[str, ...], as_json: bool) -> None:
    """Put JOBS back into their queues, their deaths forgotten. Exit 3 when one is not in quarantine."""
    from fleetctl.cli import render
    from fleetctl.workflows import quarantine as workflow

    it = deployed(spec_file)
    with it.wired.remote:
        value = workflow.released(it.fleet, it.helpers(), jobs)
    render.released(value, as_json=as_json)
    if value.unknown:
        sys.exit(3)
