"""Run inside a machine, as root: machines of the local provider on a computer whose PID 1 is systemd.

Raises AssertionError at the first thing that is not as it should be; writes "all well" at the end.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from fleetctl.adapters.providers.local import LocalProvider, machine
from fleetctl.model import Event, Host, HostRequest, HostState

ROOT = Path(sys.argv[1])
PINS = Path("/root/pins")
BOOT = "cat /proc/sys/kernel/random/boot_id"
HOG = """python3 -c 'print(len(b"x" * 200000000))'"""


def ignore(event: Event) -> None:
    del event


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def units() -> list[str]:
    return output("systemctl", "list-units", "--all", "--plain", "--no-legend", "fleetctl-*").splitlines()


def ssh(host: Host, command: str) -> subprocess.CompletedProcess[str]:
    PINS.write_text(f"{host.address} {host.host_keys[0]}\n")
    options = [f"-oUserKnownHostsFile={PINS}", "-oBatchMode=yes", "-oConnectTimeout=5"]
    words = ["ssh", "-F", "none", "-i", str(host.key_file), *options, f"root@{host.address}"]
    return subprocess.run([*words, command], capture_output=True, text=True, check=False)


def on(host: Host, command: str) -> str:
    done = ssh(host, command)
    assert done.returncode == 0, done
    return done.stdout.strip()


def live(provider: LocalProvider) -> None:
    requests = [HostRequest(name, ("workers",), storage=True) for name in ("alpha", "beta")]
    alpha, beta = provider.launch(requests, ignore)
    assert len(units()) == 2, units()
    assert on(alpha, "systemctl is-system-running --wait") == "running"
    assert on(alpha, "cat /etc/machine-id") == alpha.machine_id
    on(alpha, "apt-get --quiet update --error-on=any")
    on(alpha, f"systemd-run --quiet --wait --pipe {HOG}")
    assert ssh(alpha, f"systemd-run --quiet --wait --pipe -p MemoryMax=50M -p MemorySwapMax=0 {HOG}").returncode != 0
    before = on(alpha, BOOT)
    ssh(alpha, "systemctl reboot")
    deadline = time.monotonic() + 120
    while ssh(alpha, BOOT).stdout.strip() in ("", before):
        assert time.monotonic() < deadline, "no reboot"
        time.sleep(0.1)
    provider.stop("alpha")
    assert len(units()) == 1, units()
    provider.kill("beta")
    assert {host.state for host in provider.hosts()} == {HostState.STOPPED}
    assert provider.launch(requests, ignore) == (alpha, beta)
    on(beta, "true")


def main() -> None:
    assert machine.has_systemd()
    rules = output("iptables", "-S", "FORWARD")
    provider = LocalProvider("inner", root=ROOT, storage_path="/shared/fleet")
    try:
        live(provider)
    finally:
        provider.destroy(ignore)
    assert units() == [], units()
    assert output("iptables", "-S", "FORWARD") == rules
    assert not list((ROOT / "fleets").iterdir())
    sys.stdout.write("all well\n")


if __name__ == "__main__":
    main()
