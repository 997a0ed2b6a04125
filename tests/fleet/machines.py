"""Machines of the local provider in the hands of a test: commands over ssh, and what they leave on a computer."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetctl.adapters.providers.local import sysctl
from fleetctl.adapters.providers.local.network import Network, load
from fleetctl.adapters.providers.local.paths import ROOT, RUNTIME, Paths
from fleetctl.adapters.providers.local.record import Record
from fleetctl.model import Event, Host, HostRequest

PROPAGATE = "/run/systemd/nspawn/propagate"


def ignore(event: Event) -> None:
    del event


def new_name() -> str:
    return f"t-{secrets.token_hex(3)}"


def requests(*names: str, storage: bool = False) -> list[HostRequest]:
    return [HostRequest(name, ("workers",), storage=storage) for name in names]


def until(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time limit"
        time.sleep(0.01)


@contextlib.contextmanager
def ssh_command(host: Host, *, key: str | None = None) -> Iterator[list[str]]:
    """Yield the words that reach a host as ssh does it for anybody: the host's key pinned, no other accepted."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as pins:
        pins.write(f"{host.address} {key or host.host_keys[0]}\n")
        pins.flush()
        options = {"UserKnownHostsFile": pins.name, "IdentitiesOnly": "yes", "BatchMode": "yes", "ConnectTimeout": "10"}
        words = ["ssh", "-F", "none", "-i", str(host.key_file)]
        yield [*words, *(f"-o{name}={value}" for name, value in options.items()), f"{host.user}@{host.address}"]


def ssh(host: Host, command: str, *, key: str | None = None, limit: float = 120) -> subprocess.CompletedProcess[str]:
    with ssh_command(host, key=key) as words:
        return subprocess.run([*words, command], capture_output=True, text=True, timeout=limit, check=False)


def on(host: Host, command: str, *, limit: float = 120) -> str:
    done = ssh(host, command, limit=limit)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def connects(host: Host, address: str, port: int) -> bool:
    """Tell whether a connection from inside the host is taken."""
    script = f"import socket; socket.create_connection(({address!r}, {port}), timeout=2)"
    return ssh(host, f'python3 -c "{script}"').returncode == 0


def is_frozen(fleet: str, host: str) -> bool:
    """Tell what the kernel says of a machine's control groups."""
    record = Record(Paths(ROOT, fleet).record).read()
    groups = [Path(one.name) for one in record if one.kind == "cgroup" and one.host == host]
    states = [path.read_text() for group in groups for path in group.glob("freezer.state")]
    events = [path.read_text() for group in groups for path in group.glob("cgroup.events")]
    return "FROZEN\n" in states or any("frozen 1\n" in event for event in events)


@dataclass(frozen=True)
class Traces:
    """What machines leave on a computer, other fleets' shares taken out."""

    namespaces: frozenset[str]
    runtime: frozenset[str]
    links: frozenset[str]
    tables: frozenset[str]
    mounts: frozenset[str]
    groups: frozenset[str]
    processes: frozenset[str]
    directories: frozenset[str]
    settings: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, fleet: str) -> Traces:
        network = Network(fleet, None)  # type: ignore[arg-type]  # names alone
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        groups = [line for line in output("find", "/sys/fs/cgroup", "-name", "fleetctl-*").split() if fleet in line]
        # Another fleet may come or go while the test runs; then the settings are its matter too.
        others = RUNTIME / "sysctls.json"
        alone = not others.exists() or json.loads(others.read_text())["holders"] == [str(Paths(ROOT, fleet).fleet)]
        return cls(
            namespaces=frozenset(name for name in _names("/run/netns") if name.startswith(f"{fleet}.")),
            runtime=frozenset(name for name in _names(PROPAGATE) if name.startswith(f"{fleet}.")),
            links=frozenset(name for name in _names("/sys/class/net") if name.startswith(network.bridge)),
            tables=frozenset(name for name in output("nft", "list", "tables").split() if name == network.table),
            mounts=frozenset(mount for mount in mounts if f"/{fleet}/" in mount or f"/{fleet}." in mount),
            groups=frozenset(groups),
            processes=frozenset(line for line in command_lines() if f"/{fleet}/" in line),
            directories=frozenset(str(path) for path in ROOT.glob("fleets/*") if path.name == fleet),
            settings=tuple((name, _setting(name)) for name in sysctl.MINIMA) if alone else (),
        )

    @property
    def is_clean(self) -> bool:
        return not any(
            (self.namespaces, self.runtime, self.links, self.tables, self.mounts, self.groups, self.processes)
        )


def command_lines() -> set[str]:
    """Return the command line of every process of this computer; a small Debian has no ps."""
    lines = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
    return lines


def _names(directory: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(directory)  # noqa: PTH208 - names, not paths
    return []


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def _setting(name: str) -> str:
    return Path("/proc/sys", name.replace(".", "/")).read_text().strip()


def network_of(fleet: str) -> Network:
    network = load(Paths(ROOT, fleet))
    assert network is not None
    return network
