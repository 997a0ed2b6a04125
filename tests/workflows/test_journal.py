"""logs over a world of fakes: one journal of many, in time order, whatever becomes of a host."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.inventory import Context
from fleetctl.core.journal import Entry, Reorder, parse
from fleetctl.errors import ConnectError, UsageError
from fleetctl.model import CommandResult, Host, Outcome
from fleetctl.workflows import journal as workflow
from fleetctl.workflows.journal import Note, Source
from tests.unit.core.conftest import context, spec  # noqa: F401  # context is a fixture
from tests.workflows.day2 import Day2


@pytest.fixture
def world(context: Context) -> Day2:  # noqa: F811
    return Day2(context)


def line(at: float, message: Any = "said", **more: Any) -> str:
    value = {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "__CURSOR": f"c{at}", "MESSAGE": message, "PRIORITY": "6",
             "_SYSTEMD_UNIT": "fleet-worker@worker-1.service", "_PID": "7"}  # fmt: skip
    return json.dumps(value | more)


def test_a_line_is_read_with_its_time_unit_and_process() -> None:
    assert parse("a", line(1.5)) == Entry(1.5, "a", "fleet-worker@worker-1", "said", 6, 7, "c1.5")


def test_what_systemd_says_of_a_unit_is_the_units() -> None:
    of = parse("a", line(1, "Started", UNIT="fleet-worker@worker-1.service", _SYSTEMD_UNIT="init.scope", _PID="1"))
    assert of is not None
    assert (of.unit, of.pid) == ("fleet-worker@worker-1", 1)


@pytest.mark.parametrize(("message", "text"), [([104, 105, 255], "hi\ufffd"), (None, ""), ("x", "x")])
def test_messages_that_are_not_text_are_read_too(message: Any, text: str) -> None:
    of = parse("a", line(1, message))
    assert of is not None
    assert of.message == text


@pytest.mark.parametrize("text", ["", "-- No entries --", "{}", "[]", '{"__REALTIME_TIMESTAMP": "x"}', '{"a"'])
def test_what_is_no_entry_is_passed_over(text: str) -> None:
    assert parse("a", text) is None


def test_the_journals_of_many_hosts_are_one_in_time_order(world: Day2) -> None:
    def answer(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del argv, stdin
        times = {"worker-1": (1, 4, 5), "worker-2": (2, 3, 6)}[host]
        return CommandResult(0, "\n".join(line(at) for at in times), "")

    world.remote.command = answer
    of = workflow.sources([], world.wanted, ())
    found = workflow.read(world.remote, of, world.running, since="10m", lines=None)
    assert [entry.at for entry in found.entries] == [1, 2, 3, 4, 5, 6]
    last = workflow.read(world.remote, of, world.running, since=None, lines=2)
    assert [(entry.at, entry.host) for entry in last.entries] == [(5, "worker-1"), (6, "worker-2")]
    commands = [command for _, command, _ in world.remote.ran]
    assert "--lines=all --since=-10m" in commands[0]
    assert "--lines=2" in commands[-1]


def test_hosts_that_cannot_say_are_named_and_hide_no_other(world: Day2) -> None:
    def answer(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del argv, stdin
        return CommandResult(0, line(1), "") if host == "nfs" else CommandResult(1, "", "no journal files")

    world.remote.command = answer
    world.remote.dead = {"redis"}
    world.source.terminate(["worker-1"])
    of = workflow.sources(["nfs", "redis", "worker-1", "worker-2"], world.wanted, ())
    found = workflow.read(world.remote, of, world.running, since=None, lines=9)
    assert [entry.host for entry in found.entries] == ["nfs"]
    assert found.errors == {
        "redis": "redis: no answer", "worker-1": "worker-1: does not run", "worker-2": "worker-2: no journal files"
    }  # fmt: skip


SOURCES: dict[str, tuple[list[str], list[str], list[Source]]] = {
    "all workers": ([], [], [Source("worker-1", ("fleet-worker@*",)), Source("worker-2", ("fleet-worker@*",))]),
    "a service": (["redis"], [], [Source("redis", ("redis-server*",))]),
    "a pool": (["worker"], [], [Source("worker-1", ("fleet-worker@worker-1.service",)),
                                Source("worker-2", ("fleet-worker@worker-2.service",))]),
    "a unit": (["unit:worker-2"], [], [Source("worker-2", ("fleet-worker@worker-2.service",))]),
    "other units": (["worker-2"], ["ssh*", "cron*"], [Source("worker-2", ("ssh*", "cron*"))]),
}  # fmt: skip


@pytest.mark.parametrize(("names", "globs", "wanted"), SOURCES.values(), ids=SOURCES)
def test_names_mean_journals(names: list[str], globs: list[str], wanted: list[Source], world: Day2) -> None:
    assert workflow.sources(names, world.wanted, globs) == tuple(wanted)


def test_a_name_that_the_fleet_does_not_have_is_refused(world: Day2) -> None:
    with pytest.raises(UsageError, match="no host, pool or unit wroker-1"):
        workflow.sources(["wroker-1"], world.wanted, ())


@pytest.mark.parametrize(
    ("text", "wanted"), [("10m", "-10m"), ("2 h", "-2 h"), ("-5min", "-5min"), ("2026-01-31 12:00", "2026-01-31 12:00"),
                         ("yesterday", "yesterday"), ("@1700000000", "@1700000000")]
)  # fmt: skip
def test_times_are_journalctls_own_and_spans_are_that_long_ago(text: str, wanted: str) -> None:
    assert workflow.when(text) == wanted


def entries(*times: float, host: str = "a") -> list[Entry]:
    return [Entry(at, host) for at in times]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 2)), max_size=60))
def test_entries_that_are_late_by_less_than_the_window_come_in_order(arrivals: list[tuple[float, float]]) -> None:
    reorder, out = Reorder(2.0), []
    for at, late in sorted(arrivals, key=lambda pair: pair[0] + pair[1]):
        out += reorder.due(at + late)
        reorder.take(Entry(at, "a"), at + late)
    out += reorder.rest()
    assert [entry.at for entry in out] == sorted(at for at, _ in arrivals)


def test_a_host_whose_clock_is_behind_holds_up_nobody() -> None:
    reorder, out = Reorder(0.5), []
    reorder.take(Entry(1000.0, "right"), 0.0)
    for tenth in range(1, 8):
        reorder.take(Entry(tenth, "behind"), tenth / 10)
        out += reorder.due(tenth / 10)
    assert "right" in {entry.host for entry in out}


def test_all_that_has_been_held_for_long_enough_comes_at_once() -> None:
    reorder = Reorder(0.5)
    for entry in entries(3, 1, 2):
        reorder.take(entry, 0.0)
    assert reorder.due(0.4) == []
    assert [entry.at for entry in reorder.due(0.5)] == [1, 2, 3]


Leg = Callable[[Callable[[str], None]], CommandResult]


@dataclass
class Talking:
    """The Remote port of hosts whose journals are followed: each call runs the host's next leg, the last one blocks."""

    legs: Mapping[str, list[Leg]]
    asked: list[tuple[str, str]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        del stdin, timeout
        assert on_line is not None
        self.asked.append((host.name, " ".join(argv)))
        if self.legs[host.name]:
            return self.legs[host.name].pop(0)(on_line)
        self.closed.wait(20)
        raise ConnectError(f"{host.name}: closed")

    def fan_out(self, *arguments: Any, **more: Any) -> tuple[Outcome[CommandResult], ...]:
        raise NotImplementedError

    def wait_until_up(self, hosts: Sequence[Host], *, timeout: float) -> tuple[Outcome[None], ...]:
        raise NotImplementedError


def says(*lines: str, then: str | None = None) -> Leg:
    def leg(on_line: Callable[[str], None]) -> CommandResult:
        for text in lines:
            on_line(text)
        if then is not None:
            raise ConnectError(then)
        return CommandResult(124, "", "")

    return leg


@pytest.fixture
def following(world: Day2) -> Iterator[Callable[..., list[Entry | Note]]]:
    remotes: list[Talking] = []

    def follow(remote: Talking, count: int) -> list[Entry | Note]:
        import time

        remotes.append(remote)
        of = [Source(name, ()) for name in remote.legs]
        stream = workflow.follow(remote, of, world.running, since=None, lines=10, clock=time.monotonic, window=0.2)
        return list(islice(stream, count))

    yield follow
    for remote in remotes:
        remote.closed.set()


def test_followed_journals_come_in_time_order_and_a_leg_goes_on_where_the_one_before_ended(
    following: Callable[..., list[Entry | Note]],
) -> None:
    remote = Talking({"worker-1": [says(line(1), line(4)), says(line(5))], "worker-2": [says(line(2), "", line(3))]})
    found = following(remote, 5)
    assert [entry.at for entry in found if isinstance(entry, Entry)] == [1, 2, 3, 4, 5]
    asked = [command for host, command in remote.asked if host == "worker-1"]
    assert "--lines=10" in asked[0]
    assert "--lines=all --after-cursor=c4" in asked[1]


def test_a_host_that_dies_is_told_once_and_the_others_go_on(following: Callable[..., list[Entry | Note]]) -> None:
    remote = Talking({"worker-1": [says(line(1), then="worker-1: gone")], "worker-2": [says(line(2), line(3))]})
    found = following(remote, 4)
    assert [what.text for what in found if isinstance(what, Note)] == ["gone"]
    assert [what.at for what in found if isinstance(what, Entry)] == [1, 2, 3]


def test_a_host_that_does_not_run_is_told_at_once(following: Callable[..., list[Entry | Note]], world: Day2) -> None:
    world.source.terminate(["worker-1"])
    remote = Talking({"worker-1": [], "worker-2": [says(line(2))]})
    assert following(remote, 2) == [Note("worker-1", "does not run"), Entry(2, "worker-2", *_said())]
    assert {host for host, _ in remote.asked} == {"worker-2"}


def _said() -> tuple[str, str, int, int, str]:
    return ("fleet-worker@worker-1", "said", 6, 7, "c2")
