"""A storage that can be made to stall: an ext4 to freeze, whose writers then wait as for an NFS server that is gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_THAW_SECONDS = 60  # whatever becomes of the tests


@dataclass(frozen=True)
class Stalling:
    """A file system of 8 MiB, mounted at `path`."""

    path: Path

    def stall(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", str(self.path)], check=True)

    def go_on(self) -> None:
        subprocess.run(["fsfreeze", "--unfreeze", str(self.path)], check=False, capture_output=True)


@pytest.fixture
def stalling(tmp_path: Path) -> Iterator[Stalling]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount and freeze a file system")
    disk, made = tmp_path / "disk", Stalling(tmp_path / "stalling")
    made.path.mkdir()
    with disk.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(disk)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(disk), str(made.path)], check=False).returncode != 0:
        pytest.skip("this computer has no loop devices")
    made.path.chmod(0o777)
    thaw = ["sh", "-c", f"sleep {_THAW_SECONDS}; exec fsfreeze --unfreeze '{made.path}'"]
    with subprocess.Popen(thaw, start_new_session=True, stderr=subprocess.DEVNULL) as guard:
        yield made
        made.go_on()
        guard.kill()
    # Who was stalled may just be ending.
    subprocess.run(["sh", "-c", 'for i in $(seq 50); do umount "$0" && exit; sleep 0.1; done; exit 1', str(made.path)],
                   check=True, stderr=subprocess.DEVNULL)  # fmt: skip


def state(pid: int) -> str:
    """Return the letter of a process's state, "" when there is none: D waits uninterruptibly, Z has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
