"""Health as metrics, in Prometheus' text format, for node_exporter's textfile collector."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleetctl.core.health_values import ORDER, FleetHealth
from fleetctl.errors import UsageError

_HELP = {
    "fleetctl_health_timestamp_seconds": "When health was looked at.",
    "fleetctl_health_level": "The fleet: 0 green, 1 yellow, 2 red.",
    "fleetctl_host_level": "A host: 0 green, 1 yellow, 2 red.",
    "fleetctl_host_up": "Whether a host answered.",
    "fleetctl_host_drained": "Whether all units of a host are drained.",
    "fleetctl_host_answer_seconds": "How long a host took to answer, its connection included.",
    "fleetctl_finding": "What is wrong: 1 yellow, 2 red.",
}


def render(health: FleetHealth, *, now: float) -> str:
    """Return the metrics; `now` in seconds since the epoch."""
    fleet = {"fleet": health.fleet}
    metrics: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in _HELP}
    metrics["fleetctl_health_timestamp_seconds"].append((fleet, now))
    metrics["fleetctl_health_level"].append((fleet, ORDER[health.level]))
    for host in sorted(health.hosts, key=lambda host: host.name):
        labels = fleet | {"host": host.name}
        is_up = not any(finding.name == "host.ssh" and finding.level == "red" for finding in host.findings)
        metrics["fleetctl_host_level"].append((labels, ORDER[host.level]))
        metrics["fleetctl_host_up"].append((labels, is_up))
        metrics["fleetctl_host_drained"].append((labels, host.is_drained))
        metrics["fleetctl_host_answer_seconds"].append((labels, host.seconds))
        for name, value in host.figures.items():
            if isinstance(value, int | float):
                metrics.setdefault(f"fleetctl_host_{name}", []).append((labels, value))
    levels: dict[tuple[str, str, str], int] = {}  # one series for each: a second of the same name would be refused
    for finding in health.all_findings:
        if finding.level != "green":
            key = (finding.name, finding.host or "", finding.unit or "")
            levels[key] = max(levels.get(key, 0), ORDER[finding.level])
    for (name, of, unit), level in sorted(levels.items()):
        metrics["fleetctl_finding"].append((fleet | {"check": name, "host": of, "unit": unit}, level))
    return "".join(_family(name, values) for name, values in metrics.items() if values)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by all: the collector is another user."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        temporary.replace(path)
    except OSError as exc:
        raise UsageError(
            f"{path} cannot be written: {exc.strerror}", hint="give --textfile a directory of yours"
        ) from exc


def _family(name: str, values: Iterable[tuple[Mapping[str, str], float]]) -> str:
    said = _HELP.get(name, f"The figure {name.removeprefix('fleetctl_host_')} of a host.")
    lines = [f"# HELP {name} {said}", f"# TYPE {name} gauge"]
    for labels, value in values:
        inner = ",".join(f'{key}="{_escaped(of)}"' for key, of in labels.items())
        lines.append(f"{name}{{{inner}}} {float(value):.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
