"""Judging: each trouble is seen for its own reason, and nothing else with it; a healthy fleet is green."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fleetctl.core.health import judge, select
from fleetctl.core.health_checks import CHECKS, unknown
from fleetctl.core.health_values import Answer, Finding, FleetHealth, Ground, Look
from fleetctl.core.inventory import Context
from fleetctl.core.layout import layout
from fleetctl.core.survey import parse
from fleetctl.model import Host, HostState
from fleetctl.spec.models import FleetSpec
from tests.unit.core.conftest import spec
from tests.unit.core.health_facts import answered, answers_of, ground_of, hosts_of, look_of, survey_answer
from tests.unit.core.surveys import NOW, beat

EMPTY = {"queued": 0, "oldest_at": None, "reserved": 0, "scheduled": 0, "running": 0, "stranded": 0}


@dataclass
class Case:
    """A fleet that is well, to be made worse."""

    spec: FleetSpec
    ground: Ground
    hosts: dict[str, Host]
    answers: dict[str, Answer]
    look: Look
    seen: dict[str, Any]

    def facts(self, host: str) -> Any:
        return self.answers[host].facts

    def unit(self, name: str = "worker-1") -> Any:
        return self.facts(name)["units"][name]

    def beat(self, name: str = "worker-1") -> Any:
        return next(of for of in self.seen["units"] if of["unit"] == name)

    def judged(self, **more: Any) -> FleetHealth:
        look = replace(self.look, survey=parse(self.seen)) if self.look.survey else self.look
        return judge(layout(self.spec), self.hosts, self.answers, look, self.ground, **more)


def make(context: Context, *, kind: str = "nfs") -> Case:
    of = spec()
    ground = ground_of(of, context, kind=kind)
    return Case(of, ground, hosts_of(of), answers_of(of, ground), look_of(of), survey_answer(of))


@pytest.fixture
def case(context: Context) -> Case:
    return make(context)


def bad(health: FleetHealth) -> list[Finding]:
    return [finding for finding in health.all_findings if finding.level != "green"]


def seen(health: FleetHealth) -> list[tuple[str, str, str | None]]:
    return [(finding.name, finding.level, finding.host) for finding in bad(health)]


def test_a_healthy_fleet_is_green_and_every_check_has_a_name_that_is_documented(case: Case) -> None:
    health = case.judged()
    assert seen(health) == []
    assert (health.level, health.is_ok) == ("green", True)
    assert {finding.name for finding in health.all_findings} <= set(CHECKS)
    assert all(finding.fix is None for finding in health.all_findings)


Change = Callable[[Case], None]


def put(host: str, part: str, **values: Any) -> Change:
    return lambda case: case.facts(host)[part].update(values)


def on_unit(**values: Any) -> Change:
    return lambda case: case.unit().update(values)


def on_beat(**values: Any) -> Change:
    return lambda case: case.beat().update(values)


def on_redis(**values: Any) -> Change:
    return lambda case: case.seen["redis"].update(values)


def on_queue(**values: Any) -> Change:
    return lambda case: case.seen["queues"].update(celery=EMPTY | values)


def look(**values: Any) -> Change:
    def change(case: Case) -> None:
        case.look = replace(case.look, **values)

    return change


def both(*changes: Change) -> Change:
    def change(case: Case) -> None:
        for one in changes:
            one(case)

    return change


def service(host: str, name: str, state: str) -> Change:
    return lambda case: case.facts(host)["services"].update({name: {"state": state, "sub": "dead", "is_enabled": True}})


def postgres(**values: Any) -> Change:
    told = {"connections": 9, "max_connections": 256, "longest_transaction_seconds": 0.1, "error": None} | values
    return look(services={"postgres": told})


def refused(part: str, kind: str) -> Change:
    return put("worker-1", part, error="no", kind=kind, seconds=None)


def storage(**values: Any) -> Change:
    return put("worker-1", "storage", **values)


def swap(case: Case) -> None:
    case.answers["worker-1"], case.answers["worker-2"] = case.answers["worker-2"], case.answers["worker-1"]


def lost(error: str) -> Change:
    return lambda case: case.answers.update({"redis": Answer(error=error)})


def clock(seconds: float, *hosts: str) -> Change:
    def change(case: Case) -> None:
        for host in hosts:
            case.answers[host] = replace(case.answers[host], time=NOW + 0.011 + seconds)

    return change


ALL = ("nfs", "postgres", "redis", "worker-1", "worker-2")
W1 = "worker-1"
# what is wrong -> the change, the check that tells it, its level, whose it is, a word of its cause, a word of its fix
TROUBLES: dict[str, tuple[Change, str, str, str | None, str, str]] = {
    "the disk fills": (put("redis", "disk", available=2**30), "host.disk", "red", "redis", "filled", "du -xh /"),
    "the disk is nearly full": (
        put("redis", "disk", available=5 * 2**30), "host.disk", "yellow", "redis", "filled", "",
    ),
    "inodes end": (put("redis", "disk", inodes_free=9), "host.disk.inodes", "red", "redis", "small files", "du"),
    "memory is short": (put("redis", "memory", available=2**28), "host.memory", "red", "redis", "short", "ps -eo"),
    "much is swapped": (put("redis", "memory", swap_free=2**28), "host.swap", "yellow", "redis", "short", "ps"),
    "many threads": (put("redis", "pids", used=32000), "host.pids", "red", "redis", "run out", "systemctl"),
    "many open files": (put("redis", "files", used=790000), "host.files", "red", "redis", "run out", "systemctl"),
    "much load": (put(W1, "load", five=10.0), "host.load", "yellow", W1, "processors", "fleetctl jobs"),
    "too much load": (put("redis", "load", five=90.0), "host.load", "red", "redis", "processors", "top"),
    "a kill today": (put("redis", "oom", kills=2, last_seconds=60.0), "host.oom", "yellow", "redis", "memory", "oom"),
    "a kill, some time": (put("redis", "oom", kills=2), "host.oom", "yellow", "redis", "memory", "oom"),
    "a reboot": (put(W1, "host", needs_reboot=True), "host.reboot", "yellow", W1, "updated", "drain worker-1 --wait"),
    "a failed service": (
        lambda case: case.facts("redis")["failed"].append("cron.service"),
        "host.systemd", "yellow", "redis", "failed", "cron.service",
    ),
    "systemd hangs": (
        lambda case: case.answers.update(redis=replace(case.answers["redis"], problems={"systemd": "no answer"})),
        "host.systemd", "red", "redis", "systemd", "is-system-running",
    ),
    "another machine": (
        put("redis", "host", machine_id="f" * 32), "host.identity", "red", "redis", "another", "inventory",
    ),
    "another fleet": (put(W1, "host", fleet="other"), "host.identity", "red", W1, "two fleets", "inventory"),
    "another name": (put("redis", "host", fleet_host="db"), "host.identity", "red", "redis", "another", "inventory"),
    "not set up": (put("redis", "host", stamp=None), "host.setup", "red", "redis", "no deploy", "fleetctl deploy"),
    "half set up": (put("redis", "host", stamp="changing"), "host.setup", "red", "redis", "interrupted", "deploy"),
    "drift": (put("redis", "host", stamp="e" * 32), "host.setup", "yellow", "redis", "drift", "fleetctl deploy"),
    "a clock is off": (clock(3.0, "redis"), "host.clock", "yellow", "redis", "time service", "timesyncd"),
    "a clock is far off": (clock(-40.0, "redis"), "host.clock", "red", "redis", "time service", "timesyncd"),
    "this computer's clock is off": (clock(40.0, *ALL), "fleet.clock", "yellow", None, "this computer", "timedatectl"),
    "a host is dead": (lost("redis: timed out"), "host.ssh", "red", "redis", "frozen", "fleetctl ssh redis"),
    "garbage": (lost("its answer cannot be read: 'x'"), "host.ssh", "red", "redis", "probe's place", "python3"),
    "a new host key": (lost("its host key is not the pinned one"), "host.ssh", "red", "redis", "another", "inventory"),
    "a lost key": (lost("root@x refused the key"), "host.ssh", "red", "redis", "authorized", "fleetctl ssh"),
    "a host is off": (
        lambda case: case.hosts.update(redis=replace(case.hosts["redis"], state=HostState.STOPPED)),
        "host.ssh", "red", "redis", "off", "fleetctl deploy",
    ),
    "a host is gone": (lambda case: case.hosts.pop("redis"), "host.ssh", "red", "redis", "provider", "fleetctl deploy"),
    "a host too many": (
        lambda case: case.hosts.update(extra=Host("extra", "i", "10.0.0.99")),
        "fleet.hosts", "yellow", None, "drift", "fleetctl deploy",
    ),
    "part of an answer is garbage": (
        lambda case: case.facts("redis").update(memory={"total": "much"}),
        "host.probe", "red", "redis", "release", "python3",
    ),
    "the storage hangs": (
        storage(error="no answer", kind="hung", seconds=None, space=None),
        "storage.writable", "red", W1, "server", "fleetctl ssh nfs 'systemctl restart nfs-server'",
    ),
    "a stale handle": (
        storage(error="Stale", kind="stale", seconds=None, space=None),
        "storage.writable", "red", W1, "another file system", "umount --force",
    ),
    "full storage": (
        storage(error="No space", kind="ENOSPC", seconds=None), "storage.writable", "red", W1, "full", "du",
    ),
    "forbidden": (storage(error="denied", kind="EACCES", seconds=None), "storage.writable", "red", W1, "may not", "ls"),
    "slow storage": (storage(seconds=4.0), "storage.writable", "yellow", W1, "slow", "grep"),
    "the storage fills": (
        lambda case: case.facts(W1)["storage"]["space"].update(available=2**30),
        "storage.space", "red", W1, "filled", "du",
    ),
    "nothing is mounted": (storage(mount=None), "storage.mounted", "red", W1, "own disk", "automount"),
    "an automount waits": (
        storage(mount={"type": "autofs", "source": "systemd-1", "is_read_only": False}),
        "storage.mounted", "red", W1, "refuses", "automount",
    ),
    "another server": (
        storage(mount={"type": "nfs4", "source": "10.9.9.9:/x", "is_read_only": False}),
        "storage.mounted", "red", W1, "another", "automount",
    ),
    "Redis is down": (refused("redis", "refused"), "redis.reached", "red", W1, "down", "ssh redis 'systemctl restart"),
    "Redis' host is away": (refused("redis", "timeout"), "redis.reached", "red", W1, "firewall", "health --host redis"),
    "a wrong password": (refused("redis", "password"), "redis.reached", "red", W1, "password", "deploy --converge"),
    "Postgres is full": (refused("postgres", "full"), "postgres.reached", "red", W1, "taken", "health --host postgres"),
    "Postgres is slow": (put(W1, "postgres", seconds=2.0), "postgres.reached", "yellow", W1, "slow", "health"),
    "a service is stopped": (
        service("redis", "redis-server", "inactive"), "redis.service", "red", "redis", "stopped", "start redis-server",
    ),
    "NFS is stopped": (
        service("nfs", "nfs-server", "failed"), "nfs.service", "red", "nfs", "failed", "start nfs-server",
    ),
    "Docker is stopped": (service(W1, "docker", "inactive"), "docker.service", "red", W1, "stopped", "start docker"),
    "no Postgres": (
        lambda case: case.facts("postgres")["services"].clear(),
        "postgres.service", "red", "postgres", "cluster", "restart postgresql",
    ),
    "an export is missing": (
        lambda case: case.facts("nfs")["exports"]["exports"].pop(),
        "nfs.exports", "red", "nfs", "exports", "exportfs -ra",
    ),
    "a stranger may mount": (
        lambda case: case.facts("nfs")["exports"]["exports"].append(["/shared/fleet", "10.9.9.9"]),
        "nfs.exports", "yellow", "nfs", "left", "fleetctl deploy",
    ),
    "few NFS threads": (put("nfs", "exports", threads=1), "nfs.threads", "yellow", "nfs", "fewer", "nfs-server"),
    "no NFS threads": (put("nfs", "exports", threads=0), "nfs.threads", "red", "nfs", "not run", "nfs-server"),
    "the unit loops": (
        on_unit(state="activating", sub="auto-restart", restarts=9, result="exit-code"),
        "unit.state", "red", W1, "whenever it starts", "journalctl",
    ),
    "the unit waits": (
        on_unit(state="activating", sub="start-pre"), "unit.state", "red", W1, "storage", "--check storage",
    ),
    "the unit stops": (
        on_unit(state="deactivating", sub="stop"), "unit.state", "yellow", W1, "jobs are done", "journal",
    ),
    "the unit ended once": (on_unit(restarts=1, active_seconds=100.0), "unit.state", "yellow", W1, "ended", "journal"),
    "the unit ends again": (on_unit(restarts=4, active_seconds=100.0), "unit.state", "red", W1, "ended", "journalctl"),
    "no such unit": (lambda case: case.facts(W1)["units"].clear(), "unit.state", "red", W1, "not set up", "--converge"),
    "a unit too many": (
        lambda case: case.facts("worker-2")["units"].update({"worker-9": case.unit("worker-2")}),
        "unit.stranger", "red", "worker-2", "retired", "fleetctl deploy",
    ),
    "half of the slots' processes": (on_unit(children=2), "unit.children", "yellow", W1, "died", "fleetctl restart"),
    "no process": (on_unit(children=0), "unit.children", "red", W1, "died", "fleetctl restart worker-1"),
    "little memory": (on_unit(memory=2**30 - 9), "unit.memory", "red", W1, "need more", "fleetctl jobs"),
    "many threads of a unit": (on_unit(tasks=95), "unit.tasks", "yellow", W1, "start too many", "fleetctl jobs"),
    "kills in a unit": (on_unit(oom_kills=1), "unit.oom", "yellow", W1, "more memory", "journalctl"),
    "a silent unit": (
        on_beat(at=NOW - 40), "unit.answers", "red", W1, "hangs", "systemctl restart fleet-worker@worker-1",
    ),
    "a unit without a sign": (
        lambda case: case.seen["units"].remove(case.beat()), "unit.answers", "red", W1, "reach Redis", "restart",
    ),
    "a young unit": (
        both(lambda case: case.seen["units"].remove(case.beat()), on_unit(active_seconds=5.0, children=0)),
        "unit.answers", "yellow", W1, "just started", "restart",
    ),
    "two machines with one name": (on_beat(machine="f" * 32), "unit.identity", "red", W1, "one name", "inventory"),
    "few slots": (on_beat(slots=2), "unit.slots", "red", W1, "other settings", "fleetctl restart worker-1"),
    "many slots": (on_beat(slots=9), "unit.slots", "yellow", W1, "other settings", "fleetctl restart"),
    "unknown queues": (on_beat(queues=["old"]), "unit.queues", "red", W1, "other settings", "fleetctl restart"),
    "deaf by backlog": (
        both(on_queue(queued=3, oldest_at=NOW - 20), look(canary={}),
             lambda case: case.beat("worker-2").update(last_received=NOW - 1)),
        "unit.deaf", "red", W1, "connection", "systemctl restart fleet-worker@worker-1",
    ),
    "deaf by canary": (look(canary={"worker-1@worker-1": None}), "unit.deaf", "red", W1, "connection", "restart"),
    "full and stuck": (on_beat(busy=4, since=NOW - 9000), "unit.deaf", "red", W1, "time limit", "restart"),
    "a job is late": (
        on_beat(since=NOW - 9000, busy=1, jobs=[{"id": "j1", "task": "t", "queue": "celery", "started": NOW - 2000}]),
        "jobs.overdue", "red", W1, "not enforced", "fleetctl job j1",
    ),
    "jobs in dead hands": (on_queue(stranded=2), "jobs.stranded", "red", None, "died", "fleetctl audit"),
    "quarantine": (
        lambda case: case.seen.update(quarantined=1),
        "jobs.quarantined", "yellow", None, "three times", "quarantine list",
    ),
    "a stranger takes jobs": (
        lambda case: case.seen["units"].append(beat("odd-1")),
        "fleet.strangers", "red", None, "no fleet.yml", "drain unit:",
    ),
    "a lost queue": (look(strays={"other": 5}), "queue.unserved", "red", None, "publisher", "queues move other celery"),
    "no list of queues": (look(strays=None), "queue.unserved", "yellow", None, "", "fleetctl queues"),
    "Redis fills": (on_redis(used_memory=2**30 - 5), "redis.memory", "red", None, "fill", "fleetctl queues"),
    "Redis throws away": (
        on_redis(maxmemory_policy="allkeys-lru"), "redis.policy", "red", None, "throws", "--converge",
    ),
    "no log": (on_redis(aof_enabled=0), "redis.persistence", "red", None, "lost", "deploy --converge"),
    "the log fails": (on_redis(aof_last_write_status="err"), "redis.persistence", "red", None, "disk", "df -h"),
    "Redis loads": (on_redis(loading=1), "redis.persistence", "yellow", None, "started", "redis-server"),
    "many clients": (on_redis(connected_clients=1000), "redis.clients", "red", None, "refused", "client list"),
    "many wait": (on_redis(blocked_clients=200), "redis.blocked", "yellow", None, "no units", "client list"),
    "no figures": (lambda case: case.seen.update(redis=None), "redis.info", "yellow", None, "INFO", "--converge"),
    "Postgres is down": (postgres(error="refused"), "postgres.answers", "red", None, "down", "restart postgresql"),
    "Postgres fills": (postgres(connections=250), "postgres.connections", "red", None, "refused", "pg_stat_activity"),
    "a long transaction": (
        postgres(longest_transaction_seconds=5000), "postgres.transactions", "yellow", None, "open", "pg_stat_activity",
    ),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_is_told_for_its_own_reason_with_what_to_type(trouble: str, case: Case) -> None:
    change, name, level, host, cause, fix = TROUBLES[trouble]
    change(case)
    health = case.judged()
    found = [finding for finding in bad(health) if finding.name == name]
    assert [(finding.level, finding.host) for finding in found] == [(level, host)], seen(health)
    assert cause in (found[0].cause or "")
    assert fix in (found[0].fix or "")
    assert {finding.name for finding in health.all_findings} <= set(CHECKS)
    assert all(finding.fix for finding in bad(health))
    assert health.is_ok is (level != "red")
    # A dead machine has more to it: what else is told is of the same host.
    others = {finding.host for finding in bad(health)} - {host}
    assert not others or trouble == "a host is gone", seen(health)


def test_a_unit_that_was_stopped_is_told_once_by_systemd_and_once_by_the_broker(case: Case) -> None:
    case.unit().update(state="inactive", sub="dead", active_seconds=None, pid=None, process=None, children=None)
    case.beat().update(at=NOW - 60)
    health = case.judged()
    start = "fleetctl ssh worker-1 'systemctl start fleet-worker@worker-1'"
    assert [(f.name, f.fix) for f in bad(health)] == [("unit.state", start), ("unit.answers", start)]


def test_a_main_process_that_was_stopped_by_a_signal_is_the_cause_of_its_unit_s_silence(case: Case) -> None:
    case.unit().update(process="T")
    case.beat().update(at=NOW - 60)
    found = bad(case.judged())
    assert [finding.name for finding in found] == ["unit.process", "unit.answers"]
    assert all("--signal=CONT" in (finding.fix or "") for finding in found)


def test_swapped_addresses_are_told_on_both_hosts_and_each_names_the_other(case: Case) -> None:
    swap(case)
    found = [finding for finding in bad(case.judged()) if finding.name == "host.address"]
    assert [(finding.host, "worker-2" in finding.detail) for finding in found] == [
        ("worker-1", True),
        ("worker-2", False),
    ]
    assert all("swapped" in (finding.cause or "") for finding in found)


def test_two_clones_that_were_never_set_up_are_one_machine(case: Case) -> None:
    for host in ("postgres", "redis"):
        case.facts(host)["host"]["machine_id"] = "c" * 32
    found = [finding.host for finding in bad(case.judged()) if finding.name == "host.address"]
    assert sorted(map(str, found)) == ["postgres", "redis"]


def test_a_dead_host_costs_its_own_row_and_what_the_broker_says_of_its_units_stands_there(case: Case) -> None:
    case.answers["worker-1"] = Answer(error="worker-1: timed out", sent=NOW, received=NOW + 5)
    case.beat().update(at=NOW - 60)
    health = case.judged()
    assert next(host.name for host in health.hosts) == "worker-1"
    assert seen(health) == [("host.ssh", "red", "worker-1"), ("unit.answers", "red", "worker-1")]
    assert {finding.fix for finding in bad(health)} == {"fleetctl rescue worker-1"}


DRAINS = {
    "the host": {"host:worker-1": {"at": NOW}},
    "the pool": {"pool:worker": {"at": NOW}},
    "the unit": {"unit:worker-1@worker-1": {"at": NOW}},
}


@pytest.mark.parametrize("drains", DRAINS.values(), ids=list(DRAINS))
def test_a_drained_unit_is_shown_as_drained_and_not_as_deaf(drains: dict[str, Any], case: Case) -> None:
    case.seen["drains"] = drains
    case.look = replace(case.look, canary={})
    case.beat("worker-2").update(last_received=NOW - 1)
    on_queue(queued=3, oldest_at=NOW - 20)(case)
    health = case.judged()
    assert seen(health) == []
    assert next(host for host in health.hosts if host.name == "worker-1").is_drained
    (said,) = [f.detail for f in health.all_findings if (f.name, f.unit) == ("unit.deaf", "worker-1")]
    assert "drained" in said


HEARD = {
    "all its slots were taken just now, after a long time without jobs": lambda case: [
        of.update(busy=4, since=NOW - 9000, last_finished=NOW - 8000, last_received=NOW - 5)
        for of in case.seen["units"]],
    "its queue is empty": on_queue(),
    "the jobs have just come": on_queue(queued=9, oldest_at=NOW - 2),
    "it has just taken one": both(on_queue(queued=9, oldest_at=NOW - 90),
                                  lambda case: [of.update(last_received=NOW - 3) for of in case.seen["units"]]),
    "it has just started": both(on_queue(queued=9, oldest_at=NOW - 90),
                                lambda case: [of.update(since=NOW - 3) for of in case.seen["units"]]),
    "all its slots are taken": both(on_queue(queued=9, oldest_at=NOW - 90), lambda case: [
        of.update(busy=4, last_finished=NOW - 30, last_received=NOW - 30) for of in case.seen["units"]]),
    "jobs wait in a queue that is not its own": lambda case: case.seen["queues"].update(
        other=EMPTY | {"queued": 9, "oldest_at": NOW - 90}),
}  # fmt: skip


@pytest.mark.parametrize("change", HEARD.values(), ids=list(HEARD))
def test_a_unit_is_not_deaf_when(change: Change, case: Case) -> None:
    case.look = replace(case.look, canary={})
    change(case)
    assert "unit.deaf" not in [finding.name for finding in bad(case.judged())]


def test_a_canary_that_waits_behind_jobs_that_came_meanwhile_accuses_nobody(case: Case) -> None:
    later = survey_answer(case.spec)
    later["units"][0].update(received=4, busy=4)
    case.look = replace(case.look, canary={"worker-1@worker-1": None}, later=parse(later))
    assert seen(case.judged()) == []


def test_an_uncertain_clock_is_not_accused(case: Case) -> None:
    """A host that took long to answer may have told the time at any moment of that."""
    case.answers["redis"] = replace(case.answers["redis"], time=NOW + 35, received=NOW + 40)
    assert seen(case.judged()) == []


def test_a_guest_is_not_blamed_for_the_load_of_the_computer_that_it_shares(case: Case) -> None:
    case.facts("redis")["load"].update(five=99.0, source="shared kernel")
    assert seen(case.judged()) == []


def test_a_bind_mount_needs_no_mount_nor_exports(context: Context) -> None:
    case = make(context, kind="bind")
    case.facts("worker-1")["storage"]["mount"] = None
    case.facts("nfs").update(exports=None, services={})
    assert seen(case.judged()) == []


def test_a_host_that_nothing_of_the_fleet_is_on_is_told_to_be_set_up_and_no_more(case: Case) -> None:
    case.facts("worker-1")["host"].update(stamp=None, fleet=None, fleet_host=None)
    case.unit().update(load="not-found", state="inactive", sub="dead")
    storage(error="there is no user fleet", kind="user", seconds=None, space=None)(case)
    assert seen(case.judged()) == [("host.setup", "red", "worker-1")]


def test_without_a_look_at_the_broker_hosts_are_judged_and_the_fleet_is_red(case: Case) -> None:
    case.look = Look(error="nobody could")
    assert seen(case.judged()) == [("fleet.survey", "red", None)]
    assert {f.detail for f in bad(case.judged())} == {"nobody could"}


def test_without_an_inventory_drift_is_said_to_be_unknown(case: Case) -> None:
    case.ground = replace(case.ground, inventory=None, note="the app's directory is not there")
    health = case.judged()
    assert seen(health) == [("fleet.drift", "yellow", None)]
    assert "the app's directory is not there" in bad(health)[0].detail


def test_hosts_are_shown_worst_first_and_else_in_the_fleet_s_order(case: Case) -> None:
    put("worker-2", "disk", available=2**30)(case)
    put("redis", "host", needs_reboot=True)(case)
    names = [host.name for host in case.judged().hosts]
    assert names == ["worker-2", "redis", "nfs", "postgres", "worker-1"]


def test_a_scope_shows_its_hosts_alone_and_a_check_its_findings_alone(case: Case) -> None:
    put("worker-2", "disk", available=2**30)(case)
    health = case.judged(scope=frozenset({"worker-1"}))
    assert [host.name for host in health.hosts] == ["worker-1"]
    assert (health.findings, health.level) == ((), "green")
    whole = select(case.judged(), ["storage", "host.disk"])
    assert whole.level == "red"
    assert {f.name for f in whole.all_findings} == {
        name for name in CHECKS if name.startswith(("storage", "host.disk"))
    }
    assert select(case.judged(), ["unit"]).level == "green"


def test_a_prefix_that_no_check_has_is_known_to_be_wrong() -> None:
    assert unknown(("storage", "unit.deaf", "storge")) == ("storge",)


def test_figures_of_a_row_are_there_and_those_that_are_not_known_are_none(case: Case) -> None:
    rows = {host.name: host.figures for host in case.judged().hosts}
    assert (rows["worker-1"]["units_active"], rows["worker-1"]["slots_live"], rows["worker-1"]["slots_busy"]) == (
        1,
        4,
        0,
    )
    assert rows["worker-1"]["memory"] == pytest.approx(0.25)
    assert rows["worker-1"]["clock_seconds"] == pytest.approx(0.0, abs=0.01)
    assert rows["postgres"]["redis_seconds"] is None
    case.answers["worker-1"] = answered({})
    row = next(host.figures for host in case.judged().hosts if host.name == "worker-1")
    assert (row["units_active"], row["memory"]) == (None, None)
