"""The main job at its full size: 10 workers x 60 slots. A drill: it takes minutes and most of this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import ROOT, Cli

pytestmark = [pytest.mark.fleet, pytest.mark.drill]

SLOTS = 600


@pytest.fixture(scope="module")
def fleet(unique: str, tmp_path_factory: pytest.TempPathFactory, destroyed: list[Cli]) -> Cli:
    """The default fleet under another name."""
    home: Path = tmp_path_factory.mktemp("full")
    text = (ROOT / "fleet.yml").read_text()
    (home / "fleet.yml").write_text(text.replace("name: fleet", f"name: {unique}"))
    cli = Cli(home / "fleet.yml", home / "state")
    destroyed.append(cli)
    cli.run("deploy", "--workers", "10")
    return cli


def ended_well(report: Any, jobs: int) -> bool:
    figures = [report[name] for name in ("submitted", "done", "failed", "lost", "duplicates")]
    return figures == [jobs, jobs, 0, 0, 0] and not report["problems"]


def test_600_jobs_run_at_once_in_600_processes(fleet: Cli) -> None:
    report = fleet.json("load", "--jobs", str(SLOTS), "--seconds", "20")
    assert ended_well(report, SLOTS)
    assert (report["peak_concurrency"], report["distinct_processes"], len(report["per_unit"])) == (SLOTS, SLOTS, 10)


def test_600_io_jobs_leave_every_file_and_row(fleet: Cli) -> None:
    assert ended_well(fleet.json("load", "--jobs", str(SLOTS), "--seconds", "20", "--work", "io"), SLOTS)


def test_1500_jobs_run_in_waves_each_once(fleet: Cli) -> None:
    assert ended_well(fleet.json("load", "--jobs", "1500", "--seconds", "5"), 1500)
