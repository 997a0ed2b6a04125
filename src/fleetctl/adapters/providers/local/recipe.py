"""What the base image is made of, as a value with a digest: the same recipe gives the same image."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetctl.adapters.providers.local import aptsources
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
INIT = "/usr/local/sbin/fleetctl-init"

PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
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
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
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
    "systemd-timesyncd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
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
INIT_SCRIPT = """\
#!/bin/sh
for hierarchy in /sys/fs/cgroup/*; do
    mount -o remount,rw,nosuid,nodev,noexec "$hierarchy" 2>/dev/null
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

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def read_recipe() -> Recipe:
    """The recipe for this computer: its mirrors, apt settings, CA certificates and package indexes."""
    sources = aptsources.choose_debian(_read_sources(Path("/etc/apt")))
    if not any(source.suite == aptsources.SUITE for source in sources):
        raise ProviderError(
            f"this computer's apt configuration names no Debian archive for {aptsources.SUITE}",
            hint="add a Debian source (deb http://<mirror>/debian bookworm main) below /etc/apt/sources.list.d",
        )
    files = {
        "/etc/ssh/sshd_config.d/10-fleetctl.conf": ("0644", SSHD),
        "/etc/default/locale": ("0644", "LANG=C.UTF-8\n"),
        "/etc/pip.conf": ("0644", pip_configuration(_read_pip_files(), os.environ)),
        "/etc/systemd/system/default.target": ("link", "/lib/systemd/system/multi-user.target"),
        INIT: ("0755", INIT_SCRIPT),
        **{f"/etc/systemd/system/{unit}": ("link", "/dev/null") for unit in MASKED},
    }
    for path in _extra_certificates(Path("/usr/local/share/ca-certificates")):
        files[str(path)] = ("0644", path.read_text(encoding="utf-8"))
    return Recipe(
        architecture=run(["dpkg", "--print-architecture"]).strip(),
        sources=tuple(str(source) for source in sources),
        apt_options=(*APT_OPTIONS, *apt_settings(run(["apt-config", "dump"]))),
        files=files,
    )


def apt_settings(dump: str) -> tuple[str, ...]:
    """Settings of this computer without which a guest's apt would refuse or miss the same archives."""
    wanted = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")
    lines = (line.strip().removesuffix(";") for line in dump.splitlines())
    return tuple(
        line
        for line in lines
        if line.split(" ", 1)[0] in wanted and not line.endswith('""') and "://127." not in line and "://localhost" not in line
    )


def pip_configuration(texts: Iterable[str], environment: Mapping[str, str]) -> str:
    """A guest's /etc/pip.conf: the system's certificates, and this computer's package indexes that guests can reach."""
    found: dict[str, list[str]] = {"index-url": [], "extra-index-url": [], "trusted-host": []}
    for text in texts:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue
        for name, values in found.items():
            for section in ("global", "install"):
                values += parser.get(section, name, fallback="").split()
    for name, values in found.items():
        values += environment.get(f"PIP_{name.upper().replace('-', '_')}", "").split()
    indexes = {
        name: [value for value in values if value.startswith(("http://", "https://"))] for name, values in found.items()
    }
    lines = ["[global]", f"cert = {CA_BUNDLE}", "disable-pip-version-check = true"]
    lines += [f"index-url = {url}" for url in indexes["index-url"][-1:]]
    lines += [f"extra-index-url = {' '.join(dict.fromkeys(urls))}" for urls in [indexes["extra-index-url"]] if urls]
    lines += [f"trusted-host = {' '.join(dict.fromkeys(names))}" for names in [found["trusted-host"]] if names]
    return "\n".join(lines) + "\n"


def _read_sources(apt: Path) -> list[aptsources.Source]:
    parts = sorted((apt / "sources.list.d").glob("*")) if (apt / "sources.list.d").is_dir() else []
    found: list[aptsources.Source] = []
    for path in [apt / "sources.list", *parts]:
        if path.is_file() and path.suffix in (".list", ".sources"):
            parse = aptsources.parse_list if path.suffix == ".list" else aptsources.parse_deb822
            found += parse(path.read_text(encoding="utf-8"))
    return found


def _read_pip_files() -> list[str]:
    home = Path.home()
    paths = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if name := os.environ.get("PIP_CONFIG_FILE"):
        paths.append(Path(name))
    return [path.read_text(encoding="utf-8") for path in paths if path.is_file()]


def _extra_certificates(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.crt") if path.is_file()) if directory.is_dir() else []
