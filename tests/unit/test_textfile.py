"""Health as metrics: what Prometheus would refuse must not be in it."""

from __future__ import annotations

import re
from pathlib import Path

from fleetctl.adapters import textfile
from fleetctl.core.health_values import Finding, FleetHealth, HostHealth

FINDING = Finding("unit.deaf", "red", 'said "no"', "worker-1", "worker-1", "why", "what")
ROW = HostHealth(
    "worker-1", "red", ("workers",), "10.0.0.1", 0.5, {"disk": 0.25, "load": None, "units": 2},
    (FINDING, FINDING, Finding("host.ssh", "green", "answers", "worker-1")), True,
)  # fmt: skip
HEALTH = FleetHealth('a"b\\c', "red", (ROW,), (Finding("redis.policy", "yellow", "x"),))
LINE = re.compile(r'[a-z_]+\{([a-z]+="(\\.|[^"\\\n])*",?)+\} [-+0-9.e]+')


def test_each_line_is_one_that_prometheus_takes_and_no_series_is_there_twice() -> None:
    lines = textfile.render(HEALTH, now=1_800_000_000.25).splitlines()
    series = [line for line in lines if not line.startswith("#")]
    assert [line for line in series if not LINE.fullmatch(line)] == []
    names = [line.rpartition(" ")[0] for line in series]
    assert len(names) == len(set(names))
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert types == list(dict.fromkeys(name.partition("{")[0] for name in names))


def test_levels_figures_and_findings_are_in_it() -> None:
    text = textfile.render(HEALTH, now=1_800_000_000.25)
    fleet = 'fleet="a\\"b\\\\c"'
    for line in (
        f"fleetctl_health_timestamp_seconds{{{fleet}}} 1800000000.25",
        f"fleetctl_health_level{{{fleet}}} 2",
        f'fleetctl_host_up{{{fleet},host="worker-1"}} 1',
        f'fleetctl_host_drained{{{fleet},host="worker-1"}} 1',
        f'fleetctl_host_disk{{{fleet},host="worker-1"}} 0.25',
        f'fleetctl_finding{{{fleet},check="unit.deaf",host="worker-1",unit="worker-1"}} 2',
        f'fleetctl_finding{{{fleet},check="redis.policy",host="",unit=""}} 1',
    ):
        assert f"{line}\n" in text
    assert "fleetctl_host_load{" not in text


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "fleet.prom"
    path.write_text("old")
    with path.open() as reader:
        textfile.write(path, "new")
        assert reader.read() == "old"  # who reads it meanwhile has the whole old one
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
