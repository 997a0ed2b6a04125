"""What commands share: options, how errors end, the fleet that a command is about."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fleetctl.errors import INTERRUPTED, ConnectError, FleetError, UsageError

if TYPE_CHECKING:
    from fleetctl.adapters.wiring import Wired
    from fleetctl.core.layout import WantedHost
    from fleetctl.model import Host
    from fleetctl.ports import Fleet

FILE = click.option(
    "-f", "--file", "spec_file", type=click.Path(path_type=Path), default=Path("fleet.yml"), envvar="FLEETCTL_SPEC",
    show_default=True, help="The fleet's description. Environment: FLEETCTL_SPEC.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
WORKERS = click.option("--workers", type=int, metavar="N", help="Units of the only pool, instead of fleet.yml's count.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
_SIZES = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType[float]):
    """A whole number with its unit, as in fleet.yml: 90s, 15m, 1h. Seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]{1,9})\s*(s|m|h)", str(value).strip())
        if match is None:
            self.fail(f"{value} is not a duration: write 90s, 15m or 1h", param, ctx)
        return float(int(match[1]) * _SIZES[match[2]])


DURATION = Duration()


@dataclass(frozen=True)
class Deployed:
    """A fleet as it was deployed: with the counts of what exists."""

    wired: Wired
    fleet: Fleet
    wanted: tuple[WantedHost, ...]

    def agents(self) -> tuple[Host, ...]:
        """Return the running hosts that can be asked, those without units first; whether they answer shows then."""
        from fleetctl.workflows.agent import with_app

        return with_app(self.wanted, self.wired.running().values())

    def helpers(self) -> tuple[Host, ...]:
        """Return the hosts that answer and whose agent can act for the fleet; ConnectError when there is none."""
        from fleetctl.workflows.agent import answering

        hosts = answering(self.fleet.remote, self.agents())
        if not hosts:
            raise ConnectError("no host that carries the app answers", hint="fleetctl status")
        return hosts


def ends_well(function: Callable[..., Any]) -> Callable[..., Any]:
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


def asked(spec_file: Path, workers: int | None, *, changes: bool = False) -> tuple[Wired, Fleet]:
    """Return the fleet as fleet.yml wants it, for a command that `changes` it or for its plan."""
    from fleetctl.adapters.wiring import wire

    wired = wire(spec_file, workers=workers, fetch="all" if changes else "can")
    return wired, wired.fleet(wired.spec)


def deployed(spec_file: Path) -> Deployed:
    """Return the fleet as it was deployed."""
    from fleetctl.adapters.wiring import wire
    from fleetctl.core.layout import fit

    wired = wire(spec_file)
    hosts = wired.provider.hosts()
    wired.state.pin(hosts)
    spec, wanted = fit(wired.spec, hosts)
    return Deployed(wired, wired.fleet(spec), wanted)


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; raise UsageError without one, or when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this removes something and there is no terminal to ask on", hint="add --yes")
    if not click.confirm(question, err=True):
        raise UsageError("nothing was changed")
