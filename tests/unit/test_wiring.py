"""What the spec makes of the adapters: which storage, and which machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.wiring import Wired
from fleetctl.spec.models import FleetSpec
from tests.unit.core.conftest import SHARED, STATIC, spec

UML = {"kind": "local", "machines": "uml"}


def wired(asked: FleetSpec, directory: Path) -> Wired:
    environ = {"FLEETCTL_HOME": str(directory / "state")}
    return Wired(asked, directory / "fleet.yml", environ, fetch="none")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        pytest.param(spec(), "bind", id="nspawn"),
        pytest.param(spec(provider=UML), "nfs", id="uml"),
        pytest.param(spec(provider=UML, services={"nfs": {"url": "nfs://files/a"}}), "nfs", id="uml, external"),
        pytest.param(spec(provider=STATIC, services=SHARED), "nfs", id="static"),
        pytest.param(spec(provider=STATIC, services={**SHARED, "nfs": {"mounted": True}}), "mounted", id="mounted"),
    ],
)
def test_only_nspawn_machines_share_a_directory(asked: FleetSpec, kind: str, tmp_path: Path) -> None:
    assert wired(asked, tmp_path).context().storage_kind == kind


@pytest.mark.parametrize(
    ("provider", "made"),
    [
        pytest.param({"kind": "local"}, ("nspawn", 512, "/shared/fleet"), id="nspawn"),
        pytest.param({**UML, "memory": "1GiB"}, ("uml", 1024, None), id="uml"),
    ],
)
def test_the_local_provider_is_told_which_machines_to_make(
    provider: dict[str, Any], made: tuple[str, int, str | None], tmp_path: Path
) -> None:
    source = wired(spec(provider=provider), tmp_path).provider
    assert isinstance(source, LocalProvider)
    assert tuple(vars(source)[name] for name in ("_machines", "_memory_mib", "_storage_path")) == made
