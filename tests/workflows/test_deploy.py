"""deploy, verify, retire, destroy and status over a world of fakes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from fleetctl.core.inventory import Context, inventory
from fleetctl.core.layout import fit, layout
from fleetctl.core.plan import CHANGING, Plan
from fleetctl.errors import ProviderError
from fleetctl.model import Event, Host
from fleetctl.ports import Fleet, HostSource
from fleetctl.spec.models import FleetSpec
from fleetctl.workflows import deploy as workflow
from fleetctl.workflows.deploy import DeployReport
from fleetctl.workflows.destroy import destroy
from fleetctl.workflows.status import status
from fleetctl.workflows.verify import verify
from tests.fakes import FakeProvider
from tests.unit.core.conftest import SHARED, STATIC, context, spec  # noqa: F401  # context is a fixture
from tests.workflows.world import FakeAnsible, FakeRemote

NAMES = ["nfs", "postgres", "redis", "worker-1", "worker-2"]


@dataclass
class World:
    """One fleet over fakes, with all that was told."""

    context: Context
    source: HostSource = field(default_factory=FakeProvider)
    remote: FakeRemote = field(default_factory=FakeRemote)
    events: list[Event] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ansible = FakeAnsible(self.remote)

    def fleet(self, asked: FleetSpec) -> Fleet:
        known = replace(self.context, networks=self.source.networks)
        return Fleet(
            asked,
            self.source,
            self.remote,
            self.ansible,
            lambda: known,
            lambda user: f"redis://{user}@r",
            lambda _: None,
        )

    def deploy(self, asked: FleetSpec | None = None, *, force: bool = False) -> DeployReport:
        ticks = count()
        return workflow.deploy(
            self.fleet(asked or spec()),
            force=force,
            confirm=self.plans.append,
            token="t0k3n",
            clock=lambda: float(next(ticks)),
            on_event=self.events.append,
        )


@pytest.fixture
def world(context: Context) -> World:  # noqa: F811
    return World(context)


def three(count: int) -> FleetSpec:
    return spec(pools={"worker": {"count": count, "concurrency": 4}})


def test_an_empty_cloud_is_baked_launched_joined_and_verified(world: World) -> None:
    report = world.deploy()
    assert report.is_ok
    assert [phase.name for phase in report.phases] == ["prepare", "observe", "bake", "launch", "converge", "verify"]
    bake, site = world.ansible.runs
    assert bake == ("bake.yml", ("bake-clients-nfs", "bake-postgres", "bake-redis", "bake-workers"), None)
    assert site == ("site.yml", tuple(NAMES), ("join",))
    assert [host.name for host in world.source.hosts()] == NAMES
    assert {check.name for check in report.checks} == {
        "identity", "storage", "postgres", "redis", "job on worker-1", "job on worker-2",
    }  # fmt: skip


def test_a_second_deploy_runs_no_playbook_and_verifies(world: World) -> None:
    world.deploy()
    world.ansible.runs.clear()
    report = world.deploy()
    assert report.is_ok
    assert report.plan.is_empty
    assert report.converged is None
    assert world.ansible.runs == []
    assert len(report.checks) == 16


def test_one_more_worker_is_the_only_host_that_is_touched(world: World) -> None:
    world.deploy()
    world.ansible.runs.clear()
    assert world.deploy(three(3)).is_ok
    assert world.ansible.runs == [("site.yml", ("worker-3",), ("join",))]


def test_one_more_worker_has_the_exports_renewed_and_the_plan_says_so(context: Context) -> None:  # noqa: F811
    world = World(replace(context, storage_kind="nfs"))
    world.deploy()
    world.ansible.runs.clear()
    report = world.deploy(three(3))
    assert report.is_ok
    assert report.plan.converge == ("worker-3", "nfs")
    assert [run[1] for run in world.ansible.runs] == [("nfs", "worker-3")]
    assert world.deploy(three(3)).plan.is_empty
    assert "nfs" in world.deploy(three(2)).plan.converge


def test_a_deploy_proves_what_it_touched_and_asks_the_others_who_they_are(world: World) -> None:
    world.deploy()
    world.remote.asked.clear()
    report = world.deploy(three(3))
    assert [host for host, request in world.remote.asked if request["command"] == "check"] == ["worker-3"]
    assert {check.host for check in report.checks if check.name == "identity"} == {*NAMES, "worker-3"}
    assert [check.host for check in report.checks if check.name == "storage"] == ["nfs", "worker-3"]


def test_a_deploy_that_touched_a_service_proves_everything(world: World) -> None:
    world.deploy()
    world.remote.stamps.pop("redis")
    world.remote.asked.clear()
    world.deploy()
    asked = [host for host, request in world.remote.asked if request["command"] == "check"]
    assert asked == ["nfs", "worker-1", "worker-2"]


def test_of_too_many_workers_the_idle_ones_go_first(world: World) -> None:
    world.deploy(three(4))
    world.remote.claims = {"a": "worker-4", "b": "worker-4", "c": "worker-1", "d": "worker-2", "e": "worker-2"}
    world.ansible.runs.clear()
    report = world.deploy(three(2))
    assert report.is_ok
    assert report.plan.retire == ("worker-3", "worker-1")
    assert report.plan.reasons["worker-1"] == "is not wanted any more, 1 jobs run there"
    assert world.ansible.runs == [("retire.yml", ("worker-3",), None), ("retire.yml", ("worker-1",), None)]
    assert [host.name for host in report.wanted if host.units] == ["worker-2", "worker-4"]


def test_who_is_busy_is_asked_on_a_host_without_units(world: World) -> None:
    world.deploy(three(3))
    world.remote.asked.clear()
    world.deploy(three(2))
    asked = [host for host, request in world.remote.asked if request["command"] == "claims"]
    assert set(asked) == {"nfs"}


def test_a_worker_that_died_is_replaced_and_its_jobs_are_given_back(world: World) -> None:
    world.deploy()
    provider = world.source
    assert isinstance(provider, FakeProvider)
    provider.terminate(["worker-2"])
    alive = provider.known["worker-1"].machine_id
    world.remote.claims = {"a": "worker-2 of-before", "b": f"worker-1 {alive}"}
    report = world.deploy()
    assert report.is_ok
    assert list(world.remote.claims) == ["b"]
    assert [host.name for host in provider.hosts()] == NAMES
    assert any("worker-2: 1 jobs are queued again" in event.message for event in world.events)


def test_a_new_worker_asks_for_no_rescue_beyond_one_question(world: World) -> None:
    world.deploy()
    world.remote.asked.clear()
    world.deploy(three(3))
    assert [request["command"] for _, request in world.remote.asked] == ["claims", "check"]


def test_a_rolling_restart_that_stops_leaves_the_rest_alone_and_says_so(world: World) -> None:
    world.deploy()
    world.context = replace(world.context, bundle_digest="n" * 32)
    world.ansible.halting = {"worker-1"}
    world.ansible.runs.clear()
    report = world.deploy()
    assert not report.is_ok
    assert report.failed["worker-1"] == "Roll | Prove: no job ran"
    assert report.failed["worker-2"] == "may still run as before: the rolling restart stopped"
    assert len(world.ansible.runs) == 1
    assert report.summary == "2 units, 8 slots, app nnnnnnnn; 3 converged; failed: worker-1, nfs, worker-2"


def test_a_host_that_is_gone_and_not_wanted_any_more_is_rescued_too(world: World) -> None:
    world.deploy(three(3))
    provider = world.source
    assert isinstance(provider, FakeProvider)
    provider.terminate(["worker-2"])
    world.remote.claims = {"a": "worker-2 of-before"}
    report = world.deploy(three(2))
    assert report.plan.launch == ()
    assert world.remote.claims == {}


def test_what_a_drained_host_still_held_is_given_back_when_it_is_gone(world: World) -> None:
    world.deploy(three(3))
    provider = world.source
    assert isinstance(provider, FakeProvider)
    machines = {host.name: host.machine_id for host in provider.hosts()}
    busy = ("worker-1", "worker-2", "worker-2", "worker-3", "worker-3")
    world.remote.claims = {str(job): f"{name} {machines[name]}" for job, name in enumerate(busy)}
    report = world.deploy(three(2))
    assert report.plan.retire == ("worker-1",)
    assert sorted(world.remote.claims) == ["1", "2", "3", "4"]


def test_a_half_changed_host_is_mended_though_the_change_was_taken_back(world: World) -> None:
    world.deploy()
    world.remote.stamps["worker-1"] = CHANGING
    report = world.deploy()
    assert report.plan.converge == ("worker-1",)
    assert report.plan.reasons["worker-1"] == "its last change did not come to its end"


def test_fewer_workers_are_drained_then_terminated(world: World) -> None:
    world.deploy(three(3))
    world.ansible.runs.clear()
    report = world.deploy(three(1))
    assert report.is_ok
    assert world.ansible.runs == [("retire.yml", ("worker-2", "worker-3"), None)]
    assert [host.name for host in world.source.hosts()] == NAMES[:4]


def test_a_host_that_cannot_be_drained_is_not_terminated(world: World) -> None:
    world.deploy(three(3))
    world.ansible.failing = {"worker-3"}
    report = world.deploy(three(2))
    assert report.failed == {"worker-3": "Join | Something: broke"}
    assert "worker-3" in {host.name for host in world.source.hosts()}


def test_a_host_that_fails_holds_up_no_other_and_the_next_deploy_mends_it_alone(world: World) -> None:
    world.ansible.failing = {"worker-2"}
    report = world.deploy()
    assert not report.is_ok
    assert report.failed == {"worker-2": "Join | Something: broke"}
    assert all(check.is_ok for check in report.checks)
    world.ansible.failing = set()
    world.ansible.runs.clear()
    assert world.deploy().is_ok
    assert world.ansible.runs == [("site.yml", ("worker-2",), None)]  # it may be half installed


def test_a_run_that_ends_early_goes_on_without_those_that_failed(world: World) -> None:
    world.ansible.failing = {"redis"}
    world.ansible.ends_early = True
    report = world.deploy()
    assert [run[1] for run in world.ansible.runs[1:]] == [tuple(NAMES), ("nfs", "postgres", "worker-1", "worker-2")]
    assert report.failed == {"redis": "Join | Something: broke"}
    assert all(check.is_ok for check in report.checks)


def test_a_machine_that_does_not_boot_holds_up_no_other(world: World) -> None:
    provider = world.source
    assert isinstance(provider, FakeProvider)
    provider.broken = {"worker-2"}
    report = world.deploy()
    assert list(report.failed) == ["worker-2"]
    assert world.ansible.runs[-1][1] == tuple(NAMES[:4])
    assert all(check.is_ok for check in report.checks)


def test_a_wanted_host_that_does_not_run_fails_the_verification(world: World) -> None:
    world.deploy()
    wanted = layout(spec())
    hosts = tuple(host for host in world.source.hosts() if host.name != "worker-2")
    built = inventory(spec(), wanted, hosts, replace(world.context, networks=world.source.networks))
    checks = verify(wanted, hosts, built, world.remote, token="t", on_event=world.events.append)
    assert [(check.name, check.host) for check in checks if not check.is_ok] == [("running", "worker-2")]


def test_a_machine_that_does_not_answer_is_reported_and_left_out(world: World) -> None:
    world.remote.dead = {"worker-1"}
    report = world.deploy()
    assert report.failed == {"worker-1": "no answer"}
    assert world.ansible.runs[-1][1] == ("nfs", "postgres", "redis", "worker-2")


def test_a_failed_bake_ends_the_deploy_and_leaves_no_machine(world: World) -> None:
    world.ansible.failing = {"bake-redis"}
    with pytest.raises(ProviderError, match="the install phase failed"):
        world.deploy()
    assert world.source.hosts() == ()


def test_hosts_from_another_image_get_the_install_phase_too(world: World) -> None:
    world.deploy()
    world.context = replace(world.context, bundle_digest="n" * 32)
    world.ansible.runs.clear()
    assert world.deploy().is_ok
    assert world.ansible.runs == [("site.yml", ("nfs", "worker-1", "worker-2"), None)]


def test_a_service_that_comes_back_at_another_address_restamps_those_that_use_it(world: World) -> None:
    world.deploy()
    provider = world.source
    assert isinstance(provider, FakeProvider)
    provider.known["stranger"] = replace(provider.known.pop("redis"), name="stranger", id="fake-99")
    world.remote.stamps.pop("redis")
    world.ansible.runs.clear()
    world.deploy()
    assert set(world.ansible.runs[-1][1]) == {"nfs", "redis", "worker-1", "worker-2"}


def test_force_runs_every_role_on_every_host(world: World) -> None:
    world.deploy()
    world.ansible.runs.clear()
    world.deploy(force=True)
    assert world.ansible.runs == [("site.yml", tuple(NAMES), None)]


def test_the_plan_is_shown_before_anything_is_touched_and_a_refusal_stops(world: World) -> None:
    class RefusedError(Exception):
        pass

    def refuse(_: Plan) -> None:
        raise RefusedError

    with pytest.raises(RefusedError):
        workflow.deploy(world.fleet(spec()), confirm=refuse, token="t", clock=lambda: 0.0, on_event=world.events.append)
    assert world.source.hosts() == ()
    assert world.ansible.runs == []


@pytest.mark.parametrize(
    ("trouble", "host", "check", "detail"),
    [
        pytest.param(
            {"machine_ids": {"redis": "0" * 32}}, "redis", "identity", "the inventory means", id="another machine"
        ),
        pytest.param({"stalled": {"worker-2"}}, "worker-2", "storage", "the storage stalls", id="storage hangs"),
        pytest.param({"refused": {"worker-1": "redis"}}, "worker-1", "redis", "as told", id="redis refuses"),
        pytest.param(
            {"refused": {"worker-2": "job on worker-2"}}, "worker-2", "job on worker-2", "as told", id="no job ran"
        ),
        pytest.param({"dead": {"nfs"}}, "nfs", "identity", "no answer", id="a host dies before verify"),
    ],
)
def test_a_failed_check_fails_the_deploy_and_names_the_host(
    world: World, trouble: dict[str, object], host: str, check: str, detail: str
) -> None:
    world.deploy()
    for name, value in trouble.items():
        setattr(world.remote, name, value)
    stamps = dict(world.remote.stamps)
    report = world.deploy()
    failed = [one for one in report.checks if not one.is_ok]
    assert not report.is_ok
    assert (host, check) in {(one.host, one.name) for one in failed}
    assert any(detail in one.detail for one in failed)
    assert stamps == world.remote.stamps


def test_two_names_for_one_machine_are_found_out(world: World) -> None:
    world.deploy()
    provider = world.source
    assert isinstance(provider, FakeProvider)
    provider.known = {name: replace(host, machine_id=None) for name, host in provider.known.items()}
    world.deploy()
    world.remote.machine_ids = {name: name for name in NAMES} | {"worker-1": "same", "worker-2": "same"}
    failed = [one for one in world.deploy().checks if not one.is_ok]
    assert [(one.host, one.name) for one in failed] == [("worker-2", "identity")]
    assert "is the same machine as worker-1" in failed[0].detail


@dataclass
class FakeStatic:
    """Hosts that exist and stay."""

    machines: tuple[Host, ...]
    kind: str = "static"
    networks: tuple[str, ...] = ("10.0.0.0/24",)

    def hosts(self) -> tuple[Host, ...]:
        return self.machines


@pytest.fixture
def static(context: Context) -> World:  # noqa: F811
    machines = tuple(Host(name, name, f"10.0.0.{n}") for n, name in enumerate(("alpha", "beta", "gamma"), 1))
    world = World(replace(context, storage_kind="nfs"), FakeStatic(machines))
    world.remote.machine_ids = {name: name for name in ("alpha", "beta", "gamma")}
    return world


def test_static_hosts_are_never_launched_and_get_both_phases(static: World) -> None:
    report = static.deploy(spec(provider=STATIC, services=SHARED))
    assert report.is_ok
    assert static.ansible.runs == [("site.yml", ("alpha", "beta", "gamma"), None)]


def test_static_hosts_that_leave_are_drained_before_the_exports_refuse_them(static: World) -> None:
    asked = spec(provider=STATIC, services=SHARED)
    static.deploy(asked)
    static.ansible.runs.clear()
    fewer = asked.model_copy(update={"pools": {"worker": asked.pools["worker"].model_copy(update={"count": 1})}})
    static.deploy(fewer)
    assert static.ansible.runs == [("retire.yml", ("gamma",), None), ("site.yml", ("alpha",), None)]
    del static.remote.stamps["gamma"]
    static.ansible.runs.clear()
    static.deploy(fewer)
    assert static.ansible.runs == []


def test_destroy_removes_elastic_hosts_and_retires_static_ones(world: World, static: World) -> None:
    world.deploy()
    assert destroy(world.fleet(spec()), world.events.append) == {}
    assert world.source.hosts() == ()
    asked = spec(provider=STATIC, services=SHARED)
    static.deploy(asked)
    static.ansible.runs.clear()
    assert destroy(static.fleet(asked), static.events.append) == {}
    assert static.ansible.runs == [("retire.yml", ("alpha", "beta", "gamma"), None)]


def test_status_shows_what_is_there_and_where_it_differs_from_the_spec(world: World) -> None:
    asked = spec()
    assert status(asked, asked, layout(asked), world.source, world.remote).notes == (
        "nothing is deployed: fleetctl deploy",
    )
    world.deploy(three(1))
    value = status(asked, *fit(asked, world.source.hosts()), world.source, world.remote)
    assert [host.name for host in value.hosts] == NAMES[:4]
    assert value.notes == ("pool worker: fleet.yml asks for 2 units, 1 are there: fleetctl deploy",)
    world.remote.dead = {"worker-1"}
    value = status(asked, *fit(asked, world.source.hosts()), world.source, world.remote)
    assert value.hosts[-1].error == "worker-1: no answer"
    assert value.hosts[-1].units == {"worker-1": "unknown"}


def test_static_hosts_that_left_the_spec_and_do_not_answer_are_told(static: World) -> None:
    asked = spec(provider=STATIC, services=SHARED)
    static.deploy(asked)
    fewer = asked.model_copy(update={"pools": {"worker": asked.pools["worker"].model_copy(update={"count": 1})}})
    static.remote.dead = {"gamma"}
    report = static.deploy(fewer)
    assert report.failed == {"gamma": "may still work for the fleet: gamma: no answer"}
    assert destroy(static.fleet(fewer), static.events.append) == {"gamma": "gamma: no answer"}
