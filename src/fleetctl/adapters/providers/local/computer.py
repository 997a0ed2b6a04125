"""What guests take over from this computer: where packages come from, whom to trust, whom to ask for names."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from fleetctl.adapters.providers.local import aptsources
from fleetctl.adapters.providers.local.shell import run
from fleetctl.errors import ProviderError

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

_APT = Path("/etc/apt")
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_APT_SETTINGS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")


def architecture() -> str:
    return run(["dpkg", "--print-architecture"]).strip()


def apt_sources(directory: Path = _APT) -> list[aptsources.Source]:
    """Return all package sources of this computer, third-party ones included; lists of mirrors as their first."""
    parts = sorted((directory / "sources.list.d").glob("*"))
    found: list[aptsources.Source] = []
    for path in [directory / "sources.list", *parts]:
        if path.is_file() and path.suffix in (".list", ".sources"):
            parse = aptsources.parse_list if path.suffix == ".list" else aptsources.parse_deb822
            found += parse(path.read_text(encoding="utf-8"))
    return [source for source in map(_resolved, found) if source]


def _resolved(source: aptsources.Source) -> aptsources.Source | None:
    name = aptsources.mirror_file(source)
    if name is None:
        return source
    path = Path(name)
    return aptsources.first_mirror(source, path.read_text(encoding="utf-8")) if path.is_file() else None


def apt_settings() -> tuple[str, ...]:
    """Return the settings without which a guest's apt would refuse, or not reach, the archives that ours uses."""
    return choose_settings(run(["apt-config", "dump"]))


def choose_settings(dump: str) -> tuple[str, ...]:
    """Pick from the output of apt-config; a proxy on this computer's loopback is none for guests. Pure."""
    lines = [line.strip().removesuffix(";") for line in dump.splitlines()]
    kept = [line for line in lines if line.split(" ", 1)[0] in _APT_SETTINGS and not line.endswith('""')]
    return tuple(line for line in kept if "://127." not in line and "://localhost" not in line)


def extra_certificates() -> list[Path]:
    """Return the CA certificates that an operator of this computer has added."""
    return sorted(path for path in _CERTIFICATES.rglob("*.crt") if path.is_file())


def guest_pip_conf() -> str:
    home = Path.home()
    paths = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    paths += [Path(name) for name in [os.environ.get("PIP_CONFIG_FILE")] if name]
    return pip_configuration([path.read_text(encoding="utf-8") for path in paths if path.is_file()], os.environ)


def pip_configuration(texts: Iterable[str], environment: Mapping[str, str]) -> str:
    """Return a pip.conf with the system's certificates and those package indexes that guests can reach. Pure."""
    found: dict[str, list[str]] = {"index-url": [], "extra-index-url": [], "trusted-host": []}
    for text in texts:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue  # pip will tell its owner
        for name, values in found.items():
            for section in ("global", "install"):
                values += parser.get(section, name, fallback="").split()
    for name, values in found.items():
        values += environment.get(f"PIP_{name.upper().replace('-', '_')}", "").split()
    lines = ["[global]", f"cert = {CA_BUNDLE}", "disable-pip-version-check = true"]
    indexes = [url for url in found["index-url"] if url.startswith(("http://", "https://"))]
    extras = [url for url in found["extra-index-url"] if url.startswith(("http://", "https://"))]
    for name, values in (
        ("index-url", indexes[-1:]),
        ("extra-index-url", extras),
        ("trusted-host", found["trusted-host"]),
    ):
        if values:
            lines.append(f"{name} = {' '.join(dict.fromkeys(values))}")
    return "\n".join(lines) + "\n"


def guest_resolv_conf() -> str:
    """Return what guests should ask for names; raise ProviderError when only this computer reaches its servers."""
    for text in _resolv_confs():
        if servers := name_servers(text):
            others = [line for line in text.splitlines() if line.split()[:1] in (["search"], ["options"])]
            return "\n".join([*(f"nameserver {server}" for server in servers), *others]) + "\n"
    raise ProviderError(
        "guests could reach none of this computer's name servers", hint="put an IPv4 name server into /etc/resolv.conf"
    )


def all_name_servers() -> tuple[IPv4Address, ...]:
    return tuple(server for text in _resolv_confs() for server in name_servers(text))


def link_local_name_servers() -> tuple[IPv4Address, ...]:
    """Return the name servers that the firewall would hide from guests; Google's cloud has its own there."""
    return tuple(server for server in dict.fromkeys(all_name_servers()) if server.is_link_local)


def name_servers(resolv_conf: str) -> tuple[IPv4Address, ...]:
    """Return the IPv4 name servers of a resolv.conf that guests can reach too. Pure."""
    found = []
    for words in (line.split() for line in resolv_conf.splitlines()):
        if words[:1] == ["nameserver"] and len(words) > 1:
            try:
                found.append(IPv4Address(words[1]))
            except AddressValueError:
                continue  # IPv6: guests have none
    return tuple(server for server in found if not server.is_loopback)


def _resolv_confs() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in _RESOLV_CONFS if path.is_file()]
