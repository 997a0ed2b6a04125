"""Imports point down only, as CONTRIBUTING.md draws them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_contracts_of_import_linter_hold() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run(
        [str(program), "--no-cache", "--config", "pyproject.toml"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Imports point down only KEPT" in run.stdout
