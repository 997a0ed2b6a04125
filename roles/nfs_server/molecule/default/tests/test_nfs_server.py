"""The directories of the role nfs_server. The export itself is proven on machines with a kernel of their own."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("name", ["jobs", "uploads", ".fleetctl"])
def test_each_directory_belongs_to_the_account_and_passes_on_its_group(host: Any, name: str) -> None:
    directory = host.file(f"/shared/fleet/{name}")
    assert directory.is_directory
    assert (directory.user, directory.group, directory.mode) == ("games", "games", 0o2775)


def test_the_account_can_write_and_another_cannot(host: Any) -> None:
    assert host.run("runuser --user games -- sh -c 'echo a > /shared/fleet/jobs/a && rm /shared/fleet/jobs/a'").rc == 0
    assert host.run("runuser --user nobody -- sh -c 'echo a > /shared/fleet/jobs/b'").rc != 0


def test_no_server_was_installed(host: Any) -> None:
    assert not host.package("nfs-kernel-server").is_installed
