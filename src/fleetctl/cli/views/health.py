"""How health looks: a row for each host, the worst first; then what is wrong, why, and what to type.

As JSON: {"fleet", "level", "is_ok", "helper", "counts": {"green", "yellow", "red"} of hosts,
"hosts": [{"host", "level", "is_drained", "groups", "address", "seconds", "figures": {...}, "findings": [...],
"passed": [check]}], "findings": [...], "passed": [check]}; a finding is {"check", "level", "detail", "host", "unit",
"cause", "fix"}. Findings are those that are not green.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fleetctl.cli.views.page import as_json as write
from fleetctl.cli.views.page import console, percent, table
from fleetctl.core.health_values import Finding, FleetHealth, HostHealth

_WHAT = 60  # letters of the first trouble in a host's row
_MANY, _NAMED = 4, 6  # findings that are told together from so many on; hosts that are named then
_STYLES = {"red": "bold red", "yellow": "yellow", "green": "green"}


def health(value: FleetHealth, *, as_json: bool, with_green: bool) -> None:
    """Print how the fleet is; `with_green`: with the checks that passed, which were asked for by name."""
    if as_json:
        write(plain(value))
        return
    page = console()
    for part in _page(value, with_green=with_green):
        page.print(part)


def watch(seen: Iterable[FleetHealth], *, as_json: bool, with_green: bool) -> Iterator[FleetHealth]:
    """Show each look as it comes, in place on a terminal, and yield it; Ctrl-C ends the watch, and is no failure."""
    if as_json or not sys.stdout.isatty():
        try:
            for value in seen:
                if as_json:
                    sys.stdout.write(json.dumps(plain(value), default=str) + "\n")
                else:
                    health(value, as_json=False, with_green=with_green)
                sys.stdout.flush()
                yield value
        except KeyboardInterrupt:
            return
        return
    with Live(Text("asking the fleet"), console=Console(), screen=True, auto_refresh=False) as live:
        live.refresh()
        try:
            for value in seen:
                clock = Text(time.strftime("%H:%M:%S UTC, Ctrl-C ends it", time.gmtime()), style="dim")
                live.update(Group(*_page(value, with_green=with_green), clock), refresh=True)
                yield value
        except KeyboardInterrupt:
            return


def plain(value: FleetHealth) -> dict[str, Any]:
    """Return what --json prints."""
    return {
        "fleet": value.fleet,
        "level": value.level,
        "is_ok": value.is_ok,
        "helper": value.helper,
        "counts": _counts(value),
        "hosts": [
            {
                "host": host.name,
                "level": host.level,
                "is_drained": host.is_drained,
                "groups": list(host.groups),
                "address": host.address,
                "seconds": round(host.seconds, 3),
                "figures": dict(host.figures),
                **_plain_findings(host.findings),
            }
            for host in value.hosts
        ],
        **_plain_findings(value.findings),
    }


def _plain_findings(findings: Sequence[Finding]) -> dict[str, Any]:
    bad = [finding for finding in findings if finding.level != "green"]
    names = {finding.name for finding in bad}
    return {
        "findings": [
            {
                "check": finding.name, "level": finding.level, "detail": finding.detail, "host": finding.host,
                "unit": finding.unit, "cause": finding.cause, "fix": finding.fix,
            }
            for finding in bad
        ],
        "passed": list(dict.fromkeys(finding.name for finding in findings if finding.name not in names)),
    }  # fmt: skip


def _counts(value: FleetHealth) -> dict[str, int]:
    return {level: sum(host.level == level for host in value.hosts) for level in ("green", "yellow", "red")}


def _page(value: FleetHealth, *, with_green: bool) -> Iterator[RenderableType]:
    counts = _counts(value)
    head = Text.assemble(f"fleet {value.fleet}: ", (value.level, _STYLES[value.level]))
    head.append("; hosts: " + ", ".join(f"{count} {level}" for level, count in counts.items() if count))
    yield head
    rows = table(
        "host", "", "units", "slots", "load", "memory", "disk", "storage", "redis", "postgres", "clock", "what"
    )
    for host in value.hosts:
        rows.add_row(*_row(host))
    yield rows
    shown = [finding for finding in value.all_findings if with_green or finding.level != "green"]
    shown.sort(key=lambda finding: ("red", "yellow", "green").index(finding.level))
    for alike in _alike(shown):
        yield _line(alike)
        if alike[0].fix:
            yield Text(f"   fix{f' of {alike[0].host}' if len(alike) > 1 else ''}: {alike[0].fix}")
    if not any(finding.level != "green" for finding in shown):
        passed = len(value.all_findings)
        yield Text(f"all {passed} checks passed" if passed else "no such check was made", style="green")


def _alike(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Yield findings, those of many hosts together that have one cause: a service that is down is one line, not 100."""
    groups: dict[tuple[str, str, str | None], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.name, finding.cause), []).append(finding)
    for group in groups.values():
        if len(group) < _MANY or group[0].host is None:
            yield from ([finding] for finding in group)
        else:
            yield group


def _line(alike: Sequence[Finding]) -> Text:
    first = alike[0]
    where, of = first.host or "fleet", f" of {first.unit}" if first.unit else ""
    if len(alike) > 1:
        hosts = list(dict.fromkeys(str(finding.host) for finding in alike))
        more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
        where, of = f"{len(hosts)} hosts, {', '.join(hosts[:_NAMED])}{more}", ""
    line = Text.assemble((f"{first.level}: ", _STYLES[first.level]), f"{where}: {first.name}{of}: {first.detail}")
    return line.append(f" ({first.cause})") if first.cause else line


def _row(host: HostHealth) -> list[Text | str]:
    of = host.figures
    name = "drained" if host.is_drained and host.level == "green" else host.level
    level = Text(name, style=_STYLES[host.level])
    if host.is_drained and host.level != "green":
        level.append(", drained")
    what = next((finding for finding in sorted(host.problems, key=lambda one: one.level != "red")), None)
    said = Text(_cut(f"{what.name}: {what.detail}") if what else "", style=_STYLES[what.level] if what else "")
    units = f"{_whole(of, 'units_active')}/{_whole(of, 'units')}" if of.get("units") else "-"
    slots = f"{_whole(of, 'slots_busy')}/{_whole(of, 'slots_live')}" if of.get("units") else "-"
    shares = [percent(_number(of, name)) for name in ("memory", "disk")]
    times = [_milliseconds(_number(of, f"{name}_seconds")) for name in ("storage", "redis", "postgres")]
    load, clock = _number(of, "load"), _number(of, "clock_seconds")
    return [
        host.name, level, units, slots, "-" if load is None else f"{load:.2f}", *shares, *times,
        "-" if clock is None else f"{clock:+.1f} s", said,
    ]  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= _WHAT else text[: _WHAT - 1] + "…"


def _number(figures: Mapping[str, object], name: str) -> float | None:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) else None


def _whole(figures: Mapping[str, object], name: str) -> str:
    value = _number(figures, name)
    return "?" if value is None else f"{value:.0f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
