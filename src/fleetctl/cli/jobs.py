"""fleetctl jobs, job, top and incident: what runs where, and what became of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fleetctl.cli.common import DURATION, FILE, JSON, deployed, ends_well


@click.command()
@FILE
@click.argument("names", nargs=-1, metavar="[HOST|POOL|UNIT]...")
@click.option("--queue", help="Jobs of this queue alone.")
@JSON
@ends_well
def jobs(spec_file: Path, names: tuple[str, ...], queue: str | None, as_json: bool) -> None:
    """List the jobs that run now, the longest first: where, since when, their task and queue."""
    from fleetctl.cli.views import jobs as view
    from fleetctl.core.targets import resolve, units_of
    from fleetctl.workflows import jobs as workflow
    from fleetctl.workflows.survey import survey

    it = deployed(spec_file)
    units = frozenset((unit.name, unit.host) for unit in units_of(resolve(names, it.wanted), it.wanted))
    with it.wired.remote:
        look = survey(it.fleet, it.agents())
    found = workflow.chosen(workflow.running(look), units=units if names else None, queue=queue)
    view.running(look.now, found, as_json=as_json)


@click.command()
@FILE
@click.argument("job")
@JSON
@ends_well
def job(spec_file: Path, job: str, as_json: bool) -> None:
    """Tell one JOB's way: queued, received, started, given back, ended, and where.

    Of a running one the beginning of its id is enough.
    """
    from fleetctl.cli.views import jobs as view
    from fleetctl.workflows import jobs as workflow

    it = deployed(spec_file)
    with it.wired.remote:
        view.story(workflow.story(it.fleet, it.agents(), job), as_json=as_json)


@click.command()
@FILE
@click.option("--interval", type=click.FloatRange(0.2), default=1.0, show_default=True, help="Seconds between looks.")
@JSON
@ends_well
def top(spec_file: Path, interval: float, as_json: bool) -> None:
    """Watch hosts, queues, slots and throughput on a terminal, until q or Ctrl-C; off one, one look."""
    from functools import partial

    from fleetctl.cli.views import jobs as view
    from fleetctl.core.glance import glance
    from fleetctl.workflows.survey import survey

    it = deployed(spec_file)
    look = partial(survey, it.fleet, it.agents())
    with it.wired.remote:
        if as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
            view.glance(it.fleet.spec.name, glance(look(), it.wanted), as_json=as_json)
            return
        try:
            view.watch(it.fleet.spec.name, look, it.wanted, interval)
        except KeyboardInterrupt:
            return


@click.command()
@FILE
@click.argument("subject", metavar="HOST|JOB")
@click.option("--output", type=click.Path(path_type=Path), help="The archive; incident-HOST-TIME.tar.gz when absent.")
@click.option("--since", type=DURATION, default="1h", show_default=True, help="Of a host: how far back (90s, 15m, 1h).")
@JSON
@ends_well
def incident(spec_file: Path, subject: str, output: Path | None, since: float, as_json: bool) -> None:
    """Gather what is known of a HOST or a JOB in one archive: timeline, journals, kernel, mounts, claims, history.

    Secrets are taken out: the fleet's by their values, others by their shape. Look at it before you hand it on. Of a
    host that does not answer there is what the broker and the other hosts know.
    """
    import time
    from dataclasses import asdict
    from importlib.metadata import version

    from fleetctl.adapters import archive, assets, secrets
    from fleetctl.cli.views import jobs as view
    from fleetctl.core.redaction import redaction
    from fleetctl.workflows.health import facts
    from fleetctl.workflows.incident import gather

    it = deployed(spec_file)
    known = secrets.read(it.wired.state.path / secrets.FILE)
    with it.wired.remote:
        value = gather(
            it.fleet, it.wanted, subject, since_seconds=since, now=time.time(), spec_text=spec_file.read_text(),
            changes=[asdict(change) for change in it.wired.history.changes()],
            redact=redaction(secret.get_secret_value() for secret in known.values()).redact,
            version=version("fleetctl"),
            health=lambda hosts: facts(it.fleet, it.wanted, hosts, text=assets.probe()),
        )  # fmt: skip
    now = time.time()
    name = f"incident-{_file_name(value.subject)}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    path = output or Path(f"{name}.tar.gz")
    archive.write(path, name, value.files, at=now)
    view.incident(value, path, as_json=as_json)


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)[:60]
