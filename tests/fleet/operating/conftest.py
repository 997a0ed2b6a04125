"""One small fleet that works, for the tests of the commands by which it is operated."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.fleet.conftest import ROOT, Cli

SLOTS = 4
HOSTS = ("worker-1", "worker-2")
CANARY = "c4n4ry~of-a~model.key"


def write_spec(home: Path, name: str) -> Path:
    """Write a fleet.yml: two workers of four slots. A lost job would come back by itself after an hour."""
    (home / "key").write_text(CANARY)
    (home / "key").chmod(0o600)
    spec = {
        "name": name,
        "provider": {"kind": "local"},
        "pools": {"worker": {"count": len(HOSTS), "concurrency": SLOTS, "memory": "512MiB", "time_limit": "30m"}},
        "app": {"path": str(ROOT / "tests" / "fleet" / "apps" / "plain"), "module": "plain.app",
                "environment": {"GREETING": "good evening"}, "secrets": {"MODEL_KEY": f"file:{home / 'key'}"}},
    }  # fmt: skip
    (home / "fleet.yml").write_text(yaml.safe_dump(spec))
    return home / "fleet.yml"


@pytest.fixture(scope="package")
def fleet(state_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    cli = Cli(write_spec(tmp_path_factory.mktemp("operating"), f"t-{secrets.token_hex(3)}"), state_home)
    try:
        assert cli.json("deploy")["is_ok"]
        yield cli
    finally:
        cli.run("destroy", "--yes", code=None)
