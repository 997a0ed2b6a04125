"""The history of a fleet's changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.adapters.history import FILE, UNENDED, History
from fleetctl.errors import ProviderError


def test_a_change_is_kept_with_who_what_when_and_its_result(tmp_path: Path) -> None:
    history = History(tmp_path)
    with history.record("deploy --workers 3") as entry:
        entry.summary = "3 launched"
    (change,) = history.changes()
    assert (change.command, change.result, change.summary) == ("deploy --workers 3", "done", "3 launched")
    assert "@" in change.operator
    assert change.seconds is not None
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_errors_and_interrupts_are_results(tmp_path: Path) -> None:
    history = History(tmp_path)
    with pytest.raises(ProviderError), history.record("deploy"):
        raise ProviderError("no room\nand more")
    with pytest.raises(KeyboardInterrupt), history.record("destroy"):
        raise KeyboardInterrupt
    assert [(c.result, c.summary) for c in history.changes()] == [("failed", "no room"), ("interrupted", "")]


def test_a_torn_line_is_left_out_and_the_next_ones_are_read(tmp_path: Path) -> None:
    history = History(tmp_path)
    with history.record("deploy"):
        pass
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text[: len(text) // 3])
    with history.record("destroy"):
        pass
    assert [(change.command, change.result) for change in history.changes()] == [("destroy", "done")]


def test_a_change_that_was_killed_did_not_end(tmp_path: Path) -> None:
    history = History(tmp_path)
    with history.record("deploy"):
        pass
    begin = next(line for line in (tmp_path / FILE).read_text().splitlines() if line)
    (tmp_path / FILE).write_text(f"{begin}\n")
    assert [change.result for change in history.changes()] == [UNENDED]


def test_a_fleet_without_changes_has_an_empty_history(tmp_path: Path) -> None:
    assert History(tmp_path).changes() == ()
