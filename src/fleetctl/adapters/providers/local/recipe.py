"""What the base image is made of, as a value with a digest: the same recipe gives the same image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fleetctl.adapters.providers.local import aptsources, computer
from fleetctl.errors import ProviderError

INIT = "/usr/local/sbin/fleetctl-init"

PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)

# Guests have no manuals, translations or recommended extras, and need no sync to disk while they install.
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)
APT_OPTIONS = ('Acquire::Languages "none"', 'Acquire::Retries "3"')

# Units that have nothing to do in a container, or that work behind an operator's back.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "container-getty@.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "getty.target",
    "getty@.service",
    "ldconfig.service",
    "modprobe@.service",
    "networkd-dispatcher.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-initctl.socket",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-pcrphase-initrd.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-resolved.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
)

# Taken out of what the packages bring: what runs at each login, and logind at boot, which is there when somebody asks
# for it (systemctl reboot does).
REMOVED = (
    "etc/update-motd.d",
    "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service",
)

# curve25519 first: Debian 12 prefers sntrup761, which costs the client about 80 ms of CPU for each connection.
SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org,sntrup761x25519-sha512@openssh.com
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
MaxStartups 100:30:300
MaxSessions 100
"""

# nspawn hands over cgroup v1 controllers read-only, and then MemoryMax, CPUQuota and TasksMax silently do nothing.
# They lie in the machine's own cgroup namespace, so it gets to write to its own groups alone.
INIT_SCRIPT = """\
#!/bin/sh
for controller in /sys/fs/cgroup/*/cgroup.clone_children; do
    [ ! -e "$controller" ] || mount -o remount,bind,rw,nosuid,nodev,noexec "${controller%/*}"
done
exec /lib/systemd/systemd "$@"
"""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in the base image. `files` are path -> (mode, text) or ("link", target)."""

    architecture: str
    sources: tuple[str, ...]
    apt_options: tuple[str, ...]
    files: Mapping[str, tuple[str, str]]
    suite: str = aptsources.SUITE
    packages: tuple[str, ...] = PACKAGES
    dpkg_options: tuple[str, ...] = DPKG_OPTIONS
    removed: tuple[str, ...] = REMOVED

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def read_recipe() -> Recipe:
    """Return the recipe for this computer: with its mirrors, apt settings, CA certificates and package indexes."""
    sources = aptsources.choose_debian(computer.apt_sources())
    if not any(source.suite == aptsources.SUITE for source in sources):
        raise ProviderError(
            f"this computer's apt configuration names no Debian archive for {aptsources.SUITE}",
            hint="add a Debian source (deb http://<mirror>/debian bookworm main) below /etc/apt/sources.list.d",
        )
    files = {
        "/etc/ssh/sshd_config.d/10-fleetctl.conf": ("0644", SSHD),
        "/etc/default/locale": ("0644", "LANG=C.UTF-8\n"),
        "/etc/pip.conf": ("0644", computer.guest_pip_conf()),
        "/etc/systemd/system/default.target": ("link", "/lib/systemd/system/multi-user.target"),
        INIT: ("0755", INIT_SCRIPT),
        **{f"/etc/systemd/system/{unit}": ("link", "/dev/null") for unit in MASKED},
    }
    for path in computer.extra_certificates():
        files[str(path)] = ("0644", path.read_text(encoding="utf-8"))
    return Recipe(
        architecture=computer.architecture(),
        sources=tuple(str(source) for source in sources),
        apt_options=(*APT_OPTIONS, *computer.apt_settings()),
        files=files,
    )
