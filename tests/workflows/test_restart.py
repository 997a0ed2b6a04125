"""restart --rolling over a world of fakes: batches, proofs, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fleetctl.core.inventory import Context
from fleetctl.core.targets import resolve
from fleetctl.errors import UsageError
from fleetctl.model import CommandResult
from fleetctl.workflows import restart as workflow
from tests.unit.core.conftest import context, spec  # noqa: F401  # context is a fixture
from tests.workflows.day2 import Day2


@pytest.fixture
def world(context: Context) -> Day2:  # noqa: F811
    return Day2(context, spec(pools={"worker": {"count": 10, "concurrency": 4, "per_host": 2}}))


def restarted(world: Day2, *names: str, batch: str = "2") -> workflow.Restarted:
    units = workflow.meant(resolve(names, world.wanted), world.wanted)
    return workflow.restart(world.fleet, world.wanted, units, world.running, batch=batch, on_event=lambda _: None)


def restarts(world: Day2) -> list[tuple[str, str]]:
    """Return host and units of each restart, in order."""
    return [(host, stdin.strip()) for host, command, stdin in world.remote.ran if "systemctl restart" in command]


def test_all_units_of_a_host_restart_side_by_side_and_prove_themselves(world: Day2) -> None:
    value = restarted(world)
    assert value.is_ok
    assert value.proven == tuple(f"worker-{n}" for n in range(1, 6))
    assert restarts(world)[0] == ("worker-1", "fleet-worker@worker-1.service fleet-worker@worker-2.service")
    assert [request["units"] for request in world.remote.asked][:2] == [
        ["worker-1", "worker-2"],
        ["worker-3", "worker-4"],
    ]
    assert not any(request.get("wrong_password") for request in world.remote.asked)


def test_the_first_bad_batch_is_the_last_and_hosts_after_it_are_untouched_and_named(world: Day2) -> None:
    world.remote.answers["bad"] = {"worker-4": {}}
    value = restarted(world)
    assert value.failed == {"worker-4": "worker-7 runs a job: as told"}
    assert value.proven == ("worker-1", "worker-2", "worker-3")
    assert value.untouched == ("worker-5",)
    assert "worker-5" not in [host for host, _ in restarts(world)]


def test_a_host_that_does_not_answer_or_run_makes_its_batch_bad(world: Day2) -> None:
    world.remote.dead = {"worker-1"}
    assert restarted(world).failed == {"worker-1": "worker-1: no answer"}
    world.source.terminate(["worker-2"])
    value = restarted(world, "host:worker-2")
    assert (value.failed, value.proven) == ({"worker-2": "does not run"}, ())


def test_a_unit_that_does_not_restart_is_not_asked_for_a_proof(world: Day2) -> None:
    def refuse(host: str, argv: Sequence[str], stdin: str) -> CommandResult:
        del host, argv, stdin
        return CommandResult(1, "", "Job for fleet-worker@worker-1.service failed")

    world.remote.command = refuse
    value = restarted(world, batch="1")
    assert value.failed == {"worker-1": "Job for fleet-worker@worker-1.service failed"}
    assert world.remote.asked == []


def test_single_units_restart_alone(world: Day2) -> None:
    restarted(world, "unit:worker-3", "worker-9")
    assert restarts(world) == [
        ("worker-2", "fleet-worker@worker-3.service"), ("worker-5", "fleet-worker@worker-9.service")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "wanted"),
    [("1", [1, 1, 1, 1, 1]), ("2", [2, 2, 1]), ("9", [5]), ("25%", [1, 1, 1, 1, 1]), ("40%", [2, 2, 1]), ("100%", [5])],
)
def test_a_batch_is_a_number_or_a_share_of_the_hosts(size: str, wanted: list[int], world: Day2) -> None:
    hosts = [host for host in world.wanted if host.units]
    assert [len(batch) for batch in workflow.batches(hosts, size)] == wanted


@pytest.mark.parametrize("size", ["0", "0%", "101%", "-1", "half", "", "%", "1.5"])
def test_other_sizes_are_refused(size: str, world: Day2) -> None:
    with pytest.raises(UsageError, match="neither a number of hosts nor a share"):
        workflow.batches([host for host in world.wanted if host.units], size)
