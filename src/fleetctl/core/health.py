"""How the fleet is, judged from what its hosts and its broker said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from fleetctl.core import health_fleet, health_machine, health_storage, health_units
from fleetctl.core.health_figures import figures
from fleetctl.core.health_values import (
    ORDER,
    Answer,
    Finding,
    FleetHealth,
    Ground,
    HostHealth,
    Level,
    Look,
    Place,
    worst,
)
from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey
from fleetctl.core.targets import node
from fleetctl.model import Host, HostState, Unit

FEW = 3  # hosts whose clocks' median is not trusted more than the asker's
OWN_CLOCK_SECONDS = 5.0  # this computer's clock against its fleet's
_RULES: tuple[Callable[[Place], Iterator[Finding]], ...] = (
    health_machine.rules, health_storage.rules, health_units.rules,
)  # fmt: skip


def judge(
    wanted: Sequence[WantedHost],
    hosts: Mapping[str, Host],
    answers: Mapping[str, Answer],
    look: Look,
    ground: Ground,
    *,
    scope: frozenset[str] | None = None,
) -> FleetHealth:
    """Return how the fleet is. `hosts`: those that the provider has; `answers`: of those that were asked.

    `scope` are the hosts to show (None: all, and the fleet's own checks).
    """
    shown = [host for host in wanted if scope is None or host.name in scope]
    reference = _reference(answers)
    machines = _machines(wanted, answers)
    rows = [_host(host, hosts, answers, look, ground, reference, machines) for host in shown]
    findings: tuple[Finding, ...] = ()
    if scope is None:
        findings = (*health_fleet.rules(wanted, ground, look), *_of_all(hosts, wanted, ground, answers))
    rows.sort(key=_by_trouble)
    level = worst([*(finding for row in rows for finding in row.findings), *findings])
    return FleetHealth(ground.spec.name, level, tuple(rows), findings, look.helper)


def select(health: FleetHealth, checks: Sequence[str]) -> FleetHealth:
    """Return the same with those checks alone whose names begin with one of `checks`; all without any."""
    if not checks:
        return health
    prefixes = tuple(checks)
    rows = []
    for row in health.hosts:
        kept = tuple(finding for finding in row.findings if finding.name.startswith(prefixes))
        rows.append(replace(row, findings=kept, level=worst(kept)))
    findings = tuple(finding for finding in health.findings if finding.name.startswith(prefixes))
    level = worst([*(finding for row in rows for finding in row.findings), *findings])
    return replace(health, hosts=tuple(sorted(rows, key=_by_trouble)), findings=findings, level=level)


def _by_trouble(row: HostHealth) -> tuple[int, int]:
    """Order the worst first; the sort is stable, so that equals stay in the fleet's order."""
    return -ORDER[row.level], -sum(finding.level == row.level for finding in row.problems)


def _host(
    wanted: WantedHost,
    hosts: Mapping[str, Host],
    answers: Mapping[str, Answer],
    look: Look,
    ground: Ground,
    reference: float,
    machines: Mapping[str, list[str]],
) -> HostHealth:
    host, answer = hosts.get(wanted.name), answers.get(wanted.name) or Answer(error="was not asked")
    survey = look.survey
    drained = bool(wanted.units) and survey is not None and all(_is_drained(survey, wanted, u) for u in wanted.units)
    if host is None or host.state is not HostState.RUNNING or answer.facts is None:
        findings = tuple(_absent(wanted, host, answer, look, ground))
        address = host.address if host else None
        row = figures(Place(wanted, host, {}, answer, ground, look), None) if host else {}
        return HostHealth(wanted.name, "red", wanted.groups, address, answer.received - answer.sent, row, findings,
                          drained)  # fmt: skip
    skew = None if answer.offset is None else answer.offset - reference
    place = Place(wanted, host, answer.facts, answer, ground, look, skew)
    found = [Finding("host.ssh", "green", "answers", wanted.name), *_swapped(place, machines)]
    for rules in _RULES if _is_set_up(place) else _RULES[:1]:  # the rest would follow from that alone
        found += _carefully(place, rules)
    seconds = answer.received - answer.sent
    row = figures(place, skew)
    return HostHealth(wanted.name, worst(found), wanted.groups, host.address, seconds, row, tuple(found), drained)


def _is_set_up(place: Place) -> bool:
    """Tell whether anything of the fleet is on the host."""
    of = place.part("host") or {}
    units = (place.part("units") or {}).values()
    has_units = any(isinstance(unit, Mapping) and unit.get("load") == "loaded" for unit in units)
    return bool(of.get("stamp") or of.get("fleet_host") or has_units)


def _carefully(place: Place, rules: Callable[[Place], Iterator[Finding]]) -> list[Finding]:
    """Return what the rules find, and a finding when the facts are not of the shape that they know."""
    found: list[Finding] = []
    try:
        found.extend(rules(place))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as exc:
        detail = f"a part of its answer cannot be read: {type(exc).__name__}: {exc}"
        cause = "it is of another release, or something on the host answers in the probe's place"
        fix = f"fleetctl ssh {place.name} 'python3 --version'"
        found.append(place.found("host.probe", "red", detail, cause=cause, fix=fix))
    return found


def _absent(wanted: WantedHost, host: Host | None, answer: Answer, look: Look, ground: Ground) -> Iterator[Finding]:
    """Yield what is known of a host that says nothing: its own row, and what the broker says of its units."""
    if host is None:
        cause = "fleet.yml asks for it, and the provider has none"
        yield Finding("host.ssh", "red", "there is no such host", wanted.name, cause=cause, fix="fleetctl deploy")
        return
    if host.state is not HostState.RUNNING:
        fix = "fleetctl deploy"
        yield Finding("host.ssh", "red", f"is {host.state}", wanted.name, cause="its machine is off", fix=fix)
        return
    error = (answer.error or "no answer").removeprefix(f"{wanted.name}: ")
    if "cannot be read" in error:
        fix = f"fleetctl ssh {wanted.name} 'python3 --version'"
        cause = "something answers in the probe's place: a shell that prints, or no Python 3"
    elif "host key" in error:
        cause, fix = "another machine answers, or it was made anew", f"fleetctl inventory --host {wanted.name}"
    elif "refused the key" in error:
        cause, fix = "the fleet's key is not authorized there", f"fleetctl ssh {wanted.name}"
    else:
        cause = "it is dead, frozen or cut off from here"
        fix = f"fleetctl rescue {wanted.name}" if wanted.units else f"fleetctl ssh {wanted.name} true"
    yield Finding("host.ssh", "red", error, wanted.name, cause=cause, fix=fix)
    place = Place(wanted, host, {}, answer, ground, look)
    yield from _carefully(place, health_units.rules)


def _swapped(place: Place, machines: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Yield a finding when two hosts are one machine, or this one is another host's."""
    machine = (place.part("host") or {}).get("machine_id")
    others = [name for name in machines.get(str(machine), ()) if name != place.name]
    if others:
        detail = f"the machine that answers is {others[0]}'s (machine id {machine})"
        fix = f"fleetctl inventory --host {place.name}"
        cause = "addresses are swapped, or two hosts have one"
        yield place.found("host.address", "red", detail, cause=cause, fix=fix)
    else:
        yield place.found("host.address", "green", f"{place.host.address} is no other host's")


def _machines(wanted: Sequence[WantedHost], answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    """Return machine id -> the hosts that it is: it was set up as, else it answers as."""
    names = {host.name for host in wanted}
    found: dict[str, list[str]] = {}
    for name, answer in answers.items():
        of = (answer.facts or {}).get("host")
        if isinstance(of, Mapping) and of.get("machine_id"):
            own = of.get("fleet_host") if of.get("fleet_host") in names else name
            found.setdefault(str(of["machine_id"]), []).extend(dict.fromkeys([str(own), name]))
    return found


def _reference(answers: Mapping[str, Answer]) -> float:
    """Return what the fleet's clock is ahead of the asker's: the median, since one of two may be wrong."""
    offsets = [answer.offset for answer in answers.values() if answer.offset is not None]
    return median(offsets) if len(offsets) >= FEW else 0.0


def _of_all(
    hosts: Mapping[str, Host], wanted: Sequence[WantedHost], ground: Ground, answers: Mapping[str, Answer]
) -> Iterator[Finding]:
    """Yield drift of the whole, and of this computer's clock."""
    names = {host.name for host in wanted}
    if surplus := sorted(name for name in hosts if name not in names):
        is_paid = ground.spec.provider.kind == "local"
        level: Level = "yellow" if is_paid else "green"
        detail = f"the provider has hosts that fleet.yml does not ask for: {', '.join(surplus)}"
        fix = "fleetctl deploy" if is_paid else None
        yield Finding("fleet.hosts", level, detail, cause="drift" if is_paid else None, fix=fix)
    else:
        yield Finding("fleet.hosts", "green", f"{len(hosts)} hosts, {len(names)} are meant")
    if ground.inventory is None:
        detail = f"nobody knows whether hosts are as fleet.yml says: {ground.note}"
        yield Finding("fleet.drift", "yellow", detail, cause="the inventory cannot be made here", fix="fleetctl plan")
    off = _reference(answers)
    if abs(off) > OWN_CLOCK_SECONDS:
        detail = f"this computer's clock is {abs(off):.1f} s {'behind' if off > 0 else 'ahead of'} its fleet's"
        yield Finding("fleet.clock", "yellow", detail, cause="nothing sets this computer's clock", fix="timedatectl")


def _is_drained(survey: Survey, wanted: WantedHost, unit: Unit) -> bool:
    beat = next((beat for beat in survey.units if beat.name == node(unit)), None)
    if beat is not None:
        return survey.is_draining(beat)
    return any(drain.covers(unit.name, wanted.name, wanted.pool or "") for drain in survey.drains)
