"""Looks at the broker and the database for health, by the agent of a host that answers, beside all else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from fleetctl.core.health_units import CANARY_SECONDS, has_free_slot
from fleetctl.core.health_values import Look
from fleetctl.core.survey import Survey
from fleetctl.errors import FleetError
from fleetctl.model import Host
from fleetctl.ports import Fleet
from fleetctl.workflows import survey

HELPERS = 3  # hosts that are tried: where three cannot say, no other can
_AGAIN_SECONDS = 0.05

T = TypeVar("T")
Find = Callable[[frozenset[str]], Host | None]


class Looker:
    """Looks in the background. `find` returns a host to ask, none of the names given to it, None as long as there is
    none; `is_hopeless` tells that there will be none."""

    def __init__(self, fleet: Fleet, find: Find, is_hopeless: Callable[[], bool]) -> None:
        self.look = Look(error="the broker was not looked at in time")
        self.is_done = threading.Event()  # one look is there
        self._fleet, self._find, self._is_hopeless = fleet, find, is_hopeless
        self._is_over = threading.Event()

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def start(self, *, again_seconds: float | None = None) -> None:
        """Begin; `again_seconds`: and look again so long after each look."""

        def run() -> None:
            while not self._is_over.is_set():
                self.look = self._once()
                self.is_done.set()
                if again_seconds is None or self._is_over.wait(again_seconds):
                    return

        threading.Thread(target=run, daemon=True, name="look at the broker").start()

    def _once(self) -> Look:
        tried: frozenset[str] = frozenset()
        error = "no host that carries the app answers"
        while len(tried) < HELPERS and not self._is_over.is_set():
            helper = self._find(tried)
            if helper is None:
                if self._is_hopeless():
                    break
                time.sleep(_AGAIN_SECONDS)
                continue
            tried |= {helper.name}
            try:
                return self._by(helper)
            except FleetError as exc:
                error = exc.message
        return Look(error=error)

    def _by(self, helper: Host) -> Look:
        """Return what this host's agent says. Raises FleetError when it cannot look at the broker."""
        hosts = (helper,)
        strays = _beside(lambda: survey.strays(self._fleet, hosts))
        services = _beside(lambda: survey.services(self._fleet, hosts))
        seen = _known(lambda: survey.survey(self._fleet, hosts))
        units = [beat.name for beat in seen.live if has_free_slot(beat)]
        canary: Mapping[str, float | None] = {}
        later: Survey | None = None
        if units:
            canary = _or_none(lambda: survey.canary(self._fleet, hosts, units, timeout=CANARY_SECONDS)) or {}
            if any(seconds is None for seconds in canary.values()):
                later = _or_none(lambda: survey.survey(self._fleet, hosts))
        return Look(
            survey=seen, later=later, strays=_or_none(strays.result), canary=canary,
            services=_services(_or_none(services.result)), helper=helper.name,
        )  # fmt: skip


def _known(ask: Callable[[], T]) -> T:
    """Return what `ask` returns; what it needs and this computer lacks, such as a password, is a FleetError too."""
    try:
        return ask()
    except (KeyError, OSError, ValueError, TypeError) as exc:
        raise FleetError(f"the answer about the broker could not be had: {type(exc).__name__}: {exc}") from exc


def _or_none(ask: Callable[[], T]) -> T | None:
    try:
        return _known(ask)
    except FleetError:
        return None


def _beside(ask: Callable[[], T]) -> Future[T]:
    """Return what will have come of `ask`, which runs beside this. Its thread holds up no end of the program."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, daemon=True, name="ask an agent").start()
    return future


def _services(value: Any) -> Mapping[str, Mapping[str, Any]] | None:
    if not isinstance(value, Mapping):
        return None
    return {name: of for name, of in value.items() if isinstance(of, Mapping)}
