"""A pytest plugin for the scenarios: the role's variables, and the end of the host's journal below a failed test."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


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
