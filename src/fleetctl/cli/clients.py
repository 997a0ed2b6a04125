"""fleetctl client-config: what a program needs that submits jobs."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from fleetctl.cli.common import FILE, deployed, ends_well


@click.command()
@FILE
@click.option(
    "--format", "as_format", type=click.Choice(["env", "celery"]), default="env", show_default=True,
    help="env: variables, for fleetctl.worker.configure; celery: a module for config_from_object.",
)  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), help="Write it to this file, mode 0600.")
@ends_well
def client_config(spec_file: Path, as_format: str, output: Path | None) -> None:
    """Print what a program needs that submits jobs: addresses, key prefix, routes, certificates. It holds passwords.

    Celery applies the key prefix, routes and priorities where a job is published: a program without them writes to
    lists that no worker reads. The fleet's client hosts have the same in /etc/fleet, for `fleet-app COMMAND`.
    """
    from fleetctl.adapters.privatefile import write_private
    from fleetctl.core import clients

    it = deployed(spec_file)
    variables = clients.environment(
        it.fleet.spec, redis_url=it.fleet.redis_url("producer"), database_url=it.wired.database_url()
    )
    text = clients.env_file(variables) if as_format == "env" else _celery_module(variables)
    if output is None:
        click.echo(text, nl=False)
        return
    write_private(output, text)
    click.echo(f"wrote {output}", err=True)


def _celery_module(variables: dict[str, str]) -> str:
    from pprint import pformat

    from fleetctl.worker import settings

    head = f'"""Settings of Celery apps that submit jobs to fleet {variables["FLEET_NAME"]}. Holds passwords."""\n\n'
    values = settings.for_publishers(variables)
    return head + "".join(f"{name} = {pformat(_plain(value), width=110)}\n" for name, value in values.items())


def _plain(value: Any) -> Any:
    """Return a value whose representation is Python: without the names of enumerations."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return int(value) if isinstance(value, IntEnum) else value
