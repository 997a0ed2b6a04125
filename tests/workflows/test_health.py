"""health over hosts that answer, are dead, speak garbage or hang, and helpers that can or cannot look."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fleetctl.core.health_values import FleetHealth
from fleetctl.core.inventory import Context
from fleetctl.core.layout import layout
from fleetctl.errors import UsageError
from fleetctl.ports import Fleet
from fleetctl.workflows import health as workflow
from fleetctl.workflows.health import Doctor, ground
from tests.unit.core.conftest import context, spec  # noqa: F401  # context is a fixture
from tests.unit.core.health_facts import facts_of, survey_answer
from tests.unit.core.surveys import NOW
from tests.workflows.sessions import SessionRemote
from tests.workflows.test_deploy import NAMES, World


@dataclass
class Ward:
    """A deployed fleet that is well."""

    fleet: Fleet
    remote: SessionRemote

    def doctor(self, **more: Any) -> Doctor:
        return Doctor(self.fleet, layout(spec()), text="the probe", clock=lambda: NOW, **more)

    def once(self, **more: Any) -> FleetHealth:
        return self.doctor(**more).once()


@pytest.fixture
def ward(context: Context) -> Ward:  # noqa: F811
    world = World(context)
    world.deploy()
    remote = SessionRemote()
    fleet = replace(world.fleet(spec()), remote=remote)
    hosts = {host.name: host for host in world.source.hosts()}
    meant = ground(fleet, layout(spec()), tuple(hosts.values()))
    for of in layout(spec()):
        remote.said[of.name] = facts_of(of, meant)
        remote.said[of.name]["host"]["machine_id"] = hosts[of.name].machine_id
    remote.seen = survey_answer(spec())
    for unit in remote.seen["units"]:
        unit["machine"] = hosts[unit["host"]].machine_id
    return Ward(fleet, remote)


def bad(health: FleetHealth) -> list[tuple[str, str | None]]:
    return [(finding.name, finding.host) for finding in health.all_findings if finding.level != "green"]


def test_each_host_is_asked_once_for_what_it_is_for_and_a_healthy_fleet_is_green(ward: Ward) -> None:
    health = ward.once()
    assert bad(health) == []
    assert sorted(ward.remote.opened) == NAMES
    asked = dict(ward.remote.requests)
    assert len(ward.remote.requests) == len(NAMES)
    assert asked["worker-1"] == {
        "units": ["worker-1"], "storage": "/shared/fleet", "exports": False, "redis": True, "postgres": True,
        "seconds": workflow.PART_SECONDS,
    }  # fmt: skip
    assert (asked["redis"]["storage"], asked["redis"]["redis"], asked["nfs"]["exports"]) == (None, False, True)
    assert set(ward.remote.texts) == {"9\nthe probe"}


def test_the_broker_is_looked_at_by_one_host_that_answered_and_canaries_go_to_idle_units(ward: Ward) -> None:
    ward.remote.seen["units"][0]["busy"] = 4
    health = ward.once()
    assert {host for host, _ in ward.remote.asked} == {health.helper}
    canaries = [request["units"] for _, request in ward.remote.asked if request["command"] == "canary"]
    assert canaries == [["worker-2@worker-2"]]
    commands = [request["command"] for _, request in ward.remote.asked]
    assert sorted(commands) == ["canary", "services", "strays", "survey"]


def test_a_unit_that_consumes_no_canary_is_deaf_after_a_second_look(ward: Ward) -> None:
    ward.remote.deaf = {"worker-1@worker-1"}
    assert bad(ward.once()) == [("unit.deaf", "worker-1")]
    assert [request["command"] for _, request in ward.remote.asked].count("survey") == 2


def test_a_dead_host_costs_its_own_row_and_a_helper_that_is_dead_is_not_waited_for(ward: Ward) -> None:
    ward.remote.dead = {"nfs", "worker-1"}
    health = ward.once()
    assert bad(health) == [("host.ssh", "nfs"), ("host.ssh", "worker-1")]
    assert health.helper == "worker-2"


def test_garbage_is_told_with_how_it_begins(ward: Ward) -> None:
    ward.remote.garbage = {"redis": "Welcome to this machine"}
    health = ward.once()
    assert bad(health) == [("host.ssh", "redis")]
    assert "Welcome to this" in next(host for host in health.hosts if host.name == "redis").problems[0].detail


def test_a_host_that_hangs_is_not_waited_for_longer_than_the_round(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "ROUND_SECONDS", 0.5)
    ward.remote.hanging = {"redis"}
    try:
        health = ward.once()
    finally:
        ward.remote.released.set()
    assert bad(health) == [("host.ssh", "redis")]


def test_where_no_agent_can_look_at_the_broker_hosts_are_judged_all_the_same(ward: Ward) -> None:
    ward.remote.old = set(NAMES)
    health = ward.once()
    assert bad(health) == [("fleet.survey", None)]
    assert "another release" in health.findings[0].detail


def test_where_every_helper_is_dead_the_look_ends_at_once(ward: Ward) -> None:
    ward.remote.dead = {"nfs", "worker-1", "worker-2"}
    health = ward.once()
    assert ("fleet.survey", None) in bad(health)
    assert ward.remote.asked == []


def test_a_password_that_is_not_here_is_told_and_no_crash(ward: Ward) -> None:
    def no_url(user: str) -> str:
        raise UsageError(f"there is no password of {user}")

    ward.fleet = replace(ward.fleet, redis_url=no_url)
    health = ward.once()
    assert bad(health) == [("fleet.survey", None)]
    assert "no password of monitor" in health.findings[0].detail


def test_an_inventory_that_cannot_be_made_costs_the_knowledge_of_drift_alone(ward: Ward) -> None:
    def no_context() -> Context:
        raise UsageError("the app is not there")

    ward.fleet = replace(ward.fleet, context=no_context)
    assert bad(ward.once()) == [("fleet.drift", None)]


def test_a_host_that_drifted_is_told(ward: Ward) -> None:
    ward.remote.said["redis"]["host"]["stamp"] = "0" * 32
    assert bad(ward.once()) == [("host.setup", "redis")]


def test_one_host_is_asked_alone_and_the_fleet_s_own_checks_are_left_out(ward: Ward) -> None:
    health = ward.once(hosts=["redis"])
    assert ward.remote.opened == ["redis"]
    assert ward.remote.asked == []  # it has no units
    assert ([host.name for host in health.hosts], health.findings) == (["redis"], ())


def test_checks_of_hosts_alone_need_no_look_at_the_broker(ward: Ward) -> None:
    health = ward.once(checks=["storage", "host.disk"])
    assert ward.remote.asked == []
    assert {finding.name.partition(".")[0] for finding in health.all_findings} == {"storage", "host"}


def test_a_watch_keeps_its_sessions_and_shows_what_has_changed(ward: Ward) -> None:
    seen = ward.doctor().watch(interval=0.0, sleep=lambda _: None)
    assert bad(next(seen)) == []
    ward.remote.said["redis"]["disk"]["available"] = 0
    assert bad(next(seen)) == [("host.disk", "redis")]
    ward.remote.said["redis"]["disk"]["available"] = 30 * 2**30
    assert bad(next(seen)) == []
    assert sorted(ward.remote.opened) == NAMES
    assert ward.remote.closed == []
    seen.close()
    for thread in threading.enumerate():
        if thread.name.startswith("visit to"):
            thread.join(5)
    assert sorted(ward.remote.closed) == NAMES


def test_a_watch_loses_a_host_without_waiting_for_it_and_finds_it_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleetctl.workflows import visits

    monkeypatch.setattr(visits, "AGAIN_SECONDS", 0.0)
    seen = ward.doctor().watch(interval=0.0, sleep=lambda _: None)
    next(seen)
    ward.remote.dead = {"redis"}
    assert bad(next(seen)) == [("host.ssh", "redis")]
    ward.remote.dead = set()
    for _ in range(1000):  # it is tried beside the others
        if not bad(next(seen)):
            break
    else:
        pytest.fail("it was not found again")
    assert ward.remote.opened.count("worker-1") == 1
    assert ward.remote.opened.count("redis") >= 2
    seen.close()
