"""A machine's disk: an overlay of its own changes on the layers of its image."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from fleetctl.adapters.providers.local.shell import run, succeeds
from fleetctl.errors import ProviderError


def mount(directory: Path, layers: Sequence[Path]) -> None:
    """Mount the disk of the machine of that directory at its `root`, unless it is mounted."""
    root, upper, work = (directory / name for name in ("root", "upper", "work"))
    if root.is_mount():
        return
    for path in (root, upper, work):
        path.mkdir(exist_ok=True)
    upper.chmod(0o755)  # becomes the mode of the guest's /
    # Without redirects and with whole copies, `upper` can be moved and become a layer itself.
    options = f"lowerdir={':'.join(map(str, layers))},upperdir={upper},workdir={work},redirect_dir=off,metacopy=off"
    run(["mount", "-t", "overlay", "-o", options, "overlay", str(root)])


def unmount(root: Path) -> None:
    """Unmount a disk; one that is not mounted is not an error."""
    for attempt in range(50):
        if not root.is_mount():
            return
        if not succeeds(["umount", str(root)]):
            if attempt == 25:
                succeeds(["umount", "--lazy", str(root)])
            time.sleep(0.05)
    raise ProviderError(f"cannot unmount {root}", hint=f"end what uses it: fuser -vm {root}")


def remove(directory: Path) -> None:
    """Remove a machine's directory; raise ProviderError while its disk is mounted."""
    if (directory / "root").is_mount():
        raise ProviderError(f"{directory / 'root'} is still mounted", hint=f"umount {directory / 'root'}")
    if directory.is_dir():
        shutil.rmtree(directory)
