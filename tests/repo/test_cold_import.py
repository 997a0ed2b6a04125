"""`fleetctl --help` answers at once: the command line imports the heavy modules when a command needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ansible", "boto3", "celery", "fabric", "jinja2", "paramiko", "pydantic", "redis", "rich", "yaml")


@pytest.mark.parametrize("arguments", ["import fleetctl.cli.app", "import fleetctl.cli.app as a; a.main(['--help'])"])
def test_the_command_line_loads_no_heavy_module(arguments: str) -> None:
    program = f"import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr)); {arguments}"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    loaded = run.stderr.split()
    assert "fleetctl.cli.app" in loaded
    assert [name for name in HEAVY if name in loaded] == []
