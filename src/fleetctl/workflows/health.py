"""health: asks every host and the broker at the same time, and has the answers judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from fleetctl.core.health import judge, select
from fleetctl.core.health_values import FleetHealth, Ground
from fleetctl.core.inventory import inventory
from fleetctl.core.layout import WantedHost
from fleetctl.errors import FleetError
from fleetctl.model import Host, HostState
from fleetctl.ports import Fleet
from fleetctl.workflows.agent import with_app
from fleetctl.workflows.broker import Looker
from fleetctl.workflows.visits import CONNECT_SECONDS, PROBE_SECONDS, Visits

PART_SECONDS = 3.0  # for each part of a probe that may hang
ROUND_SECONDS = 2 * CONNECT_SECONDS + PROBE_SECONDS  # for hosts that wait for one of the connections at once
LOOK_SECONDS = 20.0  # for the broker, from the beginning on
GROUND_SECONDS = 20.0  # for the digests of roles and app, of which stamps are made
LOOK_AGAIN_SECONDS = 3.0  # each look starts agents on a host: a second of a processor each
_OF_BROKER = ("unit", "fleet", "queue", "jobs", "redis", "postgres")  # groups of checks that need a look at it


class Doctor:
    """Asks one fleet. `text` is the probe's source; `hosts` and `checks` narrow what is asked and shown."""

    def __init__(
        self,
        fleet: Fleet,
        wanted: Sequence[WantedHost],
        *,
        text: str,
        hosts: Sequence[str] = (),
        checks: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fleet, self._wanted, self._checks = fleet, wanted, checks
        self._scope = frozenset(hosts) or None
        self._there = {host.name: host for host in fleet.source.hosts()}
        asked = [
            (self._there[host.name], request(host, fleet.spec.storage.path))
            for host in wanted
            if (self._scope is None or host.name in self._scope) and self._is_running(host.name)
        ]
        self._visits = Visits(fleet.remote, asked, text, clock=clock)
        self._helpers = [host.name for host in with_app(wanted, self._there.values()) if self._is_running(host.name)]
        self._asked_helpers = [name for name in self._helpers if name in {host.name for host, _ in asked}]
        self._are_all_in = threading.Event()  # every host has answered, or will not
        self._looker = Looker(fleet, self._helper, self._is_hopeless)
        self._ground = Ground(fleet.spec, None, "it was not made in time")
        self._has_ground = threading.Event()

    def once(self) -> FleetHealth:
        """Return how the fleet is now."""
        return next(self.watch(interval=0.0, sleep=lambda _: None, is_once=True))

    def watch(
        self, *, interval: float, sleep: Callable[[float], None] = time.sleep, is_once: bool = False
    ) -> Iterator[FleetHealth]:
        """Yield how the fleet is, every `interval` seconds, in sessions that stay.

        The first waits for every host; after it those that were lost are tried again beside the rest, and the broker is
        looked at in its own time.
        """
        began = time.monotonic()
        threading.Thread(target=self._make_ground, daemon=True, name="inventory").start()
        with ExitStack() as stack:
            stack.enter_context(self._visits)
            stack.enter_context(self._looker)
            needs_look = self._needs_look
            self._visits.ask()
            if needs_look:
                self._looker.start(again_seconds=None if is_once else max(interval, LOOK_AGAIN_SECONDS))
            self._visits.wait(ROUND_SECONDS, for_all=True)
            self._are_all_in.set()
            if needs_look:
                self._looker.is_done.wait(max(0.0, began + LOOK_SECONDS - time.monotonic()))
            self._has_ground.wait(max(0.0, began + GROUND_SECONDS - time.monotonic()))
            yield self._judged()
            while True:
                sleep(max(0.0, began + interval - time.monotonic()))
                began = time.monotonic()
                self._visits.ask()
                self._visits.wait(CONNECT_SECONDS, for_all=False)
                yield self._judged()

    @property
    def _needs_look(self) -> bool:
        if self._checks and not any(check.startswith(_OF_BROKER) for check in self._checks):
            return False
        return self._scope is None or any(host.units for host in self._wanted if host.name in self._scope)

    def _judged(self) -> FleetHealth:
        health = judge(
            self._wanted, self._there, self._visits.answers, self._looker.look, self._ground, scope=self._scope
        )
        return select(health, self._checks)

    def _is_running(self, name: str) -> bool:
        return name in self._there and self._there[name].state is HostState.RUNNING

    def _helper(self, tried: frozenset[str]) -> Host | None:
        """Return a host that has answered; where none that could help is asked, one that runs."""
        if not self._asked_helpers:
            return next((self._there[name] for name in self._helpers if name not in tried), None)
        return self._visits.reached([name for name in self._asked_helpers if name not in tried])

    def _is_hopeless(self) -> bool:
        return self._are_all_in.is_set() or not self._helpers

    def _make_ground(self) -> None:
        self._ground = ground(self._fleet, self._wanted, tuple(self._there.values()))
        self._has_ground.set()


def ground(fleet: Fleet, wanted: Sequence[WantedHost], hosts: Sequence[Host]) -> Ground:
    """Return what the fleet is meant to be; without an inventory, and why, where it cannot be made here."""
    try:
        running = [host for host in hosts if host.state is HostState.RUNNING]
        return Ground(fleet.spec, inventory(fleet.spec, wanted, running, fleet.context()))
    except (FleetError, OSError) as exc:
        return Ground(fleet.spec, None, exc.message if isinstance(exc, FleetError) else str(exc))


def facts(fleet: Fleet, wanted: Sequence[WantedHost], hosts: Sequence[Host], *, text: str) -> dict[str, dict[str, Any]]:
    """Return host -> what its probe says, {"facts", "problems"}, or why it says nothing, {"error"}."""
    there = {host.name: host for host in hosts}
    asked = [(there[of.name], request(of, fleet.spec.storage.path)) for of in wanted if of.name in there]
    with Visits(fleet.remote, asked, text, clock=time.time) as visits:
        visits.ask()
        visits.wait(ROUND_SECONDS, for_all=True)
        return {
            name: {"error": said.error} if said.error is not None else {"facts": said.facts, "problems": said.problems}
            for name, said in visits.answers.items()
        }


def request(host: WantedHost, storage: str) -> Mapping[str, Any]:
    """Return what to ask of a host: only what it is for."""
    return {
        "units": [unit.name for unit in host.units],
        "storage": storage if host.has_app or "nfs" in host.groups else None,
        "exports": "nfs" in host.groups,
        "redis": host.has_app,
        "postgres": host.has_app,
        "seconds": PART_SECONDS,
    }
