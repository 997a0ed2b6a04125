"""fleetctl drain, undrain and restart: units that shall rest, and units that shall begin anew."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fleetctl.cli.common import DURATION, FILE, JSON, deployed, ends_well
from fleetctl.errors import UsageError


@click.command()
@FILE
@click.argument("names", nargs=-1, required=True, metavar="HOST|POOL|UNIT...")
@click.option("--wait", is_flag=True, help="Return when no job runs there.")
@click.option("--deadline", type=DURATION, help="Wait so long at most (90s, 15m, 1h); exit 3 when jobs still run.")
@JSON
@ends_well
def drain(spec_file: Path, names: tuple[str, ...], wait: bool, deadline: float | None, as_json: bool) -> None:
    """Let a HOST, POOL or UNIT take no more jobs from now on; those that run finish. Nothing is stopped or killed.

    Returns at once, with the jobs that still run and how long they may take by the runs of the last 15 minutes. The
    drain holds through restarts until `fleetctl undrain`. Where a name may mean more: host:NAME, pool:NAME, unit:NAME.
    """
    import time

    from fleetctl.adapters.state import operator
    from fleetctl.cli.story import story
    from fleetctl.cli.views import operate as view
    from fleetctl.workflows import drain as workflow

    it = deployed(spec_file)
    targets, units = workflow.targets(names, it.wanted)
    asked = it.agents()
    # Without the lock: a deploy may take long, and an operator may not be able to wait for it.
    with it.wired.history.record(f"drain {' '.join(names)}") as entry, it.wired.remote:
        value = workflow.drain(it.fleet, asked, targets, units, by=operator())
        entry.summary = f"{len(units)} units, {len(value.waiting.jobs)} jobs ran"
        left = value.waiting
        if wait or deadline is not None:
            if not as_json:
                view.drained_note(value)
            with story() as on_event:
                left = workflow.wait(
                    it.fleet, asked, units, deadline=deadline, clock=time.monotonic, sleep=time.sleep,
                    on_event=on_event,
                )  # fmt: skip
            entry.result = "done" if left.is_over else "failed"
            entry.summary += "; all finished" if left.is_over else f"; {len(left.jobs)} at the deadline"
    view.drained(value, left, waited=wait or deadline is not None, as_json=as_json)
    if (wait or deadline is not None) and not left.is_over:
        sys.exit(3)


@click.command()
@FILE
@click.argument("names", nargs=-1, metavar="HOST|POOL|UNIT...")
@click.option("--all", "is_all", is_flag=True, help="End every drain.")
@JSON
@ends_well
def undrain(spec_file: Path, names: tuple[str, ...], is_all: bool, as_json: bool) -> None:
    """Let a drained HOST, POOL or UNIT take jobs again."""
    from fleetctl.cli.views import operate as view
    from fleetctl.workflows import drain as workflow

    if bool(names) == is_all:
        raise UsageError("say what to undrain, or --all", hint="fleetctl undrain worker-1")
    it = deployed(spec_file)
    command = f"undrain {' '.join(names) or '--all'}"
    with it.wired.history.record(command) as entry, it.wired.remote:
        value = workflow.undrain(it.fleet, it.agents(), names, it.wanted)
        entry.summary = ", ".join(value.keys) or "nothing was drained"
    view.undrained(value, as_json=as_json)


@click.command()
@FILE
@click.argument("names", nargs=-1, metavar="[HOST|POOL|UNIT]...")
@click.option("--rolling", is_flag=True, help="Batch by batch, each proven before the next begins.")
@click.option("--batch", default="25%", show_default=True, help="Hosts at once: a number, or a share of them.")
@click.option("--dry-run", is_flag=True, help="Show the batches and stop.")
@JSON
@ends_well
def restart(spec_file: Path, names: tuple[str, ...], rolling: bool, batch: str, dry_run: bool, as_json: bool) -> None:
    """Restart units batch by batch. Each waits for its jobs, and proves itself by a job before the next batch begins.

    Stops at the first batch with a host that is not proven: exit 3, and the hosts after it run on as they were.
    """
    from fleetctl.cli.story import story
    from fleetctl.cli.views import operate as view
    from fleetctl.core.targets import resolve
    from fleetctl.workflows import restart as workflow

    if not rolling:
        hint = f"fleetctl restart --rolling{''.join(f' {name}' for name in names)}"
        raise UsageError("restart works batch by batch only, so that the fleet goes on meanwhile", hint=hint)
    it = deployed(spec_file)
    units = workflow.meant(resolve(names, it.wanted), it.wanted)
    batches = workflow.batches([host for host in it.wanted if host.name in units], batch)
    if dry_run:
        view.batches(batches, units, as_json=as_json)
        return
    command = f"restart --rolling --batch {batch}{''.join(f' {name}' for name in names)}"
    with it.wired.change("restart", command) as entry, it.wired.remote, story() as on_event:
        value = workflow.restart(it.fleet, it.wanted, units, it.wired.running(), batch=batch, on_event=on_event)
        entry.result = "done" if value.is_ok else "failed"
        entry.summary = f"{len(value.proven)} hosts restarted"
        entry.summary += f", not {', '.join(value.failed)}" if value.failed else ""
    view.restarted(value, as_json=as_json)
    if not value.is_ok:
        sys.exit(3)
