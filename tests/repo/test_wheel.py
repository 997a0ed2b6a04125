"""A wheel works away from the checkout: it carries roles, playbooks, inventory and templates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheel's content, its dependencies left to this environment."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)], check=True
    )
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    code = "import sys; from fleetctl.cli.app import main; sys.exit(main())"
    environment = {name: value for name, value in os.environ.items() if name != "FLEETCTL_SPEC"}
    environment |= {"PYTHONPATH": str(installed), "FLEETCTL_HOME": str(cwd / "state")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_wheel_carries_what_a_deploy_needs(installed: Path) -> None:
    data = installed / "fleetctl" / "data"
    tracked = subprocess.run(
        ["git", "ls-files", "playbooks", "roles", "inventory", "templates", "ansible.cfg", "constraints.txt"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    tracked.remove("inventory/examples/group_vars")  # a link of the checkout's
    assert [name for name in tracked if not (data / name).exists()] == []
    assert os.access(data / "inventory" / "fleet", os.X_OK)
    assert not (data / "fleet.yml").exists()


def test_it_works_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "init")
    assert (tmp_path / "fleet.yml").is_file()
    (tmp_path / "fleet.yml").write_text(
        "name: demo\nprovider: {kind: static, hosts: [{name: all-in-one, address: 192.0.2.1, pool: worker}]}\n"
        "services: {nfs: {host: all-in-one}, postgres: {host: all-in-one}, redis: {host: all-in-one}}\n"
        "pools: {worker: {count: 1, concurrency: 2}}\n"
    )
    assert "192.0.2.1" in run(installed, tmp_path, "inventory", "--list")
    assert "all-in-one" in run(installed, tmp_path, "inventory")
