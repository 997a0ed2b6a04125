"""A static fleet: three machines that somebody else made, entered by a sudo user, one of them through a jump host."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.fleet.conftest import ROOT, Cli

from fleetctl.adapters.openssh import command_line
from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.model import Host, HostRequest

pytestmark = pytest.mark.fleet

NAMES = ("services", "one", "two")
# A user that is not root, with a password-less sudo; root itself is locked out afterwards.
MAKE_USER = (
    "useradd --create-home --shell /bin/bash ops && install -d -m 700 -o ops -g ops /home/ops/.ssh && "
    "install -m 600 -o ops -g ops /root/.ssh/authorized_keys /home/ops/.ssh/authorized_keys && "
    "echo 'ops ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ops && install -d -m 777 /shared/fleet && "
    "mv /root/.ssh/authorized_keys /root/.ssh/locked-out"
)


@pytest.fixture(scope="module")
def machines(unique: str) -> Iterator[dict[str, Host]]:
    """Three bare machines with one directory in common, as a computing centre would hand them over."""
    provider = LocalProvider(f"{unique}-m", storage_path="/shared/fleet")
    try:
        hosts = provider.launch([HostRequest(name, (), storage=True) for name in NAMES], lambda _: None)
        yield {host.name: host for host in hosts}
    finally:
        provider.destroy(lambda _: None)


@pytest.fixture(scope="module")
def fleet(
    unique: str,
    machines: dict[str, Host],
    state_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
    destroyed: list[Cli],
) -> Cli:
    home = tmp_path_factory.mktemp("static")
    key = home / "key"
    known_hosts = home / "known_hosts"
    known_hosts.write_text("".join(f"{host.address} {host.host_keys[0]}\n" for host in machines.values()))
    for host in machines.values():
        subprocess.run(command_line(host, known_hosts, [MAKE_USER]), check=True, stdin=subprocess.DEVNULL)
        if not key.exists():
            shutil.copy(str(host.key_file), key)
    hosts = [
        {
            "name": name, "address": host.address, "user": "ops", "become": True, "key": str(key),
            "host_key": host.host_keys[0],
        }
        for name, host in machines.items()
    ]  # fmt: skip
    hosts[1]["pool"] = hosts[2]["pool"] = "worker"
    hosts[2]["jump"] = f"ops@{machines['services'].address}"
    spec = {
        "name": unique,
        "provider": {"kind": "static", "hosts": hosts},
        "services": {"nfs": {"mounted": True}, "postgres": {"host": "services"}, "redis": {"host": "services"}},
        "pools": {"worker": {"count": 2, "concurrency": 2, "time_limit": "1m"}},
        "app": {"path": str(ROOT / "tests" / "fleet" / "apps" / "plain"), "module": "plain.app"},
    }
    (home / "fleet.yml").write_text(yaml.safe_dump(spec))
    cli = Cli(home / "fleet.yml", state_home)
    destroyed.append(cli)
    return cli


def test_bare_machines_become_a_fleet(fleet: Cli) -> None:
    report = fleet.json("deploy")
    assert report["is_ok"]
    assert {host["host"] for host in report["converged"]["hosts"]} == set(NAMES)
    assert all(host["changed"] for host in report["converged"]["hosts"])


def test_a_rerun_changes_nothing(fleet: Cli) -> None:
    assert fleet.json("deploy")["converged"] is None
    report = fleet.json("deploy", "--converge")
    assert {host["host"]: host["changed"] for host in report["converged"]["hosts"]} == dict.fromkeys(NAMES, 0)


def test_jobs_run_on_both_workers(fleet: Cli) -> None:
    report = fleet.json("load", "--jobs", "4", "--seconds", "5", "--work", "io")
    assert (report["done"], report["lost"], report["peak_concurrency"], len(report["per_unit"])) == (4, 0, 4, 2)


def test_commands_on_a_host_run_as_root_through_the_jump_host(fleet: Cli) -> None:
    assert fleet.on("two", "id -un").strip() == "root"


def test_a_wrong_host_key_is_refused(fleet: Cli, machines: dict[str, Host], tmp_path: Path) -> None:
    text = fleet.spec.read_text()
    swapped = text.replace(machines["one"].host_keys[0], machines["two"].host_keys[0], 1)
    (tmp_path / "fleet.yml").write_text(swapped)
    status = Cli(tmp_path / "fleet.yml", fleet.home).json("status")
    errors = {host["name"]: host["error"] for host in status["hosts"] if host["error"]}
    assert errors == {"one": "one: its host key is not the pinned one"}


def test_a_machine_that_leaves_is_retired_and_stays_a_machine(fleet: Cli) -> None:
    secret = {"stamp", "credentials.json"}
    assert secret <= set(fleet.on("two", "ls -A /etc/fleet").split())
    report = fleet.json("deploy", "--workers", "1", "--yes")
    assert report["is_ok"]
    assert report["plan"]["retire"] == ["two"]
    assert not secret & set(fleet.on("two", "ls -A /etc/fleet 2>/dev/null || true").split())
    assert "active" not in fleet.on("two", "systemctl list-units --plain --no-legend 'fleet-worker@*'")


def test_destroy_retires_the_rest(fleet: Cli) -> None:
    fleet.run("destroy", "--yes")
    assert not any(host["is_set_up"] for host in fleet.json("status")["hosts"])
    assert fleet.on("services", "systemctl is-active redis-server || true").strip() == "inactive"
