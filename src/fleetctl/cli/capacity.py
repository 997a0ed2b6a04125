"""fleetctl capacity, preflight, queues and audit: what the fleet has, what it could have, and where its jobs are."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fleetctl.cli.common import FILE, JSON, YES, confirm, deployed, ends_well
from fleetctl.errors import UsageError

DRY_RUN = click.option("--dry-run", is_flag=True, help="Say how many jobs it is about, and stop.")


@click.command()
@FILE
@click.option("--plan", "is_plan", is_flag=True, help="How --jobs jobs of --seconds each would go.")
@click.option("--jobs", type=click.IntRange(1, 100_000_000), help="With --plan: how many.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="With --plan: how long each runs.")
@click.option("--queue", help="With --plan: the queue that they are for; any when absent.")
@JSON
@ends_well
def capacity(
    spec_file: Path, is_plan: bool, jobs: int | None, seconds: float | None, queue: str | None, as_json: bool
) -> None:
    """Show slots, queues, rates and costs; with --plan, how long a number of jobs takes and what it costs.

    Jobs an hour, errors and the time to drain are those of the last 15 minutes. Costs are of hosts with a price in
    fleet.yml.
    """
    from fleetctl.cli.views import capacity as view
    from fleetctl.workflows import capacity as workflow

    if {is_plan, jobs is not None, seconds is not None} == {True, False} or (queue and not is_plan):
        hint = "fleetctl capacity --plan --jobs 1000 --seconds 300"
        raise UsageError("--plan, --jobs and --seconds belong together", hint=hint)
    it = deployed(spec_file)
    with it.wired.remote:
        if jobs is not None and seconds is not None:
            planned, error = workflow.plan(it.fleet, it.wanted, it.agents(), jobs=jobs, seconds=seconds, queue=queue)
            view.plan(planned, error, as_json=as_json)
        else:
            view.capacity(workflow.capacity(it.fleet, it.wanted, it.agents()), as_json=as_json)


@click.command()
@FILE
@click.option("--slots", type=click.IntRange(1, 1_000_000), help="How many; as many as fleet.yml has when absent.")
@JSON
@ends_well
def preflight(spec_file: Path, slots: int | None, as_json: bool) -> None:
    """Show every ceiling on the way to a number of slots, the first to be reached first. Exit 3 when one is too low.

    Before a deploy fleet.yml alone is judged; afterwards, what the hosts, Postgres and Redis say.
    """
    from fleetctl.cli.views import capacity as view
    from fleetctl.workflows.preflight import preflight as workflow

    it = deployed(spec_file)
    asked = it.wired.fleet(it.wired.spec)
    running = it.wired.running()
    hosts = tuple(running[host.name] for host in it.wanted if host.name in running)
    with it.wired.remote:
        value = workflow(asked, it.wanted, hosts, it.agents(), slots=slots or asked.spec.slots)
    view.preflight(value, as_json=as_json)
    if not value.is_ok:
        sys.exit(3)


@click.group()
def queues() -> None:
    """Queues and the jobs that wait in them."""


@queues.command("list")
@FILE
@JSON
@ends_well
def list_queues(spec_file: Path, as_json: bool) -> None:
    """List all queues with their jobs, those that nobody serves too."""
    from fleetctl.cli.views import capacity as view
    from fleetctl.workflows import capacity as workflow

    it = deployed(spec_file)
    with it.wired.remote:
        view.queues(workflow.queues(it.fleet, it.agents()), as_json=as_json)


@queues.command()
@FILE
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--count", type=click.IntRange(1), help="At most so many, the oldest first; all when absent.")
@DRY_RUN
@JSON
@ends_well
def move(spec_file: Path, source: str, target: str, count: int | None, dry_run: bool, as_json: bool) -> None:
    """Move waiting jobs to another queue, in their order and with their priorities."""
    from fleetctl.cli.views import capacity as view
    from fleetctl.workflows import capacity as workflow
    from fleetctl.workflows import survey

    if source == target:
        raise UsageError(f"{source} is one queue, not two", hint="fleetctl queues list")
    it = deployed(spec_file)
    command = f"queues move {source} {target}{f' --count {count}' if count else ''}"
    with it.wired.remote:
        hosts = it.agents()
        waiting = workflow.waiting(it.fleet, hosts, source)
        workflow.check_target(it.fleet, hosts, target)
        about = waiting if count is None else min(count, waiting)
        click.echo(f"{waiting} jobs wait in {source}: moving {about} to {target}", err=True)
        if dry_run:
            return
        with it.wired.history.record(command) as entry:
            done = survey.move(it.fleet, hosts, source, target, count=count)
            entry.summary = f"{done} jobs moved"
    view.moved(source, target, done, as_json=as_json)


@queues.command()
@FILE
@click.argument("queue")
@YES
@DRY_RUN
@JSON
@ends_well
def purge(spec_file: Path, queue: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove all jobs that wait in QUEUE, for good. Running ones go on."""
    from fleetctl.cli.views import capacity as view
    from fleetctl.workflows import capacity as workflow
    from fleetctl.workflows import survey

    it = deployed(spec_file)
    with it.wired.remote:
        hosts = it.agents()
        waiting = workflow.waiting(it.fleet, hosts, queue)
        click.echo(f"{waiting} jobs wait in {queue}", err=True)
        if dry_run:
            return
        done = 0
        if waiting:
            confirm(f"remove {waiting} jobs from {queue} for good?", yes)
            with it.wired.history.record(f"queues purge {queue}") as entry:
                done = survey.purge(it.fleet, hosts, queue)
                entry.summary = f"{done} jobs removed"
    view.removed(queue, done, as_json=as_json)


@click.command()
@FILE
@click.option("--requeue", is_flag=True, help="Put orphans back into their queues.")
@JSON
@ends_well
def audit(spec_file: Path, requeue: bool, as_json: bool) -> None:
    """Balance the books: every submitted job ended, runs, waits or is in quarantine. Exit 3 when one is missing.

    Jobs are counted where they are submitted, by programs that have the client configuration (fleetctl client-config);
    of others, the audit says only how many ended. Orphans are jobs that were submitted and are nowhere.
    """
    from fleetctl.cli.views import capacity as view
    from fleetctl.workflows import survey

    it = deployed(spec_file)
    with it.wired.remote:
        hosts = it.agents()
        value = survey.audit(it.fleet, hosts)
        lost = [orphan.job for orphan in value.orphans if orphan.has_message]
        done = None
        if requeue:
            done = survey.Requeued()
            if lost:
                with it.wired.history.record("audit --requeue") as entry:
                    done = survey.requeue(it.fleet, hosts, lost)
                    entry.summary = f"{len(done.requeued)} jobs queued again"
                value = survey.audit(it.fleet, hosts)
    view.audit(value, done, as_json=as_json)
    if not value.is_ok:
        sys.exit(3)
