"""The hand-written inventory of inventory/examples/ says what the made one says, name by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fleetctl.core.inventory import Context, inventory
from fleetctl.core.layout import layout
from fleetctl.model import Host
from tests.unit.core.conftest import spec

EXAMPLE = Path(__file__).parents[3] / "inventory" / "examples" / "fleet.yml"
# Nobody computes these by hand: without them a host is not stamped, and its identity not asked for.
MADE_ONLY = {"fleet_stamp", "fleet_machine_id"}


def names(value: dict[str, Any]) -> dict[str, Any]:
    """Return the fleet_* names with the keys of those that are mappings."""
    return {
        key: sorted(inner) if isinstance(inner, dict) else None
        for key, inner in value.items()
        if key.startswith("fleet_") and key not in MADE_ONLY
    }


def test_the_example_has_the_names_of_the_made_inventory(context: Context) -> None:
    asked = spec()
    wanted = layout(asked)
    made = inventory(asked, wanted, [Host(h.name, h.name, f"10.9.0.{n}") for n, h in enumerate(wanted, 2)], context)
    everything = yaml.safe_load(EXAMPLE.read_text())["all"]
    groups = everything["children"]
    groups |= groups["workers"]["children"]
    assert names(everything["vars"]) == names(made["all"]["vars"])
    for group in ("nfs", "postgres", "redis", "apps", "clients", "workers", "pool_worker"):
        assert names(groups[group]["vars"]) == names(made[group]["vars"]), group
    assert names(groups["pool_worker"]["hosts"]["worker-1"]) == names(made["_meta"]["hostvars"]["worker-1"])
    assert names(groups["redis"]["hosts"]["broker-1"]) == names(made["_meta"]["hostvars"]["redis"])
