"""The write-ahead record survives a crash in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.adapters.providers.local.record import Record, Resource

BRIDGE, TABLE = Resource("bridge", "br"), Resource("table", "t")
ALPHA, BETA = Resource("netns", "f.alpha", "alpha"), Resource("netns", "f.beta", "beta")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


def test_what_was_recorded_is_read_in_order_and_once(path: Path) -> None:
    assert Record(path).read() == ()
    Record(path).add(BRIDGE, ALPHA)
    Record(path).add(ALPHA, TABLE, BRIDGE)
    assert Record(path).read() == (BRIDGE, ALPHA, TABLE)


def test_a_line_cut_short_by_a_crash_is_no_resource_and_spoils_no_other(path: Path) -> None:
    record = Record(path)
    record.add(BRIDGE, ALPHA)
    path.write_bytes(path.read_bytes()[:-9])
    assert record.read() == (BRIDGE,)
    record.add(TABLE)
    assert record.read() == (BRIDGE, TABLE)


def test_forgetting_hosts_keeps_the_others_and_what_is_shared(path: Path) -> None:
    record = Record(path)
    record.add(BRIDGE, ALPHA, BETA)
    record.forget(["alpha", "never-was"])
    assert record.read() == (BRIDGE, BETA)
