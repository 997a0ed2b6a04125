"""The figures of a host's row. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleetctl.core.health_values import Place
from fleetctl.core.targets import node


def figures(place: Place, skew: float | None) -> dict[str, float | int | str | None]:
    """Return the figures of the host's row; a part that is missing or not of the known shape is None."""
    facts = place.facts
    units = {unit.name for unit in place.wanted.units}
    states = [of for name, of in _mapping(facts.get("units")).items() if name in units]
    survey = place.look.survey
    nodes = {node(unit) for unit in place.wanted.units}
    live = [beat for beat in survey.live if beat.name in nodes] if survey else []

    def number(part: str, key: str) -> float | None:
        value = _mapping(facts.get(part)).get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def share(part: str, used: str, of: str) -> float | None:
        top, bottom = number(part, used), number(part, of)
        return None if top is None or not bottom else top / bottom

    free, space = share("memory", "available", "total"), share("disk", "available", "total")
    return {
        "units": len(units),
        "units_active": sum(_mapping(of).get("state") == "active" for of in states) if "units" in facts else None,
        "slots": sum(unit.concurrency for unit in place.wanted.units),
        "slots_live": sum(beat.slots for beat in live) if survey else None,
        "slots_busy": sum(beat.busy for beat in live) if survey else None,
        "last_finished_seconds": min(
            (survey.now - beat.last_finished for beat in live if beat.last_finished), default=None
        ) if survey else None,
        "load": share("load", "five", "cpus"),
        "memory": None if free is None else 1 - free,
        "disk": None if space is None else 1 - space,
        "files": share("files", "used", "limit"),
        "pids": share("pids", "used", "limit"),
        "clock_seconds": skew,
        "storage_seconds": number("storage", "seconds"),
        "redis_seconds": number("redis", "seconds"),
        "postgres_seconds": number("postgres", "seconds"),
        "uptime_seconds": number("host", "uptime_seconds"),
    }  # fmt: skip


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
