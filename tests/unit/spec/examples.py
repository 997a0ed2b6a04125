"""Two fleets that are right, and how to see what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.errors import SpecError
from fleetctl.spec.load import parse

LOCAL = """\
name: demo
provider: {kind: local}
storage: {path: /shared/fleet}
services:
  nfs: {host: nfs}
  postgres: {host: postgres}
  redis: {host: redis}
pools:
  worker:
    count: 2
    concurrency: 60
    queues: [celery]
    memory: 2GiB
    time_limit: 15m
"""

STATIC = """\
name: demo
provider:
  kind: static
  networks: [10.0.0.0/24]
  hosts:
    - {name: alpha, address: 10.0.0.1}
    - {name: beta, address: 10.0.0.2, pool: worker, user: ops, become: true}
    - {name: gamma, address: 10.0.0.3, pool: worker, jump: ops@10.0.0.9}
services:
  nfs: {host: alpha}
  postgres: {host: alpha}
  redis: {host: alpha}
pools:
  worker: {count: 2, concurrency: 60}
"""


def changed(text: str, old: str, new: str) -> str:
    """Change one place of a fleet."""
    assert text.count(old) == 1, f"{old!r} stands in the example {text.count(old)} times"
    return text.replace(old, new)


def complaints(text: str, *, directory: Path = Path("/nowhere"), workers: int | None = None) -> list[str]:
    """Write every problem of a fleet as `line: key: message -> fix`."""
    with pytest.raises(SpecError) as caught:
        parse(text, file=str(directory / "fleet.yml"), workers=workers)
    assert {problem.file for problem in caught.value.problems} == {str(directory / "fleet.yml")}
    return [f"{p.line}: {p.key}: {p.message} -> {p.fix}" for p in caught.value.problems]
