"""rescue and quarantine over a world of fakes: jobs of the dead come back, jobs of the living never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.core.inventory import Context
from fleetctl.core.layout import layout
from fleetctl.errors import ConnectError, UsageError
from fleetctl.model import Host
from fleetctl.workflows.claims import Rescue, rescue
from tests.fakes import FakeProvider
from tests.unit.core.conftest import SHARED, STATIC, context, spec  # noqa: F401  # context is a fixture
from tests.workflows.test_deploy import FakeStatic, World


@pytest.fixture
def world(context: Context) -> World:  # noqa: F811
    world = World(context)
    world.deploy()
    machines = {host.name: host.machine_id for host in world.source.hosts()}
    world.remote.claims = {job: f"{name} {machines[name]}" for job, name in (("a", "worker-2"), ("b", "worker-1"))}
    return world


def run(world: World, name: str, *, confirmed_dead: bool = False) -> Rescue:
    return rescue(world.fleet(spec()), layout(spec()), name, confirmed_dead=confirmed_dead)


def provider(world: World) -> FakeProvider:
    assert isinstance(world.source, FakeProvider)
    return world.source


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_a_host_that_the_provider_says_is_gone_or_stopped_is_rescued(world: World, how: str) -> None:
    provider(world).stop("worker-2") if how == "stop" else provider(world).terminate(["worker-2"])
    assert run(world, "worker-2") == Rescue("worker-2", restored=("a",))
    assert list(world.remote.claims) == ["b"]


def test_a_host_that_runs_may_be_alive_and_is_refused(world: World) -> None:
    world.remote.dead = {"worker-2"}
    with pytest.raises(UsageError, match="may be alive: provider fake says that it runs") as caught:
        run(world, "worker-2")
    assert "--confirmed-dead" in str(caught.value.hint)
    assert len(world.remote.claims) == 2


def test_the_operator_may_insist_on_a_host_that_does_not_answer(world: World) -> None:
    world.remote.dead = {"worker-2"}
    assert run(world, "worker-2", confirmed_dead=True).restored == ("a",)


def test_a_host_that_answers_is_alive_whatever_is_said(world: World) -> None:
    with pytest.raises(UsageError, match="worker-2 is alive: it answers"):
        run(world, "worker-2", confirmed_dead=True)
    assert len(world.remote.claims) == 2


def test_of_a_replaced_machine_the_jobs_of_the_earlier_one_are_given_back(world: World) -> None:
    machine = provider(world).known["worker-2"].machine_id
    world.remote.claims = {"a": "worker-2 of-before", "b": f"worker-2 {machine}"}
    assert run(world, "worker-2").restored == ("a",)
    assert list(world.remote.claims) == ["b"]


def test_a_static_provider_cannot_know(context: Context) -> None:  # noqa: F811
    hosts = tuple(Host(name, name, f"10.0.0.{n}") for n, name in enumerate(("alpha", "beta", "gamma"), 1))
    world = World(replace(context, storage_kind="nfs"), FakeStatic(hosts))
    asked = spec(provider=STATIC, services=SHARED)
    world.remote.machine_ids = {host.name: host.name for host in hosts}
    world.deploy(asked)
    world.remote.claims = {"a": "gamma"}
    with pytest.raises(UsageError, match="provider static cannot know"):
        rescue(world.fleet(asked), layout(asked), "gamma", confirmed_dead=False)
    world.remote.dead = {"gamma"}
    assert rescue(world.fleet(asked), layout(asked), "gamma", confirmed_dead=True).restored == ("a",)


def test_without_a_host_that_answers_nothing_can_be_given_back(world: World) -> None:
    provider(world).stop("worker-2")
    world.remote.dead = {"nfs", "worker-1"}
    with pytest.raises(ConnectError, match="no host that carries the app answers"):
        run(world, "worker-2")
