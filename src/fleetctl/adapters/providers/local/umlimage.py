"""The disks that user-mode Linux guests lie on: an image's layers as an ext4 file, and what such a guest needs."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from fleetctl.adapters.providers.local import process, sealed
from fleetctl.adapters.providers.local.paths import Paths, locked, write_whole
from fleetctl.adapters.providers.local.recipe import INIT
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

MODULES = Path("/usr/lib/uml/modules")
SIZE = "8G"  # the file is sparse

# The disk that the provider made carries the machine's identity; it is taken over once.
INIT_SCRIPT = """\
#!/bin/sh
if [ -s /etc/machine-id ]; then
    tar -xf /dev/ubdb -C / etc/resolv.conf
else
    # Its id comes last: without it, a machine that lost power here begins again.
    tar -xf /dev/ubdb -C / --exclude=etc/machine-id && sync && tar -xf /dev/ubdb -C / etc/machine-id && sync
fi
mount -t proc proc /proc
modprobe ipv6 && echo 1 >/proc/sys/net/ipv6/conf/vec0/disable_ipv6
ip link set vec0 name eth0
ip link set eth0 mtu "$fleet_mtu"
ip address add "$fleet_address" dev eth0
ip link set eth0 up
ip route add default via "$fleet_gateway"
unset fleet_address fleet_gateway fleet_mtu
exec /lib/systemd/systemd
"""
# Masked for containers; here devices are the guest's own.
UNMASKED = (
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
)
_NOTE = "disk.image"  # of a machine's directory

# Of the many devices that a kernel lists, those that somebody waits for.
TRIGGER = """\
[Service]
ExecStart=
ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=block
"""
CTRL_ALT_DEL = ("etc/systemd/system/ctrl-alt-del.target", "/lib/systemd/system/poweroff.target")

# In a mount namespace that ends with it, so that a crash leaves nothing mounted.
_BUILD = """\
mount -t overlay -o lowerdir="$1" overlay "$2"
mke2fs -q -t ext4 -L fleet-root -E assume_storage_prezeroed=1 -d "$2" "$3" "$4"
"""


def choose(paths: Paths, directory: Path, *, image: str | None, base: str) -> None:
    """Note what the machine of that directory lies on: what it has lain on, or its image's file, made on first use."""
    note = directory / _NOTE
    if not note.exists():
        write_whole(note, str(_ensure(paths, image=image, base=base)))
    elif f"-{_kernel()}-" not in chosen(directory).name:
        raise ProviderError(
            f"{directory.name} was made for another kernel than this computer's user-mode Linux {_kernel()}",
            hint="fleetctl destroy, then deploy anew",
        )


def chosen(directory: Path) -> Path:
    """Return the file that the machine of that directory lies on; an empty path before `choose`."""
    note = directory / _NOTE
    return Path(note.read_text(encoding="utf-8") if note.exists() else "")


def _ensure(paths: Paths, *, image: str | None, base: str) -> Path:
    kept = paths.baked / image if image else paths.images / base
    final = kept / f"uml-{_kernel()}-{_digest()}.ext4"
    with locked("images") as lock:
        if final.exists():
            return final
        building = paths.images / ".building-uml"
        shutil.rmtree(building, ignore_errors=True)
        layer, root, partial = building / "layer", building / "root", building / "partial"
        _lay_out(layer)
        root.mkdir()
        layers = [layer, *sealed.layers(paths, image=image, base=base)]
        words = [":".join(map(str, layers)), str(root), str(partial), SIZE]
        try:
            run(["unshare", "--mount", "sh", "-euc", _BUILD, "sh", *words], timeout=600, keep_open=[lock])
            partial.rename(final)
        finally:
            shutil.rmtree(building)
    return final


def _digest() -> str:
    """Return what the guest's part of a disk follows from, in short."""
    text = "\n".join([INIT, INIT_SCRIPT, *UNMASKED, TRIGGER, *CTRL_ALT_DEL, SIZE, _BUILD])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _kernel() -> str:
    return run([process.UML, "--version"]).strip()


def _lay_out(layer: Path) -> None:
    layer.mkdir(parents=True)
    shutil.copytree(MODULES, layer / "usr/lib/modules", symlinks=True)
    init = layer / INIT.lstrip("/")
    init.parent.mkdir(parents=True)
    init.write_text(INIT_SCRIPT, encoding="utf-8")
    init.chmod(0o755)
    units = layer / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNMASKED:
        os.mknod(units / unit, stat.S_IFCHR, os.makedev(0, 0))  # overlayfs: not there
    (units / "systemd-udev-trigger.service.d").mkdir()
    (units / "systemd-udev-trigger.service.d/fleetctl.conf").write_text(TRIGGER, encoding="utf-8")
    (layer / CTRL_ALT_DEL[0]).symlink_to(CTRL_ALT_DEL[1])
    for directory, _, _ in os.walk(layer):
        Path(directory).chmod(0o755)
