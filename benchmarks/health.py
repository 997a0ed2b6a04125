"""Measures `fleetctl health` on many hosts beside Ansible, as ratios in one run: `./invoke bench --what health`.

The hosts are machines of the local provider without services, the last tenth of them dead (half without power, half
frozen). Ansible runs the same probe by `-m script` with as many forks as hosts, and pipelining, on the live ones alone.
Both are timed as whole commands, by turns; a refresh is the time between two answers of `--watch`. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleetctl import probe
from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.wiring import wire
from fleetctl.core import ssh
from fleetctl.model import Event, Host, HostRequest

NAME = "bench-health"
BIN = Path(sys.executable).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetctl-bench-") as scratch:
        spec = Path(scratch) / "fleet.yml"
        pool = f"{{count: {options.hosts}, concurrency: 1}}"
        spec.write_text(f"name: {NAME}\nprovider: {{kind: local}}\npools:\n  worker: {pool}\n")
        os.environ |= {"FLEETCTL_HOME": f"{scratch}/home", "FLEETCTL_SPEC": str(spec)}
        provider = wire(spec).provider
        assert isinstance(provider, LocalProvider)  # noqa: S101  as the file above says
        try:
            print(json.dumps(measure(provider, spec, options.hosts, options.rounds, Path(scratch)), indent=2))
        finally:
            provider.destroy(tell)


def measure(provider: LocalProvider, spec: Path, count: int, rounds: int, scratch: Path) -> dict[str, Any]:
    """Return seconds of each command, and their ratios."""
    names = [f"worker-{number}" for number in range(1, count + 1)]
    hosts = provider.launch([HostRequest(name, ("workers",)) for name in names], tell)
    wired = wire(spec)
    wired.state.pin(provider.hosts())
    with wired.remote as remote:
        remote.wait_until_up(hosts, timeout=300)
    time.sleep(20)  # what they start with is over
    dead = names[-(count // 10) :]
    for number, name in enumerate(dead):
        (provider.kill if number % 2 else provider.freeze)(name)
    live = [host for host in hosts if host.name not in dead]
    inventory = write_inventory(live, wired.state.known_hosts, scratch)
    health, ansible = [], []
    for _ in range(rounds):
        health.append(timed([str(BIN / "fleetctl"), "health", "--json"], codes=(3,)))
        ansible.append(timed(ansible_argv(inventory, count), codes=(0,), environment=ansible_environment(scratch)))
    refresh = watch(rounds * 4)
    for name in dead[::2]:
        provider.thaw(name)
    middle = {"health": statistics.median(health), "ansible": statistics.median(ansible), "refresh": refresh}
    return {
        "hosts": count,
        "dead": len(dead),
        "seconds": {"health": health, "ansible": ansible, "refresh median": refresh},
        "ratios": {
            "ansible / health": round(middle["ansible"] / middle["health"], 2),
            "ansible / refresh": round(middle["ansible"] / refresh, 1),
        },
        "bars": {
            "health under 10 s": middle["health"] < 10,
            "at least 2.5 times faster than Ansible": middle["ansible"] / middle["health"] >= 2.5,
            "a refresh at least 20 times faster": middle["ansible"] / refresh >= 20,
        },
    }


def ansible_argv(inventory: Path, forks: int) -> list[str]:
    script = Path(probe.__file__)
    return [str(BIN / "ansible"), "all", "-i", str(inventory), "-f", str(forks), "-m", "script", "-a", f"{script}"]


def ansible_environment(scratch: Path) -> dict[str, str]:
    return os.environ | {
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(scratch),
        "ANSIBLE_CONFIG": str(scratch / "none"),
    }


def write_inventory(hosts: list[Host], known_hosts: Path, scratch: Path) -> Path:
    lines = [
        f"{host.name} ansible_host={host.address} ansible_user={host.user} "
        f"ansible_ssh_private_key_file={host.key_file} ansible_python_interpreter=/usr/bin/python3 "
        f"ansible_ssh_common_args={shlex.quote(shlex.join(ssh.options(host, str(known_hosts))))}"
        for host in hosts
    ]
    path = scratch / "hosts.ini"
    path.write_text("\n".join(lines) + "\n")
    return path


def watch(count: int) -> float:
    """Return the median of the seconds that a refresh takes."""
    argv = [str(BIN / "fleetctl"), "health", "--watch", "--interval", "0", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None  # noqa: S101
        moments = []
        for _ in process.stdout:
            moments.append(time.monotonic())
            if len(moments) == count + 1:
                break
        process.terminate()
    return round(statistics.median(after - before for before, after in pairwise(moments)), 3)


def timed(argv: list[str], *, codes: tuple[int, ...], environment: dict[str, str] | None = None) -> float:
    began = time.monotonic()
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    took = round(time.monotonic() - began, 2)
    if done.returncode not in codes:
        raise SystemExit(f"{argv[:2]} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    print(f"{Path(argv[0]).name}: {took} s", file=sys.stderr, flush=True)
    return took


def tell(event: Event) -> None:
    if event.kind in ("phase", "note"):
        print(f"{event.phase}: {event.message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
