"""Phases of a long command: told as events, timed for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fleetctl.model import Event, OnEvent, PhaseTime


@dataclass
class Phases:
    """Tells when a phase starts and ends, and keeps how long each took."""

    on_event: OnEvent
    clock: Callable[[], float]
    times: list[PhaseTime] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str, message: str = "", *, total: int = 0) -> Iterator[None]:
        self.on_event(Event("phase", name, message, total=total))
        began = self.clock()
        try:
            yield
        finally:
            self.times.append(PhaseTime(name, self.clock() - began))
            self.on_event(Event("end", name))
