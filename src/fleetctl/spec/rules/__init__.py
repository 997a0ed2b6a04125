"""The relations between the keys of fleet.yml. Each rule takes a typed spec and yields what contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleetctl.spec.finding import Finding
from fleetctl.spec.models import FleetSpec
from fleetctl.spec.rules import app, hosts, pools, services, storage


def check(spec: FleetSpec, directory: Path) -> Iterator[Finding]:
    """Find every contradiction in a spec whose single values are right. `directory` is where fleet.yml is."""
    yield from hosts.check(spec)
    yield from storage.check(spec)
    yield from services.check(spec, directory)
    yield from pools.check(spec)
    yield from app.check(spec, directory)
