"""A pytest plugin for the scenarios: the role's variables, playbooks run again, the journal below a failed test."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONVERGE, ROLL = ROOT / "tests" / "molecule" / "converge.yml", ROOT / "playbooks" / "roll.yml"


def play(*playbooks: Path, **variables: Any) -> tuple[int, int, str]:
    """Run playbooks on the scenario's machine; return the exit code, the count of changes, and the output.

    Their join phases alone: what is to be installed is there.
    """
    inventory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory"
    command = ["ansible-playbook", "-i", str(inventory), *map(str, playbooks), "-e", json.dumps(variables)]
    command += ["--tags", "join"]
    environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    recaps = re.findall(r"(?m)^\S+ +: ok=.* changed=(\d+)", done.stdout)
    return done.returncode, int(recaps[-1]), done.stdout + done.stderr


@pytest.fixture
def variables(host: Any) -> dict[str, Any]:
    """Return what the scenario's inventory says of the host, templates as they are written."""
    return dict(host.ansible.get_variables())


@pytest.fixture
def address(variables: dict[str, Any]) -> str:
    """Return the address by which others reach the host."""
    return str(variables["ansible_host"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        lines = host.run("journalctl --no-pager --lines 300").stdout.splitlines()
        # the logins of the tests themselves say nothing
        report.sections.append(("journal", "\n".join([line for line in lines if " sshd[" not in line][-60:])))
    return report
