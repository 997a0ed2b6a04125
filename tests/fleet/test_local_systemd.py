"""The local provider on a computer whose PID 1 is systemd and whose iptables drop what they do not know.

That computer is a machine of the local provider's own: machines within a machine. It lacks the provider's packages.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet.machines import ignore, new_name, on, requests, ssh_command

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.providers.local.paths import ROOT
from fleetctl.model import Host

pytestmark = [pytest.mark.fleet, pytest.mark.drill]

HERE = Path(__file__).parent

# Overlays do not lie on overlays, so the inner provider keeps its machines in memory.
PREPARE = """\
mkdir -p /opt/src /mnt/inner && mount -t tmpfs tmpfs /mnt/inner && mkdir /mnt/inner/images
apt-get --quiet --yes install --no-install-recommends iptables python3-cryptography
iptables -P FORWARD DROP
"""


@pytest.fixture
def computer() -> Iterator[Host]:
    provider = LocalProvider(new_name())
    try:
        (host,) = provider.launch(requests("computer"), ignore)
        yield host
    finally:
        provider.destroy(ignore)


def send(host: Host, source: Path, *, into: str) -> None:
    """Copy a file or directory into a directory of a host."""
    tar = ["tar", "-C", str(source.parent), "-cf", "-", source.name]
    with ssh_command(host) as command, subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
        subprocess.run([*command, f"tar -C {into} -xf -"], stdin=packing.stdout, check=True, timeout=120)
    assert packing.returncode == 0


def test_machines_are_units_where_systemd_rules(computer: Host) -> None:
    on(computer, PREPARE, limit=180)
    send(computer, HERE.parents[1] / "src" / "fleetctl", into="/opt/src")
    send(computer, HERE / "within.py", into="/opt")
    digest = LocalProvider(new_name()).prepare(ignore)
    send(computer, ROOT / "images" / digest, into="/mnt/inner/images")  # the same recipe inside: nothing to build
    assert on(computer, "PYTHONPATH=/opt/src python3 /opt/within.py /mnt/inner", limit=300) == "all well"
