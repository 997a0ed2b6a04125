"""A deployed fleet for commands: real wiring and state, with fakes for the provider's hosts and for SSH."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fleetctl.adapters.wiring import Wired
from fleetctl.cli.common import Deployed
from fleetctl.core.layout import fit
from fleetctl.spec.load import load
from tests.workflows.broker import BrokerRemote


class OpenRemote(BrokerRemote):
    """A remote that can be entered, as FabricRemote."""

    def __enter__(self) -> OpenRemote:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class FakeWired(Wired):
    """Wiring whose hosts answer by `fake`, and whose Redis users need no secrets."""

    fake: OpenRemote

    @cached_property
    def remote(self) -> Any:
        return self.fake

    def redis_url(self, user: str) -> str:
        return f"redis://{user}@r"


def deployed(fake: OpenRemote, environ: dict[str, str]) -> Deployed:
    """Return the fleet of ./fleet.yml as deployed, its hosts answering by `fake`."""
    path = Path("fleet.yml")
    wired = FakeWired(load(path), path, environ, "none", fake)
    spec, wanted = fit(wired.spec, wired.provider.hosts())
    return Deployed(wired, wired.fleet(spec), wanted)
