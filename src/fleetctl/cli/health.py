"""fleetctl health: is the fleet well, and if not, what to type."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fleetctl.cli.common import FILE, JSON, deployed, ends_well
from fleetctl.errors import UsageError


@click.command()
@FILE
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="This host alone; may be repeated.")
@click.option("--check", "checks", multiple=True, metavar="NAME",
              help="Checks whose names begin so, such as storage or unit.deaf; may be repeated.")  # fmt: skip
@click.option("--watch", is_flag=True, help="Stay, and show it anew; with --json a line for each look. Ctrl-C ends it.")
@click.option("--interval", type=click.FloatRange(0), default=2.0, show_default=True,
              help="With --watch: seconds between two looks.")  # fmt: skip
@click.option("--textfile", type=click.Path(path_type=Path, dir_okay=False),
              help="Write it for node_exporter's textfile collector too, whole or not at all.")  # fmt: skip
@JSON
@ends_well
def health(
    spec_file: Path,
    hosts: tuple[str, ...],
    checks: tuple[str, ...],
    watch: bool,
    interval: float,
    textfile: Path | None,
    as_json: bool,
) -> None:
    """Show how every host and the fleet are, the worst first, each trouble with its cause and what to type.

    One connection to each host, all at once; a host that is dead costs its own row. Exit 0 when nothing is red
    (warnings, yellow, are told), 3 when something is.
    """
    import time

    from fleetctl.adapters import assets
    from fleetctl.adapters import textfile as metrics
    from fleetctl.cli.views import health as view
    from fleetctl.core.health_checks import groups, unknown
    from fleetctl.core.targets import chosen_hosts
    from fleetctl.workflows.health import Doctor

    if strange := unknown(checks):
        raise UsageError(f"no check's name begins with {strange[0]}", hint=f"one of: {', '.join(groups())}")
    it = deployed(spec_file)
    chosen_hosts(hosts, it.wanted)
    with it.wired.remote:
        doctor = Doctor(it.fleet, it.wanted, text=assets.probe(), hosts=hosts, checks=checks)
        if not watch:
            value = doctor.once()
            if textfile is not None:
                metrics.write(textfile, metrics.render(value, now=time.time()))
            view.health(value, as_json=as_json, with_green=bool(checks))
        else:
            value = None
            seen = doctor.watch(interval=interval)
            for value in view.watch(seen, as_json=as_json, with_green=bool(checks)):
                if textfile is not None:
                    metrics.write(textfile, metrics.render(value, now=time.time()))
    if value is None:
        raise KeyboardInterrupt
    if not value.is_ok:
        sys.exit(3)
