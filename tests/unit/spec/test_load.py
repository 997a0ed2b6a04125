"""A fleet.yml as a whole: what it becomes, --workers, and that no mistake hides another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.errors import FleetError, Problem, SpecError, UsageError
from fleetctl.spec.load import load, parse
from tests.unit.spec.examples import LOCAL, STATIC, changed, complaints

ROOT = Path(__file__).parents[3]
TWO_POOLS = LOCAL + "  heavy: {count: 1, concurrency: 1}\n"


def test_the_fleet_of_this_repository_has_600_slots() -> None:
    spec = load(ROOT / "fleet.yml")
    assert (spec.name, spec.slots, spec.pools["worker"].hosts) == ("fleet", 600, 10)


def test_values_arrive_in_the_units_of_their_names() -> None:
    pool = parse(LOCAL, file="fleet.yml").pools["worker"]
    assert (pool.memory, pool.slot_memory) == (2048, 24)
    assert (pool.time_limit, pool.stop_seconds, pool.soft_time_limit) == (900, 960, None)


def test_the_visibility_timeout_is_twice_the_longest_limit() -> None:
    text = LOCAL + "  heavy: {count: 1, concurrency: 1, time_limit: 2h}\n"
    assert parse(text, file="fleet.yml").visibility_timeout_seconds == 4 * 3600


def test_eight_mistakes_are_eight_problems_in_the_order_of_the_file() -> None:
    text = """\
name: Demo
provider: {kind: local, subnet: 8.8.8.0/24}
storage: {path: /etc/fleet}
services:
  postgres: {host: db, url: "postgresql://u@h/d", password: env:X}
pools:
  worker: {count: 0, concurrency: 4, queues: []}
  heavy: {count: 1, concurrency: 60, memory: 512MiB, tme_limit: 1h}
"""
    assert [line.split(" -> ")[0] for line in complaints(text)] == [
        "1: name: not a usable name",
        "2: provider.subnet: not a private network",
        "3: storage.path: belongs to the operating system",
        "5: services.postgres: both host and url",
        "7: pools.worker.count: less than 1",
        "7: pools.worker.queues: empty",
        "8: pools.heavy.memory: 60 slots of 24MiB and 128 MiB for the unit's main process need 1568 MiB, "
        "more than 512 MiB",
        "8: pools.heavy.tme_limit: unknown key",
    ]


def test_nothing_is_concluded_from_what_is_broken() -> None:
    text = changed(LOCAL, "time_limit: 15m", "time_limit: 2 hours\n    stop_timeout: 5m")
    assert [line.split(": ")[1] for line in complaints(text)] == ["pools.worker.time_limit"]


def test_a_broken_host_does_not_hide_that_there_are_too_few() -> None:
    text = changed(changed(STATIC, "address: 10.0.0.1}", "address: 10.0.0.1, port: ssh}"), "count: 2", "count: 3")
    assert [line.split(": ")[1] for line in complaints(text)] == ["provider.hosts[0].port", "pools.worker.count"]


def test_an_unknown_provider_does_not_hide_the_rest() -> None:
    text = changed(changed(LOCAL, "kind: local", "kind: gcp"), "2GiB", "1GiB")
    assert [line.split(": ")[1] for line in complaints(text)] == ["provider.kind", "pools.worker.memory"]


def test_an_unknown_provider_is_not_judged_as_the_local_one() -> None:
    text = changed(changed(LOCAL, "kind: local", "kind: gcp"), "count: 2", "count: 10000")
    assert [line.split(": ")[1] for line in complaints(text)] == ["provider.kind"]


# One mistake in each, in places that have nothing to do with each other; the key that is named.
MISTAKES = {
    "name": ("name: demo", "name: Demo"),
    "provider.zone": ("kind: local", "kind: local, zone: a"),
    "storage.path": ("/shared/fleet", "/usr"),
    "services.nfs": ("nfs: {host: nfs}", "nfs: {}"),
    "services.postgres.reserve": ("{host: postgres}", "{host: postgres, reserve: 1}"),
    "services.redis.host": ("{host: redis}", "{host: worker-2}"),
    "pools.worker.count": ("count: 2", "count: 1000"),
    "pools.worker.queues[0]": ("[celery]", "['a b']"),
    "pools.worker.memory": ("2GiB", "200MiB"),
    "pools.worker.stop_timeout": ("time_limit: 15m", "time_limit: 15m\n    stop_timeout: 1s"),
}


@given(st.sets(st.sampled_from(sorted(MISTAKES)), min_size=1))
def test_any_mistakes_together_are_reported_each_once(keys: set[str]) -> None:
    text = LOCAL
    for key in keys:
        text = changed(text, *MISTAKES[key])
    found = complaints(text)
    assert sorted(line.split(": ")[1] for line in found) == sorted(keys)
    assert [int(line.split(":")[0]) for line in found] == sorted(int(line.split(":")[0]) for line in found)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["local", "static"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(below for key, child in children for below in _places(child, (*place, key)))]


@given(st.sampled_from([LOCAL, STATIC]), st.data())
def test_whatever_stands_in_a_place_the_answer_is_a_spec_or_problems_with_lines(text: str, data: st.DataObject) -> None:
    fleet: Any = yaml.safe_load(text)
    place = data.draw(st.sampled_from(_places(fleet)[1:]))
    parent = fleet
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = data.draw(anything)
    written = yaml.safe_dump(fleet, sort_keys=False)
    for problem in _problems(written):
        assert 1 <= problem.line <= written.count("\n") + 1
        assert problem.key
        assert problem.message[:1] == problem.message[:1].lower() != ""
        assert problem.fix
        assert "null" not in problem.fix


def _problems(text: str) -> tuple[Problem, ...]:
    """Return what is wrong with a fleet, nothing when it is right; any other exception passes."""
    try:
        parse(text, file="fleet.yml")
    except SpecError as error:
        return error.problems
    return ()


@given(st.text(max_size=60))
def test_whatever_the_text_the_answer_is_a_spec_error(text: str) -> None:
    with pytest.raises(FleetError):
        parse(text, file="fleet.yml")


def test_workers_set_the_count_of_the_only_pool() -> None:
    spec = parse(LOCAL, file="fleet.yml", workers=7)
    assert spec.pools["worker"].count == 7
    assert spec.pools["worker"].concurrency == 60


@pytest.mark.parametrize(
    ("workers", "message"),
    [(0, "less than 1"), (-1, "less than 1"), (10_000, "10,003 hosts are more than the 250")],
)
def test_workers_obey_the_rules_of_count(workers: int, message: str) -> None:
    assert complaints(LOCAL, workers=workers)[0].startswith(f"10: --workers: {message}")


def test_workers_mend_no_mistake_in_the_file() -> None:
    found = complaints(changed(LOCAL, "count: 2", "count: 0"), workers=0)
    assert [line.split(": ")[1] for line in found] == ["pools.worker.count", "--workers"]
    found = complaints(changed(LOCAL, "count: 2", "count: 0"), workers=3)
    assert [line.split(": ")[1] for line in found] == ["pools.worker.count"]


def test_workers_report_what_else_is_wrong_once() -> None:
    found = complaints(changed(changed(LOCAL, "2GiB", "100MiB"), "name: demo", "name: Demo"), workers=3)
    assert [line.split(": ")[1] for line in found] == ["name", "pools.worker.memory"]


def test_workers_may_bring_a_count_within_the_ceiling() -> None:
    assert parse(changed(LOCAL, "count: 2", "count: 1000"), file="fleet.yml", workers=3).slots == 180


def test_workers_are_refused_with_several_pools_and_the_hint_names_them() -> None:
    with pytest.raises(UsageError) as caught:
        parse(TWO_POOLS, file="fleet.yml", workers=3)
    assert caught.value.message == "--workers sets the count of the only pool, and this fleet has 2: worker, heavy"
    assert caught.value.hint == "set pools.worker.count or pools.heavy.count in fleet.yml"


def test_workers_with_several_pools_are_one_problem_among_others() -> None:
    found = complaints(changed(TWO_POOLS, "name: demo", "name: Demo"), workers=3)
    assert [line.split(" -> ")[0] for line in found] == [
        "1: name: not a usable name",
        "8: --workers: sets the count of the only pool, and this fleet has 2: worker, heavy",
    ]


def test_workers_beside_broken_pools_report_the_pools() -> None:
    text = LOCAL[: LOCAL.index("pools:")] + "pools: 3\n"
    assert [line.split(" -> ")[0] for line in complaints(text, workers=3)] == ["8: pools: not a mapping of keys"]


def test_an_error_reads_as_file_line_key_message_and_fix() -> None:
    with pytest.raises(SpecError) as caught:
        parse(changed(LOCAL, "count: 2", "count: 0"), file="fleet.yml")
    assert str(caught.value) == "fleet.yml:10: pools.worker.count: less than 1\n    fix: write 1 or more"
    assert caught.value.exit_code == 2
