"""Real fleets for tests: fleetctl as a user runs it, in a fleet of the test's own that is always destroyed."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Cli:
    """fleetctl on one fleet.yml, with a state directory of its own."""

    spec: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{BIN}:{os.environ['PATH']}"
        return os.environ | {"FLEETCTL_HOME": str(self.home), "FLEETCTL_SPEC": str(self.spec), "PATH": path}

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run fleetctl; fail the test, with all that it said, unless it ends with `code` (None: any)."""
        done = subprocess.run(
            [str(BIN / "fleetctl"), *arguments], env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def name(self) -> str:
        return str(yaml.safe_load(self.spec.read_text())["name"])

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def on(self, host: str, command: str) -> str:
        """Return what a command printed on a host."""
        return self.run("ssh", host, command).stdout

    def playbook(self, *arguments: str) -> dict[str, dict[str, int]]:
        """Run ansible-playbook as an operator does, from the checkout; return the recap: host -> counts."""
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), *arguments], env=self.environment | {"ANSIBLE_NOCOLOR": "1"}, cwd=ROOT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        recap = done.stdout.partition("PLAY RECAP")[2].strip().splitlines()[1:]
        rows = {line.split(":")[0].strip(): line.split(":")[1].split() for line in recap if ":" in line}
        return {host: {part.split("=")[0]: int(part.split("=")[1]) for part in row} for host, row in rows.items()}


@pytest.fixture(scope="session")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one state directory for all fleets of the run: wheels are built once for each app."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def unique() -> str:
    return f"t-{secrets.token_hex(3)}"


@pytest.fixture(scope="module")
def destroyed() -> Iterator[list[Cli]]:
    """Fleets to destroy when the module's tests are over, whatever became of them."""
    made: list[Cli] = []
    yield made
    for cli in made:
        cli.run("destroy", "--yes", code=None)
