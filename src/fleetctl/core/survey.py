"""What one look at the broker shows: heartbeats of units, facts of queues, counts. Pure: an agent's answer to values.

Hosts may carry another release than this one: keys that are not known here are passed over, and those that lack are
taken as nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from fleetctl.errors import FleetError

FRESH_SECONDS = (
    15.0  # a unit writes its heartbeat every second or so: one that is older belongs to one that hangs or died
)

T = TypeVar("T")


@dataclass(frozen=True)
class RunningJob:
    """One job in a slot. `started`: seconds since the epoch, None when it is not known."""

    id: str
    task: str = ""
    queue: str = ""
    started: float | None = None


@dataclass(frozen=True)
class Heartbeat:
    """What a unit's main process says of itself, `at` seconds since the epoch by its host's clock."""

    unit: str
    host: str
    pool: str = ""
    machine: str = ""
    boot: str = ""
    pid: int = 0
    at: float = 0.0
    since: float = 0.0
    queues: tuple[str, ...] = ()
    slots: int = 0
    busy: int = 0
    jobs: tuple[RunningJob, ...] = ()
    reserved: int = 0
    scheduled: int = 0
    scheduled_jobs: tuple[str, ...] = ()
    children: int = 0
    is_draining: bool = False
    received: int = 0
    done: int = 0
    failed: int = 0
    last_received: float | None = None
    last_finished: float | None = None
    version: str = ""

    @property
    def name(self) -> str:
        """The unit's node name, unique in the fleet."""
        return f"{self.unit}@{self.host}"


@dataclass(frozen=True)
class QueueFacts:
    """Jobs of one queue that have not ended, each counted once. `oldest_at`: when the first to wait was submitted."""

    name: str
    queued: int = 0
    oldest_at: float | None = None
    reserved: int = 0
    scheduled: int = 0
    running: int = 0
    stranded: int = 0

    @property
    def depth(self) -> int:
        """Jobs that have not ended."""
        return self.queued + self.reserved + self.scheduled + self.running + self.stranded


@dataclass(frozen=True)
class Drain:
    """A drain that holds. `key`: host:NAME, pool:NAME or unit:UNIT@HOST."""

    key: str
    at: float = 0.0
    by: str = ""

    def covers(self, unit: str, host: str, pool: str) -> bool:
        """Tell whether a unit of this host and pool is drained by it."""
        return self.key in (f"host:{host}", f"pool:{pool}", f"unit:{unit}@{host}")


@dataclass(frozen=True)
class Survey:
    """One look at the broker, `now` by Redis' clock (seconds since the epoch).

    `minutes`: minute since the epoch -> field ("QUEUE|done", "TASK|seconds", ...) -> count or sum. `redis`: fields of
    INFO, None where they may not be read. `unclaimed`: jobs delivered to somebody who did not say so.
    """

    now: float
    units: tuple[Heartbeat, ...] = ()
    queues: tuple[QueueFacts, ...] = ()
    drains: tuple[Drain, ...] = ()
    minutes: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    open: int = 0
    quarantined: int = 0
    redis: Mapping[str, Any] | None = None
    unacked: int = 0
    unclaimed: int = 0

    def is_live(self, unit: Heartbeat) -> bool:
        """Tell whether the unit has spoken lately. A clock that runs ahead makes no unit dead."""
        return self.now - unit.at < FRESH_SECONDS

    @property
    def live(self) -> tuple[Heartbeat, ...]:
        return tuple(unit for unit in self.units if self.is_live(unit))

    def is_draining(self, unit: Heartbeat) -> bool:
        """Tell whether the unit takes no new jobs: it says so, or a drain covers it."""
        return unit.is_draining or any(drain.covers(unit.unit, unit.host, unit.pool) for drain in self.drains)


def parse(answer: Mapping[str, Any]) -> Survey:
    """Return the survey of an agent's answer. Raises FleetError when it carries no time: everything hangs on that."""
    now = answer.get("now")
    if not isinstance(now, int | float) or isinstance(now, bool):
        raise FleetError("the answer of the host's agent carries no time", hint="fleetctl deploy")
    beats = (parse_heartbeat(value) for value in _list(answer.get("units")))
    return Survey(
        now=float(now),
        units=tuple(sorted((beat for beat in beats if beat is not None), key=_by_number)),
        queues=tuple(
            _made(QueueFacts, {"name": name} | of) for name, of in sorted(_mappings(answer, "queues").items())
        ),
        drains=tuple(_made(Drain, {"key": key} | of) for key, of in sorted(_mappings(answer, "drains").items())),
        minutes={int(minute): _numbers(of) for minute, of in sorted(_mappings(answer, "minutes").items())},
        totals={name: int(value) for name, value in _numbers(_mapping(answer.get("totals"))).items()},
        open=_whole(answer.get("open")),
        quarantined=_whole(answer.get("quarantined")),
        redis=_mapping(answer["redis"]) if isinstance(answer.get("redis"), Mapping) else None,
        unacked=_whole(answer.get("unacked")),
        unclaimed=_whole(answer.get("unclaimed")),
    )


def parse_heartbeat(value: Any) -> Heartbeat | None:
    """Return a heartbeat, None when it does not say whose it is."""
    of = _mapping(value)
    if not isinstance(of.get("unit"), str) or not isinstance(of.get("host"), str):
        return None
    jobs = tuple(_made(RunningJob, job) for job in _list(of.get("jobs")) if isinstance(_mapping(job).get("id"), str))
    lists = {key: tuple(str(item) for item in _list(of.get(key))) for key in ("queues", "scheduled_jobs")}
    return _made(Heartbeat, of | lists | {"jobs": jobs})


def _made(kind: type[T], value: Mapping[str, Any]) -> T:
    """Make a dataclass of those keys that it knows; values of None stand only where its default is None too."""
    known: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]  # every `kind` here is a dataclass
        if one.name in value and (value[one.name] is not None or one.default is None or one.default is MISSING):
            known[one.name] = value[one.name]
    return kind(**known)


def _by_number(beat: Heartbeat) -> tuple[str, int, str, str]:
    """Order worker-2 before worker-10."""
    pool, _, number = beat.unit.rpartition("-")
    return (pool, int(number), beat.unit, beat.host) if number.isdecimal() else (beat.unit, 0, beat.unit, beat.host)


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): of for key, of in value.items()} if isinstance(value, Mapping) else {}


def _mappings(answer: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    return {name: _mapping(of) for name, of in _mapping(answer.get(key)).items()}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _numbers(value: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a hash of Redis, whose values come as text where nobody has read them as numbers."""
    found = {}
    for name, number in value.items():
        try:
            found[name] = float(number)
        except (TypeError, ValueError):
            continue
    return found


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0
