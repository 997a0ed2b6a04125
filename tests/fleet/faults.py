"""What can happen to a fleet while jobs run: each fault is done to real machines, and mended as an operator would."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fleet.conftest import BIN, Cli

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.wiring import wire

Fault = Callable[[str], None]


@dataclass
class Faults:
    """Faults of one fleet on this computer. Each takes the host that it strikes, where it strikes one."""

    fleet: Cli
    frozen_seconds: float = 60
    cut_off_seconds: float = 20
    story: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def provider(self) -> LocalProvider:
        provider = wire(self.fleet.spec, environ=self.fleet.environment).provider
        assert isinstance(provider, LocalProvider)
        return provider

    def unit_stopped(self, host: str) -> None:
        """A unit is stopped: its jobs finish. It is started again."""
        self.fleet.on(host, f"systemctl stop fleet-worker@{host}; systemctl start fleet-worker@{host}")

    def unit_restarted(self, host: str) -> None:
        self.fleet.on(host, f"systemctl restart fleet-worker@{host}")

    def unit_killed(self, host: str) -> None:
        """The main process is killed; systemd starts the unit again."""
        self.fleet.on(host, f"systemctl kill --kill-whom=main --signal=KILL fleet-worker@{host}")

    def process_killed(self, host: str) -> None:
        """One slot's process is killed, as the kernel does when memory is short."""
        self.fleet.on(
            host,
            f"main=$(systemctl show -P MainPID fleet-worker@{host}); "
            "kill -9 $(pgrep -P $main | shuf -n 1 --random-source=/dev/zero) || true",
        )

    def power_cut(self, host: str) -> None:
        """A machine is gone at once; its jobs are rescued, and it is started again."""
        self.provider.kill(host)
        self.fleet.run("rescue", host)
        self.fleet.run("deploy")

    def frozen(self, host: str) -> None:
        provider = self.provider
        provider.freeze(host)
        try:
            time.sleep(self.frozen_seconds)
        finally:
            provider.thaw(host)

    def cut_off(self, host: str) -> None:
        """A machine loses its network for a while."""
        provider = self.provider
        provider.partition(host)
        try:
            time.sleep(self.cut_off_seconds)
        finally:
            provider.heal(host)

    def redis_restarted(self, _: str) -> None:
        self.fleet.on("redis", "systemctl restart redis-server")

    def postgres_restarted(self, _: str) -> None:
        self.fleet.on("postgres", "systemctl restart 'postgresql@*'")

    def all(self) -> dict[str, Fault]:
        """Return every fault by name."""
        return {
            fault.__name__: fault
            for fault in (
                self.unit_stopped,
                self.unit_restarted,
                self.unit_killed,
                self.process_killed,
                self.power_cut,
                self.frozen,
                self.cut_off,
                self.redis_restarted,
                self.postgres_restarted,
            )
        }

    def count(self, *names: str) -> int:
        """Return how often these faults were done."""
        return sum(name in line for line in self.story for name in names)

    def at_random(self, number: int, *, seed: int, hosts: list[str], over: float) -> threading.Thread:
        """Start a thread that does so many faults, one after another, each at a random time within `over` seconds."""
        dice = random.Random(seed)  # noqa: S311  a seed makes the same trial again
        faults = self.all()
        times = sorted(dice.uniform(0, over) for _ in range(number))
        plan = [(when, dice.choice(sorted(faults)), dice.choice(hosts)) for when in times]

        def run() -> None:
            began = time.monotonic()
            for when, name, host in plan:
                time.sleep(max(0.0, began + when - time.monotonic()))
                self.story.append(f"{time.monotonic() - began:.0f} s: {name} {host}")
                try:
                    faults[name](host)
                except Exception as exc:
                    self.errors.append(f"{name} {host}: {exc}")

        thread = threading.Thread(target=run)
        thread.start()
        return thread


class Load(threading.Thread):
    """A load that runs beside the test; `report` is its answer."""

    def __init__(self, fleet: Cli, *, jobs: int, seconds: float, work: str = "io", timeout: float = 600) -> None:
        super().__init__()
        self._fleet = fleet
        self._arguments = ["--jobs", str(jobs), "--seconds", str(seconds), "--work", work, "--timeout", str(timeout)]
        self._answer: Any = None

    def run(self) -> None:
        self._answer = self._fleet.json("load", *self._arguments, code=None)

    def report(self) -> dict[str, Any]:
        """Return the report, when the load is over."""
        self.join()
        assert self._answer is not None, "the load did not end"
        report: dict[str, Any] = self._answer
        return report


def verdict(name: str, report: dict[str, Any], recovered: float) -> str:
    """Write what a trial came to, in the words of every drill."""
    return f"{name}: lost {report['lost']}, repeated {report['repeated']}, recovered in {recovered:.0f} s"


def begin(fleet: Cli, *arguments: str) -> subprocess.Popen[str]:
    """Start fleetctl beside the test; Ctrl-C reaches it though a run in the background of a shell ignores it."""
    return subprocess.Popen(
        [str(BIN / "fleetctl"), *arguments], env=fleet.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Return when a line of its story begins with a word."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(word):
            return
    raise AssertionError(f"it never said {word}")
