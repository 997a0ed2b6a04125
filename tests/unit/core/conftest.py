"""Specs and contexts for the tests of the pure core."""

from __future__ import annotations

from typing import Any

import pytest

from fleetctl.core.inventory import Context
from fleetctl.spec.models import FleetSpec


def spec(**changes: Any) -> FleetSpec:
    """Return a small local fleet; `changes` replace top-level keys."""
    value: dict[str, Any] = {
        "name": "demo",
        "provider": {"kind": "local"},
        "pools": {"worker": {"count": 2, "concurrency": 4}},
    }
    return FleetSpec.model_validate(value | changes)


STATIC = {
    "kind": "static",
    "hosts": [
        {"name": "alpha", "address": "10.0.0.1"},
        {"name": "beta", "address": "10.0.0.2", "pool": "worker", "user": "ops", "become": True},
        {"name": "gamma", "address": "10.0.0.3", "pool": "worker", "jump": "ops@10.0.0.9"},
    ],
}
SHARED = {"nfs": {"host": "alpha"}, "postgres": {"host": "alpha"}, "redis": {"host": "alpha"}}


@pytest.fixture
def context() -> Context:
    roles = ("base", "nfs_server", "nfs_client", "postgres", "redis", "celery_worker", "playbooks")
    return Context(
        secrets_file="/state/secrets.yml",
        secrets_digest="s" * 32,
        bundle="/state/bundles/b",
        bundle_digest="b" * 32,
        wheelhouse_cache="/state/wheelhouses",
        known_hosts="/state/known_hosts",
        storage_kind="bind",
        networks=("10.9.0.0/24",),
        ca=None,
        role_digests={role: f"digest of {role}" for role in roles},
    )
