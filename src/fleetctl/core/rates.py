"""How fast jobs come and end, from counts by the minute. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WINDOW_MINUTES = 15  # what a survey carries
_LEAST_SECONDS = 60.0


@dataclass(frozen=True)
class Count:
    """Jobs of a queue that were submitted and that ended within a window."""

    submitted: float = 0.0
    done: float = 0.0
    failed: float = 0.0

    @property
    def ended(self) -> float:
        return self.done + self.failed

    def __add__(self, other: Count) -> Count:
        return Count(self.submitted + other.submitted, self.done + other.done, self.failed + other.failed)


@dataclass(frozen=True)
class Run:
    """Runs of one task within a window, and how long they took together."""

    runs: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Window:
    """What happened in the `seconds` up to now."""

    seconds: float
    queues: Mapping[str, Count] = field(default_factory=dict)
    tasks: Mapping[str, Run] = field(default_factory=dict)

    def of(self, queues: Iterable[str]) -> Count:
        """Return the counts of these queues together."""
        return sum((self.queues.get(queue, Count()) for queue in queues), Count())

    def per_hour(self, count: float) -> float:
        return count * 3600 / self.seconds


def window(minutes: Mapping[int, Mapping[str, float]], now: float) -> Window:
    """Return the window that ends at `now` (epoch) and begins with the first of the last 15 minutes in which anything
    was counted: a fleet that has just begun is not measured against the time before it. One minute at least."""
    current = int(now // 60)
    recent = {minute: of for minute, of in minutes.items() if current - WINDOW_MINUTES < minute <= current and of}
    began = min(recent, default=current) * 60
    queues: dict[str, dict[str, float]] = {}
    tasks: dict[str, dict[str, float]] = {}
    for of in recent.values():
        for name, number in of.items():
            whose, _, what = name.rpartition("|")
            known = (
                queues if what in ("submitted", "done", "failed") else tasks if what in ("runs", "seconds") else None
            )
            if known is not None and whose:
                counts = known.setdefault(whose, {})
                counts[what] = counts.get(what, 0.0) + number
    return Window(
        max(now - began, _LEAST_SECONDS),
        {name: Count(**counts) for name, counts in sorted(queues.items())},
        {name: Run(**counts) for name, counts in sorted(tasks.items())},
    )
