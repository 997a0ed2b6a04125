"""fleetctl exec, put and logs: one command, one file, one story for many hosts."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.cli.common import DURATION, FILE, JSON, Deployed, deployed, ends_well
from fleetctl.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from fleetctl.core.layout import WantedHost
    from fleetctl.model import Host

GROUPS = ("workers", "clients", "nfs", "redis", "postgres")
_COMMAND = "fleetctl.command"


class WithCommand(click.Command):
    """A command whose words after `--` are another's, and not read."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


HOSTS = click.argument("names", nargs=-1, metavar="[HOST]...")
GROUP = click.option("--group", type=click.Choice(GROUPS), help="The hosts of this group.")
POOL = click.option("--pool", help="The hosts of this pool.")


@click.command("exec", cls=WithCommand)
@FILE
@HOSTS
@GROUP
@POOL
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="Until it is ended on a host.")
@JSON
@click.pass_context
@ends_well
def execute(
    ctx: click.Context,
    spec_file: Path,
    names: tuple[str, ...],
    group: str | None,
    pool: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Run a command on all hosts at once, or on some: fleetctl exec [HOST...] -- COMMAND.

    One word is a line for the shell ('df -h / | tail -1'), several are a program and its arguments. Exit 3 when it
    failed on one of them.
    """
    from fleetctl.cli.views import operate as view
    from fleetctl.workflows.execute import execute as workflow

    argv = ctx.meta.get(_COMMAND, ())
    if not argv:
        hint = f"fleetctl exec {' '.join(names[:1])}{' ' * bool(names)}-- {' '.join(names[1:]) or 'uptime'}"
        raise UsageError("no command: it stands behind --", hint=hint)
    it = deployed(spec_file)
    hosts = _chosen(it, names, group, pool)
    with it.wired.remote as remote:
        value = workflow(remote, hosts, it.wired.running(), argv, timeout=timeout)
    view.ran(value, as_json=as_json)
    if not all(one.is_ok for one in value):
        sys.exit(3)


@click.command()
@FILE
@click.argument("local", type=click.Path(path_type=Path))
@click.argument("path", metavar="REMOTE")
@HOSTS
@GROUP
@POOL
@click.option("--mode", metavar="0644", help="The file's mode there; as here when absent.")
@JSON
@ends_well
def put(
    spec_file: Path,
    local: Path,
    path: str,
    names: tuple[str, ...],
    group: str | None,
    pool: str | None,
    mode: str | None,
    as_json: bool,
) -> None:
    """Put a file on all hosts, or on some: it appears whole, when what arrived is what was sent. 64 MiB at most.

    REMOTE is an absolute path; where it is a directory, the file goes into it. Exit 3 when a host did not get it.
    """
    from fleetctl.cli.views import operate as view
    from fleetctl.workflows.transfer import put as workflow

    if mode is not None and re.fullmatch(r"0?[0-7]{3,4}", mode) is None:
        raise UsageError(f"--mode {mode} is not a mode", hint="--mode 0644")
    try:
        content, status = local.read_bytes(), local.stat()
    except OSError as exc:
        hint = "a directory: tar it, or use the shared storage" if local.is_dir() else f"ls -l {local}"
        raise UsageError(f"cannot read {local}: {exc.strerror}", hint=hint) from exc
    bits = int(mode, 8) if mode is not None else status.st_mode & 0o7777
    it = deployed(spec_file)
    hosts = _chosen(it, names, group, pool)
    with it.wired.history.record(f"put {local} {path}") as entry, it.wired.remote as remote:
        value = workflow(remote, hosts, it.wired.running(), content, name=local.name, path=path, mode=bits)
        bad = [one.host for one in value if not one.is_ok]
        entry.result = "failed" if bad else "done"
        entry.summary = f"{len(value) - len(bad)} hosts" + (f", not {', '.join(bad)}" if bad else "")
    view.sent(value, as_json=as_json)
    if bad:
        sys.exit(3)


@click.command()
@click.option(
    "--file", "spec_file", type=click.Path(path_type=Path), default=Path("fleet.yml"), envvar="FLEETCTL_SPEC",
    show_default=True, help="The fleet's description (-f follows here). Environment: FLEETCTL_SPEC.",
)  # fmt: skip
@click.argument("names", nargs=-1, metavar="[HOST|POOL|UNIT]...")
@click.option("-f", "--follow", "is_following", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--since", help="10m or 2h ago, or a time: '2026-01-31 12:00'.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), help="The last so many, of all hosts together; 200 without --since."
)
@click.option("--unit-glob", "globs", multiple=True, help="Of these systemd units instead: '*' for all, 'ssh*'.")
@JSON
@ends_well
def logs(
    spec_file: Path,
    names: tuple[str, ...],
    is_following: bool,
    since: str | None,
    lines: int | None,
    globs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the journals of many hosts as one, in time order (of their clocks): all workers, or a HOST, POOL or UNIT.

    Of a host of services, its service's journal. With --json, an object a line. Exit 3 when one could not be read.
    """
    import time

    from fleetctl.cli.views import operate as view
    from fleetctl.workflows import journal as workflow

    if any(re.search(r"\s", glob) for glob in globs):
        raise UsageError("a unit's name has no blanks", hint="--unit-glob A --unit-glob B")
    it = deployed(spec_file)
    sources = workflow.sources(names, it.wanted, globs)
    running: Mapping[str, Host] = it.wired.running()
    if not is_following:
        with it.wired.remote as remote:
            last = lines if lines is not None or since else 200
            value = workflow.read(remote, sources, running, since=since, lines=last)
        view.journal(value, as_json=as_json)
        if value.errors:
            sys.exit(3)
        return
    first = lines if lines is not None or since else 10
    try:
        with it.wired.remote as remote:
            for what in workflow.follow(remote, sources, running, since=since, lines=first, clock=time.monotonic):
                view.line(what, as_json=as_json)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(INTERRUPTED)


def _chosen(it: Deployed, names: tuple[str, ...], group: str | None, pool: str | None) -> tuple[WantedHost, ...]:
    """Return the hosts that are meant, in the fleet's order: all where nothing is said."""
    from fleetctl.core.targets import chosen_hosts

    pools = list(it.fleet.spec.pools)
    if pool is not None and pool not in pools:
        raise UsageError(f"the fleet has no pool {pool}", hint=f"one of: {', '.join(pools)}")
    hosts = chosen_hosts(names, it.wanted) if names else it.wanted
    hosts = tuple(
        host for host in hosts if (group is None or group in host.groups) and (pool is None or host.pool == pool)
    )
    if not hosts:
        raise UsageError("no host is meant", hint="fleetctl status")
    return hosts
