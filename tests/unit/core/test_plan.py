"""desired - observed -> Plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.core.layout import layout
from fleetctl.core.plan import EXPORTING, Observed, Plan, make
from fleetctl.model import Host, HostState
from tests.unit.core.conftest import spec

WANTED = layout(spec())
NAMES = [host.name for host in WANTED]
STAMPS = {name: f"stamp of {name}" for name in NAMES}
HOSTS = tuple(Host(name, f"id-{name}", "10.0.0.1") for name in NAMES)
IMAGES = {host.groups: f"image of {host.groups}" for host in WANTED}
WHOLE = Observed(HOSTS, STAMPS, frozenset(IMAGES.values()))


def plan(observed: Observed, *, is_elastic: bool = True, force: bool = False) -> Plan:
    images = IMAGES if is_elastic else {}
    return make(WANTED, observed, stamps=STAMPS, images=images, is_elastic=is_elastic, storage=True, force=force)


def without(*names: str) -> Observed:
    return replace(WHOLE, hosts=tuple(host for host in HOSTS if host.name not in names))


def test_a_fleet_that_is_as_it_should_be_needs_nothing() -> None:
    assert plan(WHOLE).is_empty
    assert plan(WHOLE).keep == tuple(NAMES)


def test_an_empty_cloud_gets_every_host_and_each_image_once() -> None:
    value = plan(Observed((), {}))
    assert [request.name for request in value.launch] == NAMES
    assert set(value.converge) == set(NAMES)
    assert sorted(request.roles for request in value.bake) == [
        ("clients", "nfs"),
        ("postgres",),
        ("redis",),
        ("workers",),
    ]
    assert all(request.image == IMAGES[request.roles] for request in (*value.bake, *value.launch))


def test_images_that_are_there_are_not_baked_again() -> None:
    assert plan(replace(without("worker-2"))).bake == ()


def test_a_missing_host_is_launched_and_the_others_are_kept() -> None:
    value = plan(without("worker-2"))
    assert [request.name for request in value.launch] == ["worker-2"]
    assert value.converge == ("worker-2",)
    assert value.keep == ("nfs", "postgres", "redis", "worker-1")
    assert value.reasons["worker-2"] == "does not exist"


@pytest.mark.parametrize(
    ("missing", "exports", "is_named"),
    [
        pytest.param("worker-2", True, True, id="a worker comes"),
        pytest.param("worker-2", False, False, id="nothing is exported"),
        pytest.param("redis", True, False, id="who comes mounts nothing"),
    ],
)
def test_a_server_that_will_export_to_a_new_host_is_planned(missing: str, exports: bool, is_named: bool) -> None:
    value = make(
        WANTED, without(missing), stamps=STAMPS, images=IMAGES, is_elastic=True, storage=False, exports=exports
    )
    assert value.converge == (missing, *(["nfs"] if is_named else []))
    assert ("nfs" in value.keep) is not is_named
    assert value.reasons.get("nfs") == (EXPORTING if is_named else None)


def test_a_stopped_worker_comes_back_to_the_address_that_it_has() -> None:
    hosts = tuple(replace(host, state=HostState.STOPPED) if host.name == "worker-2" else host for host in HOSTS)
    observed = replace(WHOLE, hosts=hosts)
    value = make(WANTED, observed, stamps=STAMPS, images=IMAGES, is_elastic=True, storage=False, exports=True)
    assert value.converge == ("worker-2",)


def test_a_stopped_host_is_started() -> None:
    stopped = tuple(replace(host, state=HostState.STOPPED) if host.name == "redis" else host for host in HOSTS)
    assert [request.name for request in plan(replace(WHOLE, hosts=stopped)).launch] == ["redis"]


@pytest.mark.parametrize("is_elastic", [True, False])
def test_a_stamp_that_differs_or_is_missing_converges_that_host_alone(is_elastic: bool) -> None:
    stamps = STAMPS | {"redis": "older"}
    del stamps["worker-1"]
    value = plan(replace(WHOLE, stamps=stamps), is_elastic=is_elastic)
    assert value.converge == ("redis", "worker-1")
    assert value.launch == ()


def test_force_converges_all_and_launches_none() -> None:
    value = plan(WHOLE, force=True)
    assert (value.converge, value.keep, value.launch) == (tuple(NAMES), (), ())


@pytest.mark.parametrize(
    ("is_elastic", "stamps", "retired"),
    [
        pytest.param(True, {}, ("worker-3",), id="elastic: whatever it carries"),
        pytest.param(False, {"worker-3": "ours"}, ("worker-3",), id="static: it is ours by its stamp"),
        pytest.param(False, {}, (), id="static: somebody else's machine is left alone"),
    ],
)
def test_hosts_outside_the_spec_are_retired(is_elastic: bool, stamps: dict[str, str], retired: tuple[str, ...]) -> None:
    extra = replace(WHOLE, hosts=(*HOSTS, Host("worker-3", "id", "10.0.0.3")), stamps=STAMPS | stamps)
    assert plan(extra, is_elastic=is_elastic).retire == retired


def test_hosts_are_retired_idle_ones_first_and_the_plan_says_who_is_busy() -> None:
    extra = tuple(Host(f"worker-{number}", "id", "10.0.0.3") for number in (3, 4, 5))
    observed = replace(WHOLE, hosts=(*HOSTS, *extra))
    jobs = {"worker-3": 7, "worker-5": 1, "worker-1": 4}
    value = make(WANTED, observed, stamps=STAMPS, images=IMAGES, is_elastic=True, storage=True, running_jobs=jobs)
    assert value.retire == ("worker-4", "worker-5", "worker-3")
    assert value.busy == {"worker-5": 1, "worker-3": 7}
    assert value.reasons["worker-3"] == "is not wanted any more, 7 jobs run there"
