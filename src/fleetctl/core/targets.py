"""What a name on the command line means: a host, a pool or a unit of the fleet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetctl.core.layout import WantedHost
from fleetctl.errors import UsageError
from fleetctl.model import Unit

KINDS = ("host", "pool", "unit")


@dataclass(frozen=True)
class Target:
    """A host, a pool or a unit, with the units that it stands for. `key` is its name among the fleet's drains."""

    key: str
    units: tuple[Unit, ...]


def resolve(names: Iterable[str], wanted: Sequence[WantedHost]) -> tuple[Target, ...]:
    """Return what the names mean, each once, in their order.

    A name may say its kind: host:worker-2, pool:worker, unit:worker-2. Raises UsageError for one that the
    fleet does not have, that has no units, or that could be a host and another host's unit.
    """
    return tuple(dict.fromkeys(_one(name, wanted) for name in names))


def units_of(targets: Iterable[Target], wanted: Sequence[WantedHost]) -> tuple[Unit, ...]:
    """Return the units that these targets stand for, each once, in the fleet's order."""
    meant = {unit for target in targets for unit in target.units}
    return tuple(unit for host in wanted for unit in host.units if unit in meant)


def chosen_hosts(names: Iterable[str], wanted: Sequence[WantedHost]) -> tuple[WantedHost, ...]:
    """Return the hosts of these names, in the fleet's order. Raises UsageError for one that the fleet does not have."""
    asked = list(names)
    known = [host.name for host in wanted]
    for name in asked:
        if name not in known:
            raise UsageError(f"the fleet has no host {name}", hint=f"one of: {', '.join(known)}")
    return tuple(host for host in wanted if host.name in asked)


def node(unit: Unit) -> str:
    """Return the name by which Celery and the drains know a unit."""
    return f"{unit.name}@{unit.host}"


def meant_keys(name: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return those keys of drains that a name may mean; the fleet may not have its host any more."""
    kind, _, rest = name.rpartition(":")
    kinds = (kind,) if kind in KINDS else KINDS
    return tuple(key for key in keys if any(_is_named(key, one, rest) for one in kinds))


def _is_named(key: str, kind: str, name: str) -> bool:
    of, _, what = key.partition(":")
    return of == kind and (what == name or (kind == "unit" and what.partition("@")[0] == name))


def _one(name: str, wanted: Sequence[WantedHost]) -> Target:
    kind, _, rest = name.partition(":")
    found = _all(rest if kind in KINDS else name, wanted, (kind,) if kind in KINDS else KINDS)
    if not found:
        raise UsageError(f"the fleet has no host, pool or unit {name}", hint=f"one of: {', '.join(_known(wanted))}")
    # A host and the only unit on it may have one name, and mean the same.
    first, *others = found
    if any(set(other.units) != set(first.units) for other in others):
        hint = " or ".join(target.key.partition("@")[0] for target in found)
        raise UsageError(f"{name} may mean more than one thing", hint=f"say {hint}")
    if not first.units:
        raise UsageError(f"{name} has no units", hint=f"one of: {', '.join(_known(wanted))}")
    return first


def _all(name: str, wanted: Sequence[WantedHost], kinds: Sequence[str]) -> list[Target]:
    found = []
    if "host" in kinds:
        found += [Target(f"host:{host.name}", host.units) for host in wanted if host.name == name]
    if "pool" in kinds:
        of = tuple(unit for host in wanted for unit in host.units if unit.pool == name)
        found += [Target(f"pool:{name}", of)] if of else []
    if "unit" in kinds:
        units = [unit for host in wanted for unit in host.units if name in (unit.name, node(unit))]
        found += [Target(f"unit:{node(unit)}", (unit,)) for unit in units]
    return found


def _known(wanted: Sequence[WantedHost]) -> list[str]:
    pools = [host.pool for host in wanted if host.pool and host.units]
    hosts = [host.name for host in wanted if host.units]
    units = [unit.name for host in wanted for unit in host.units]
    return list(dict.fromkeys([*pools, *hosts, *units]))
