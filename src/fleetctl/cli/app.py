"""The fleetctl command. Heavy modules are imported inside the commands, so that --help answers at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fleetctl.errors import INTERRUPTED, FleetError, UsageError

if TYPE_CHECKING:
    from fleetctl.adapters.wiring import Wired
    from fleetctl.core.plan import Plan
    from fleetctl.ports import Fleet

_FILE = click.option(
    "-f", "--file", "spec_file", type=click.Path(path_type=Path), default=Path("fleet.yml"), envvar="FLEETCTL_SPEC",
    show_default=True, help="The fleet's description. Environment: FLEETCTL_SPEC.",
)  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
_WORKERS = click.option(
    "--workers", type=int, metavar="N", help="Units of the only pool, instead of fleet.yml's count."
)
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


def _ends_well(function: Callable[..., Any]) -> Callable[..., Any]:
    """Render a FleetError once, as its message, hint and exit code; an interrupt as 130."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return function(*args, **kwargs)
        except FleetError as error:
            click.echo(f"error: {error.message}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted: run it again to go on, or `fleetctl destroy` to undo", err=True)
            sys.exit(INTERRUPTED)

    return run


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fleetctl")
def main() -> None:
    """Turn bare VMs into a Celery worker fleet, and keep it healthy.

    fleet.yml says what is wanted; `fleetctl init` writes one. Answers go to stdout, progress to stderr. Exit codes:
    0 fine, 1 failed, 2 asked wrongly, 3 the answer is bad, 130 interrupted.
    """


@main.command()
@click.option("--path", type=click.Path(path_type=Path), default=Path("fleet.yml"), show_default=True)
@_ends_well
def init(path: Path) -> None:
    """Write a commented fleet.yml."""
    from fleetctl.spec.starter import STARTER

    if path.exists():
        raise UsageError(f"{path} exists", hint="fleetctl init --path another.yml")
    path.write_text(STARTER)
    click.echo(f"wrote {path}; next: fleetctl deploy")


@main.command()
@_ends_well
def schema() -> None:
    """Print the JSON Schema of fleet.yml."""
    import json

    from fleetctl.spec import load

    click.echo(json.dumps(load.schema(), indent=2))


@main.command()
@_FILE
@_WORKERS
@click.option("--converge", is_flag=True, help="Plan every role on every host, whatever the stamps say.")
@_JSON
@_ends_well
def plan(spec_file: Path, workers: int | None, converge: bool, as_json: bool) -> None:
    """Show what deploy would do."""
    from fleetctl.cli import render
    from fleetctl.workflows import deploy as workflow

    wired, fleet = _fleet(spec_file, workers)
    with wired.remote, render.story() as on_event:
        value = workflow.plan(fleet, force=converge, on_event=on_event)
    render.plan(value, as_json=as_json)


@main.command()
@_FILE
@_WORKERS
@click.option("--converge", is_flag=True, help="Run every role on every host, whatever the stamps say.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@_YES
@_JSON
@_ends_well
def deploy(spec_file: Path, workers: int | None, converge: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make the fleet what fleet.yml says, and prove it.

    Shows the plan, applies it, then verifies: identity of each host, shared storage, credentials of the services, one
    job on every unit. Exit 3 when a host or a check failed; run it again to mend what is missing.
    """
    import secrets
    import time

    from fleetctl.cli import render
    from fleetctl.workflows import deploy as workflow

    wired, fleet = _fleet(spec_file, workers, changes=not dry_run)
    if dry_run:
        with wired.remote, render.story() as on_event:
            value = workflow.plan(fleet, force=converge, on_event=on_event)
        render.plan(value, as_json=as_json)
        return

    def confirm(planned: Plan) -> None:
        render.plan_note(planned)
        if planned.retire and wired.provider.kind != "local":
            with render.paused():
                _confirm(f"retire {', '.join(planned.retire)}?", yes)

    with wired.state.lock("deploy"), wired.remote, render.story() as on_event:
        report = workflow.deploy(
            fleet, force=converge, confirm=confirm, token=secrets.token_hex(8), clock=time.monotonic, on_event=on_event
        )
    render.deploy(report, as_json=as_json)
    if not report.is_ok:
        sys.exit(3)


@main.command()
@_FILE
@_JSON
@_ends_well
def verify(spec_file: Path, as_json: bool) -> None:
    """Prove that the fleet works: the checks at the end of every deploy."""
    import secrets

    from fleetctl.cli import render
    from fleetctl.core.inventory import inventory
    from fleetctl.core.layout import layout
    from fleetctl.workflows.verify import verify as workflow

    wired, fleet = _deployed(spec_file)
    wanted = layout(fleet.spec)
    hosts = wired.running()
    present = tuple(hosts[host.name] for host in wanted if host.name in hosts)
    with wired.remote, render.story() as on_event:
        built = inventory(fleet.spec, wanted, present, fleet.context())
        checks = workflow(wanted, present, built, wired.remote, token=secrets.token_hex(8), on_event=on_event)
    render.checks(checks, as_json=as_json)
    if not all(check.is_ok for check in checks):
        sys.exit(3)


@main.command()
@_FILE
@_JSON
@_ends_well
def status(spec_file: Path, as_json: bool) -> None:
    """Show hosts, units and slots."""
    from fleetctl.cli import render
    from fleetctl.workflows.status import status as workflow

    wired, fleet = _deployed(spec_file)
    with wired.remote:
        render.status(workflow(wired.spec, fleet.spec, wired.provider, wired.remote), as_json=as_json)


@main.command()
@_FILE
@click.option("--list", "list_all", is_flag=True, help="The whole inventory (also without this option).")
@click.option("--host", metavar="NAME", help="The variables of one host.")
@_ends_well
def inventory(spec_file: Path, list_all: bool, host: str | None) -> None:
    """Print the Ansible inventory of what is deployed, as JSON. It carries no secrets."""
    import json

    from fleetctl.core import inventory as core
    from fleetctl.core.layout import layout

    del list_all
    wired, fleet = _deployed(spec_file)
    built = core.inventory(fleet.spec, layout(fleet.spec), tuple(wired.running().values()), fleet.context())
    value = built if host is None else built["_meta"]["hostvars"].get(host, {})
    click.echo(json.dumps(value, indent=2))


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_FILE
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_ends_well
def ssh(spec_file: Path, host: str, command: tuple[str, ...]) -> None:
    """Open a shell on HOST, or run COMMAND there, with the fleet's key and pinned host keys."""
    from fleetctl.adapters.openssh import command_line

    wired, _ = _deployed(spec_file)
    hosts = wired.running()
    if host not in hosts:
        raise UsageError(f"no running host {host}", hint=f"one of: {', '.join(hosts) or 'none; fleetctl deploy'}")
    argv = command_line(hosts[host], wired.state.known_hosts, command)
    os.execvp(argv[0], argv)  # noqa: S606  # the shell takes over this terminal


@main.command()
@_FILE
@_YES
@click.option("--dry-run", is_flag=True, help="Show what would be removed.")
@_ends_well
def destroy(spec_file: Path, yes: bool, dry_run: bool) -> None:
    """Remove everything that was made for this fleet, its data included.

    On a static provider the machines stay: their units are stopped when their jobs are done, and forgotten.
    """
    from fleetctl.cli import render
    from fleetctl.workflows.destroy import destroy as workflow

    wired, fleet = _deployed(spec_file)
    names = [host.name for host in wired.provider.hosts()]
    click.echo(f"fleet {wired.spec.name}: removing {', '.join(names) or 'leftovers, if any'}", err=True)
    if dry_run:
        return
    _confirm("remove these hosts and their data?", yes)
    with wired.state.lock("destroy"), wired.remote, render.story() as on_event:
        failed = workflow(fleet, on_event)
    for name, error in failed.items():
        click.echo(f"{name}: {error}", err=True)
    if failed:
        sys.exit(3)


@main.command()
@_FILE
@click.option("--jobs", type=click.IntRange(1, 1_000_000), required=True, help="How many.")
@click.option("--seconds", type=click.FloatRange(0, 3600), required=True, help="How long each runs.")
@click.option("--work", type=click.Choice(["sleep", "io"]), default="sleep", show_default=True,
              help="io: each holds a Postgres connection, writes 16 files and commits a row.")  # fmt: skip
@click.option("--queue", help="The queue; by default the first of the first pool.")
@click.option("--timeout", type=click.FloatRange(1), help="Seconds until missing jobs count as lost.")
@_JSON
@_ends_well
def load(
    spec_file: Path, jobs: int, seconds: float, work: str, queue: str | None, timeout: float | None, as_json: bool
) -> None:
    """Submit built-in jobs, watch them, and report from the jobs' own records. Exit 3 when one failed or was lost."""
    import secrets

    from fleetctl.cli import render
    from fleetctl.core.layout import layout
    from fleetctl.workflows import load as workflow

    wired, fleet = _deployed(spec_file)
    wanted = layout(fleet.spec)
    queue = queue or next(iter(fleet.spec.pools.values())).queues[0]
    slots = sum(unit.concurrency for of in wanted for unit in of.units if queue in unit.queues)
    waves = -(-jobs // slots)
    with wired.remote, render.story() as on_event:
        host = workflow.host_of(queue, wanted, tuple(wired.running().values()), wired.remote)
        if host is None:
            raise UsageError(f"no host that answers serves queue {queue}", hint="fleetctl status")
        report = workflow.load(
            host, queue, wired.remote, jobs=jobs, seconds=seconds, work=work, run=secrets.token_hex(6),
            redis_url=wired.producer_url(), timeout=timeout or waves * seconds * 2 + 180, on_event=on_event,
        )  # fmt: skip
    render.load(report, as_json=as_json)
    if report.failed or report.lost or report.problems:
        sys.exit(3)


def _fleet(spec_file: Path, workers: int | None, *, changes: bool = False) -> tuple[Wired, Fleet]:
    """Return the fleet as fleet.yml wants it."""
    from fleetctl.adapters.wiring import wire

    wired = wire(spec_file, workers=workers, changes=changes)
    return wired, wired.fleet(wired.spec)


def _deployed(spec_file: Path) -> tuple[Wired, Fleet]:
    """Return the fleet as it was deployed: with the counts of what exists."""
    from fleetctl.adapters.wiring import wire
    from fleetctl.core.layout import fit

    wired = wire(spec_file)
    hosts = wired.provider.hosts()
    wired.state.pin(hosts)
    return wired, wired.fleet(fit(wired.spec, hosts))


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this removes something and there is no terminal to ask on", hint="add --yes")
    if not click.confirm(question, err=True):
        raise UsageError("nothing was changed")
