"""The directory of all fleets, and locks between processes."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

import pytest

from fleetctl.adapters.providers.local.paths import check_kind, locked, make_root
from fleetctl.errors import ProviderError


def test_the_root_is_its_owner_s_alone_even_when_it_was_not(tmp_path: Path) -> None:
    root = tmp_path / "fleetctl"
    make_root(root)
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o755)
    make_root(root)
    assert root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["overlayfs", "nfs"])
def test_a_file_system_that_carries_no_overlay_is_refused(kind: str) -> None:
    with pytest.raises(ProviderError, match=f"/var/lib/fleetctl is on {kind}") as caught:
        check_kind(Path("/var/lib/fleetctl"), kind)
    assert caught.value.hint
    check_kind(Path("/var/lib/fleetctl"), "ext2/ext3")


@pytest.mark.skipif(os.geteuid() != 0, reason="locks are below /run")
def test_who_must_wait_for_a_lock_is_told_so() -> None:
    name = f"t-{secrets.token_hex(4)}"
    told, held = threading.Event(), threading.Event()

    def second() -> None:
        with locked(name, on_wait=told.set):
            held.set()

    other = threading.Thread(target=second)
    with locked(name, on_wait=lambda: pytest.fail("nobody holds it")):
        other.start()
        assert told.wait(10)
        assert not held.is_set()
    other.join(10)
    assert held.is_set()
