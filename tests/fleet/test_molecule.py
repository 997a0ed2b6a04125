"""Each role's scenario on a real machine: dry run on a bare host, converge, a second run without change, verify."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROLES = Path(__file__).parents[2] / "roles"
SCENARIOS = sorted(path.parents[2] for path in ROLES.glob("*/molecule/default/molecule.yml"))

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize("role", SCENARIOS, ids=lambda role: role.name)
def test_the_roles_scenario_passes(role: Path) -> None:
    programs = Path(sys.executable).parent
    run = subprocess.run(
        [str(programs / "molecule"), "test"],
        cwd=role,
        # molecule looks for ansible-playbook and pytest on PATH
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout
