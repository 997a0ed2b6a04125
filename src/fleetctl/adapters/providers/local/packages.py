"""What this computer must have before machines can be made on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fleetctl.adapters.providers.local.paths import locked
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

_NEEDED = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
}
_NEEDED_FOR_UML = {
    "linux.uml": "user-mode-linux",
    "uml_mconsole": "uml-utilities",
    "mke2fs": "e2fsprogs",
}
_PLACES = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))


def missing(*, has_uml: bool) -> tuple[str, ...]:
    """Names of the packages that this computer lacks, with those that user-mode Linux needs or without."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), _PLACES))
    needed = _NEEDED | (_NEEDED_FOR_UML if has_uml else {})
    return tuple(package for program, package in needed.items() if shutil.which(program, path=path) is None)


def install_missing(*, has_uml: bool = False) -> tuple[str, ...]:
    """Install what is lacking and return its names; raise ProviderError when this computer cannot be used."""
    if os.geteuid() != 0:
        raise ProviderError("machines on this computer need root", hint="run it with sudo")
    if not Path("/proc/sys/net/ipv4").is_dir():
        raise ProviderError("machines on this computer need Linux with IPv4")
    with locked("packages"):
        packages = missing(has_uml=has_uml)
        if not packages:
            return ()
        if shutil.which("apt-get") is None:
            raise ProviderError(
                f"this computer lacks {', '.join(packages)}, and has no apt-get to install them",
                hint="install them by hand, or use provider: {kind: static}",
            )
        hint = f"try it by hand: apt-get update && apt-get install {' '.join(packages)}"
        run(["apt-get", "-q", "update"], timeout=600, hint=hint)
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        install = ["apt-get", "-q", "-y", "install", "--no-install-recommends", *packages]
        run([*environment, *install], timeout=1200, hint=hint)
    return packages
