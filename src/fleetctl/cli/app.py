"""The fleetctl command. Heavy modules are imported inside the commands, so that --help answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.cli import capacity, clients, health, hosts, jobs, operate, recovery
from fleetctl.cli.common import FILE, JSON, WORKERS, YES, asked, confirm, deployed, ends_well
from fleetctl.errors import UsageError

if TYPE_CHECKING:
    from fleetctl.core.plan import Plan


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fleetctl")
def main() -> None:
    """Turn bare VMs into a Celery worker fleet, and keep it healthy.

    fleet.yml says what is wanted; `fleetctl init` writes one. Answers go to stdout, progress to stderr. Exit codes:
    0 fine, 1 failed, 2 asked wrongly, 3 the answer is bad, 130 interrupted.
    """


@main.command()
@click.option("--path", type=click.Path(path_type=Path), default=Path("fleet.yml"), show_default=True)
@ends_well
def init(path: Path) -> None:
    """Write a commented fleet.yml."""
    from fleetctl.spec.starter import STARTER

    if path.exists():
        raise UsageError(f"{path} exists", hint="fleetctl init --path another.yml")
    path.write_text(STARTER)
    click.echo(f"wrote {path}; next: fleetctl deploy")


@main.command()
@ends_well
def schema() -> None:
    """Print the JSON Schema of fleet.yml."""
    import json

    from fleetctl.spec import load

    click.echo(json.dumps(load.schema(), indent=2))


@main.command()
@FILE
@WORKERS
@click.option("--converge", is_flag=True, help="Plan every role on every host, whatever the stamps say.")
@JSON
@ends_well
def plan(spec_file: Path, workers: int | None, converge: bool, as_json: bool) -> None:
    """Show what deploy would do."""
    from fleetctl.cli import render
    from fleetctl.cli.story import story
    from fleetctl.workflows import deploy as workflow

    wired, fleet = asked(spec_file, workers)
    with wired.remote, story() as on_event:
        value = workflow.plan(fleet, force=converge, on_event=on_event)
    render.plan(value, as_json=as_json)


@main.command()
@FILE
@WORKERS
@click.option("--converge", is_flag=True, help="Run every role on every host, whatever the stamps say.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@YES
@JSON
@ends_well
def deploy(spec_file: Path, workers: int | None, converge: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make the fleet what fleet.yml says, and prove it.

    Shows the plan, applies it, then verifies: identity of each host, shared storage, credentials of the services, one
    job on every unit. Exit 3 when a host or a check failed; run it again to mend what is missing.
    """
    import secrets
    import time

    from fleetctl.cli import render
    from fleetctl.cli.story import paused, story
    from fleetctl.workflows import deploy as workflow

    wired, fleet = asked(spec_file, workers, changes=not dry_run)
    command = f"deploy{f' --workers {workers}' if workers else ''}{' --converge' if converge else ''}"
    if dry_run:
        with wired.remote, story() as on_event:
            value = workflow.plan(fleet, force=converge, on_event=on_event)
        render.plan(value, as_json=as_json)
        return

    def show(planned: Plan) -> None:
        render.plan_note(planned)
        if planned.retire and wired.provider.kind != "local":
            with paused():
                confirm(f"retire {', '.join(planned.retire)}?", yes)

    with wired.change("deploy", command) as entry, wired.remote, story() as on_event:
        report = workflow.deploy(
            fleet, force=converge, confirm=show, token=secrets.token_hex(8), clock=time.monotonic, on_event=on_event
        )
        entry.result = "done" if report.is_ok else "failed"
        entry.summary = report.summary
    render.deploy(report, as_json=as_json)
    if not report.is_ok:
        sys.exit(3)


@main.command()
@FILE
@JSON
@ends_well
def verify(spec_file: Path, as_json: bool) -> None:
    """Prove that the fleet works: the checks at the end of every deploy."""
    import secrets

    from fleetctl.cli import render
    from fleetctl.cli.story import story
    from fleetctl.core.inventory import inventory
    from fleetctl.workflows.verify import verify as workflow

    it = deployed(spec_file)
    hosts = it.wired.running()
    present = tuple(hosts[host.name] for host in it.wanted if host.name in hosts)
    with it.wired.remote as remote, story() as on_event:
        built = inventory(it.fleet.spec, it.wanted, present, it.fleet.context())
        checks = workflow(it.wanted, present, built, remote, token=secrets.token_hex(8), on_event=on_event)
    render.checks(checks, as_json=as_json)
    if not all(check.is_ok for check in checks):
        sys.exit(3)


@main.command()
@FILE
@JSON
@ends_well
def status(spec_file: Path, as_json: bool) -> None:
    """Show hosts, units and slots."""
    from fleetctl.cli import render
    from fleetctl.workflows.status import status as workflow

    it = deployed(spec_file)
    with it.wired.remote as remote:
        value = workflow(it.wired.spec, it.fleet.spec, it.wanted, it.wired.provider, remote)
    render.status(value, as_json=as_json)


@main.command()
@FILE
@click.option("--list", "list_all", is_flag=True, help="The whole inventory (also without this option).")
@click.option("--host", metavar="NAME", help="The variables of one host.")
@ends_well
def inventory(spec_file: Path, list_all: bool, host: str | None) -> None:
    """Print the Ansible inventory of what is deployed, as JSON. It carries no secrets."""
    import json

    from fleetctl.core import inventory as core

    del list_all
    it = deployed(spec_file)
    built = core.inventory(it.fleet.spec, it.wanted, tuple(it.wired.running().values()), it.fleet.context())
    value = built if host is None else built["_meta"]["hostvars"].get(host, {})
    click.echo(json.dumps(value, indent=2))


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@FILE
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@ends_well
def ssh(spec_file: Path, host: str, command: tuple[str, ...]) -> None:
    """Open a shell on HOST, or run COMMAND there, with the fleet's key and pinned host keys."""
    from fleetctl.adapters.openssh import command_line

    wired = deployed(spec_file).wired
    hosts = wired.running()
    if host not in hosts:
        raise UsageError(f"no running host {host}", hint=f"one of: {', '.join(hosts) or 'none; fleetctl deploy'}")
    argv = command_line(hosts[host], wired.state.known_hosts, command)
    os.execvp(argv[0], argv)  # noqa: S606  # the shell takes over this terminal


@main.command()
@FILE
@YES
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
@ends_well
def destroy(spec_file: Path, yes: bool, dry_run: bool) -> None:
    """Remove everything that was made for this fleet, its data included.

    On a static provider the machines stay: their units are stopped when their jobs are done, and forgotten.
    """
    from fleetctl.cli.story import story
    from fleetctl.workflows.destroy import destroy as workflow

    it = deployed(spec_file)
    wired, fleet = it.wired, it.fleet
    names = [host.name for host in wired.provider.hosts()]
    click.echo(f"fleet {wired.spec.name}: removing {', '.join(names) or 'leftovers, if any'}", err=True)
    if dry_run:
        return
    confirm("remove these hosts and their data?", yes)
    with wired.change("destroy", "destroy") as entry, wired.remote, story() as on_event:
        failed = workflow(fleet, on_event)
        entry.result = "failed" if failed else "done"
        entry.summary = f"{len(names)} hosts removed" if not failed else f"left: {', '.join(failed)}"
    for name, error in failed.items():
        click.echo(f"{name}: {error}", err=True)
    if failed:
        sys.exit(3)


@main.command()
@FILE
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the latest last.")
@JSON
@ends_well
def history(spec_file: Path, limit: int, as_json: bool) -> None:
    """Show who deployed or destroyed what, when, and with which result, from this computer."""
    from fleetctl.adapters.wiring import wire
    from fleetctl.cli import render

    render.history(wire(spec_file).history.changes()[-limit:], as_json=as_json)


@main.command()
@FILE
@click.option("--jobs", type=click.IntRange(1, 1_000_000), required=True, help="How many.")
@click.option("--seconds", type=click.FloatRange(0, 3600), required=True, help="How long each runs.")
@click.option("--work", type=click.Choice(["sleep", "io"]), default="sleep", show_default=True,
              help="io: each holds a Postgres connection, writes 16 files and commits a row.")  # fmt: skip
@click.option("--queue", help="The queue; by default the first of the first pool.")
@click.option("--timeout", type=click.FloatRange(1), help="Seconds until missing jobs count as lost.")
@JSON
@ends_well
def load(
    spec_file: Path, jobs: int, seconds: float, work: str, queue: str | None, timeout: float | None, as_json: bool
) -> None:
    """Submit built-in jobs, watch them, and report from the jobs' own records. Exit 3 when one failed or was lost."""
    import secrets

    from fleetctl.cli import render
    from fleetctl.cli.story import story
    from fleetctl.workflows import load as workflow

    it = deployed(spec_file)
    queue = queue or next(iter(it.fleet.spec.pools.values())).queues[0]
    slots = sum(unit.concurrency for of in it.wanted for unit in of.units if queue in unit.queues)
    if not slots:
        raise UsageError(f"no pool serves queue {queue}", hint="name a queue of fleet.yml's pools")
    waves = -(-jobs // slots)
    with it.wired.remote as remote, story() as on_event:
        report = workflow.load(
            it.helpers()[0], queue, remote, jobs=jobs, seconds=seconds, work=work, run=secrets.token_hex(6),
            redis_url=it.fleet.redis_url("producer"), timeout=timeout or waves * seconds * 2 + 180, on_event=on_event,
        )  # fmt: skip
    render.load(report, as_json=as_json)
    if report.failed or report.lost or report.problems:
        sys.exit(3)


for command in (
    health.health, capacity.capacity, capacity.preflight, capacity.queues, capacity.audit,
    operate.drain, operate.undrain, operate.restart, hosts.execute, hosts.put, hosts.logs,
    jobs.jobs, jobs.job, jobs.top, jobs.incident,
    clients.client_config, recovery.rescue, recovery.quarantine,
):  # fmt: skip
    main.add_command(command)
