"""Measures the bars of the main job on this computer: `./invoke bench`. Ratios of runs side by side, in one run.

deploy: cold from cached images, against the same roles run by ansible-playbook with Ansible's stock settings on bare
        machines (both from no machine to a converged fleet); the second deploy and `--converge` against its rerun.
load:   the first 600 jobs after a deploy, 600 `io` jobs, 1,500 jobs in waves; idle memory of all Celery processes.

Everything runs in a fleet of its own name, which is destroyed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetctl.adapters import assets
from fleetctl.adapters.privatefile import write_private
from fleetctl.adapters.wiring import Wired, wire
from fleetctl.core.inventory import inventory
from fleetctl.core.layout import layout
from fleetctl.model import Event, HostRequest
from fleetctl.ports import Elastic

NAME = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=60)
    parser.add_argument("--only", choices=["deploy", "load"])
    options = parser.parse_args()
    figures: dict[str, Any] = {"workers": options.workers, "concurrency": options.concurrency}
    with tempfile.TemporaryDirectory(prefix="fleetctl-bench-") as scratch:
        spec = Path(scratch) / "fleet.yml"
        spec.write_text(
            f"name: {NAME}\nprovider: {{kind: local}}\n"
            f"pools:\n  worker: {{count: {options.workers}, concurrency: {options.concurrency}}}\n"
        )
        try:
            if options.only != "load":
                figures["deploy"] = measure_deploy(spec)
            if options.only != "deploy":
                figures["load"] = measure_load(spec, options.workers * options.concurrency)
        finally:
            fleetctl("destroy", "--yes", spec=spec)
    figures["bars"] = bars(figures)
    print(json.dumps(figures, indent=2))


def bars(figures: dict[str, Any]) -> dict[str, bool]:
    """Return which of the project's bars these figures meet; they are for 10 x 60 on 2 idle cores."""
    met: dict[str, bool] = {}
    if "deploy" in figures:
        ratios = figures["deploy"]["ratios"]
        met["deploy cold at least 3 times faster than stock"] = ratios["stock_cold / deploy_cold"] >= 3
        met["deploy again at least 10 times faster than stock"] = ratios["stock_again / deploy_again"] >= 10
        met["deploy --converge changes nothing"] = figures["deploy"]["converge_changed"] == 0
    if "load" in figures:
        load, slots = figures["load"], figures["workers"] * figures["concurrency"]
        reports = {name: load[name] for name in ("first", "io", "waves")}
        for name, report in reports.items():
            clean = not (report["lost"] or report["duplicates"] or report["failed"] or report["problems"])
            met[f"{name}: every job once"] = clean and report["done"] == report["submitted"]
        met["first: every slot at once, each its own process"] = (
            load["first"]["peak_concurrency"] == load["first"]["distinct_processes"] == slots
        )
        met["first: makespan at most 26 s"] = load["first"]["makespan_seconds"] <= 26
        met["idle: at most 4.5 GiB"] = load["idle_pss_gib"] <= 4.5
    return met


def measure_deploy(spec: Path) -> dict[str, Any]:
    """Return seconds and ratios. Images are baked first, so that every timed deploy finds them cached."""
    say("baking images, so that they are cached")
    fleetctl("deploy", "--json", spec=spec)
    seconds: dict[str, float] = {}
    fleetctl("destroy", "--yes", spec=spec)
    with timed("deploy_cold", seconds):
        fleetctl("deploy", "--json", spec=spec)
    with timed("deploy_again", seconds):
        fleetctl("deploy", "--json", spec=spec)
    with timed("deploy_converge", seconds):
        report = json.loads(fleetctl("deploy", "--converge", "--json", spec=spec))
    changed = sum(host["changed"] for host in report["converged"]["hosts"])
    fleetctl("destroy", "--yes", spec=spec)
    wired = wire(spec)
    with timed("stock_cold", seconds):
        launch_bare(wired)
        stock_playbook(wired)
    with timed("stock_again", seconds):
        stock_playbook(wired)
    fleetctl("destroy", "--yes", spec=spec)
    return {
        "seconds": seconds,
        "converge_changed": changed,
        "ratios": {
            "stock_cold / deploy_cold": round(seconds["stock_cold"] / seconds["deploy_cold"], 2),
            "stock_again / deploy_again": round(seconds["stock_again"] / seconds["deploy_again"], 2),
            "stock_again / deploy_converge": round(seconds["stock_again"] / seconds["deploy_converge"], 2),
        },
    }


def measure_load(spec: Path, slots: int) -> dict[str, Any]:
    """Return the load reports and the idle memory of a fresh fleet."""
    fleetctl("deploy", "--json", spec=spec)
    result: dict[str, Any] = {"idle_pss_gib": celery_pss_gib()}
    for name, arguments in {
        "first": ["--jobs", str(slots), "--seconds", "20"],
        "io": ["--jobs", str(slots), "--seconds", "20", "--work", "io"],
        "waves": ["--jobs", str(slots * 5 // 2), "--seconds", "5"],
    }.items():
        say(f"load {name}: {' '.join(arguments)}")
        result[name] = json.loads(fleetctl("load", *arguments, "--json", spec=spec, check=False))
    return result


def launch_bare(wired: Wired) -> None:
    """Boot the fleet's machines from the bare operating system: no image, both phases to do."""
    provider = wired.provider
    if not isinstance(provider, Elastic):
        raise SystemExit("this benchmark needs the local provider")
    requests = [HostRequest(host.name, host.groups, storage=True) for host in layout(wired.spec)]
    hosts = provider.launch(requests, lambda event: tell(event))
    wired.state.pin(provider.hosts())
    with wired.remote:
        wired.remote.wait_until_up(hosts, timeout=120)


def stock_playbook(wired: Wired) -> None:
    """Run site.yml with an ansible.cfg that names the roles and nothing else."""
    top = assets.root()
    with tempfile.TemporaryDirectory(prefix="fleetctl-stock-") as scratch:
        hosts = Path(scratch) / "inventory.json"
        built = inventory(wired.spec, layout(wired.spec), wired.provider.hosts(), wired.context())
        write_private(hosts, json.dumps(built))
        config = Path(scratch) / "ansible.cfg"
        config.write_text(f"[defaults]\nroles_path = {top / 'roles'}\n")
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(config), "ANSIBLE_SSH_CONTROL_PATH_DIR": scratch, "FLEETCTL_INVENTORY": str(hosts),
        }  # fmt: skip
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(top / "inventory" / "fleet")]
        subprocess.run(
            [*argv, str(top / "playbooks" / "site.yml")],
            env=environment, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def celery_pss_gib() -> float:
    """Return the proportional set size of the fleet's Celery processes, GiB, 20 s after its deploy."""
    time.sleep(20)
    total, count = 0, 0
    for process in Path("/proc").iterdir():
        try:
            is_ours = f"fleetctl-{NAME}" in (process / "cgroup").read_text()
            if is_ours and b"fleetctl.worker" in (process / "cmdline").read_bytes():
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                count += 1
        except (OSError, StopIteration):
            continue
    say(f"{count} Celery processes, {total / 1024**2:.2f} GiB PSS")
    return round(total / 1024**2, 2)


def fleetctl(*arguments: str, spec: Path, check: bool = True) -> str:
    """Run fleetctl on the benchmark's fleet; return its stdout."""
    argv = [str(Path(sys.executable).parent / "fleetctl"), arguments[0], "--file", str(spec), *arguments[1:]]
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}")
    return done.stdout


@contextmanager
def timed(name: str, into: dict[str, float]) -> Iterator[None]:
    say(f"measuring {name}")
    began = time.monotonic()
    yield
    into[name] = round(time.monotonic() - began, 1)
    say(f"{name}: {into[name]} s")


def tell(event: Event) -> None:
    if event.kind in ("phase", "note"):
        say(f"{event.phase}: {event.message}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
