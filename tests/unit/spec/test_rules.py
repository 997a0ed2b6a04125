"""Relations between keys. Rows: what is changed to what, and the answer."""

from __future__ import annotations

import pytest

from fleetctl.spec.load import parse
from fleetctl.spec.models import LocalProvider
from tests.unit.spec.examples import LOCAL, STATIC, changed, complaints

ADD_BECOME = "add `become: true` (sudo without a password), or use `user: root`"
OWN_PATH = "use a directory of its own, such as /shared/fleet"
OTHER_NAME = "use another name"
POSTGRES = "postgresql://user@server:5432/database"
REDIS = "redis://user@server:6379/0"
NFS = "nfs://server/path"
STOOD = "then change that password, it stood in a file"
UNENFORCED = "remove it, or use `celery_pool: prefork`"
ONE_DIRECTORY = "remove it, or use `machines: uml`: nspawn machines share one directory of this computer"
MOUNTER = "remove it: who mounts the storage has settings of its own"
EXTERNAL = "remove it: an external server has settings of its own"

LOCAL_RULES = {
    "a route to a queue that nobody serves": (
        "pools:",
        "app:\n  routes: {reports.*: heavy}\npools:",
        "9: app.routes.reports.*: no pool serves queue heavy",
        "use one of celery, or add heavy to a pool's queues",
    ),
    "a client with the name of a pool's host": (
        "pools:",
        "clients: [worker-1]\npools:",
        "8: clients[0]: a host of pool worker has this name",
        "use another name, such as client",
    ),
    "certificates for nobody": (
        "  redis: {host: redis}",
        "  redis: {host: redis}\n  ca: ca.pem",
        "8: services.ca: has no effect without an external Postgres or Redis",
        "remove it: the fleet's own services are reached inside of its network",
    ),
    "a client twice": (
        "pools:",
        "clients: [api, api]\npools:",
        "8: clients[1]: api is listed twice",
        "remove one of the two",
    ),
    "slots that do not fit the memory": (
        "memory: 2GiB",
        "memory: 1GiB",
        "13: pools.worker.memory: 60 slots of 24MiB and 128 MiB for the unit's main process need 1568 MiB, "
        "more than 1024 MiB",
        "write `memory: 1568MiB` or more, or `concurrency: 37` or less",
    ),
    "memory for no slot at all": (
        "memory: 2GiB",
        "memory: 140MiB",
        "13: pools.worker.memory: 60 slots of 24MiB and 128 MiB for the unit's main process need 1568 MiB, "
        "more than 140 MiB",
        "write `memory: 1568MiB` or more",
    ),
    "a stop shorter than a job": (
        "memory: 2GiB",
        "stop_timeout: 5m",
        "13: pools.worker.stop_timeout: 5m is not longer than a job may run, 15m: a stop would kill running jobs",
        "write `stop_timeout: 16m` (time_limit + 60 s) or leave it out",
    ),
    "a warning at the limit": (
        "memory: 2GiB",
        "soft_time_limit: 15m",
        "13: pools.worker.soft_time_limit: 15m is no warning before the hard limit, 15m",
        "write less than time_limit, or leave it out",
    ),
    "ten thousand workers": (
        "count: 2",
        "count: 10000",
        "10: pools.worker.count: 10,003 hosts are more than the 250 that a local fleet can have: they share one "
        "network of 254 addresses on this computer",
        "lower count, raise per_host, or use `kind: static` with machines elsewhere",
    ),
    "one host too many": (
        "count: 2",
        "count: 248",
        "10: pools.worker.count: 251 hosts are more than the 250 that a local fleet can have: they share one "
        "network of 254 addresses on this computer",
        "lower count, raise per_host, or use `kind: static` with machines elsewhere",
    ),
    "a service on a pool's host": (
        "redis: {host: redis}",
        "redis: {host: worker-1}",
        "7: services.redis.host: a host of pool worker has this name",
        "use another name, such as redis",
    ),
    "a service on a host that the pool may get": (
        "redis: {host: redis}",
        "redis: {host: worker-77}",
        "7: services.redis.host: a host of pool worker has this name",
        "use another name, such as redis",
    ),
    "a host called all": (
        "redis: {host: redis}",
        "redis: {host: all}",
        "7: services.redis.host: a name that Ansible keeps for itself",
        OTHER_NAME,
    ),
    "a pool called like a group": (
        "  worker:",
        "  workers:",
        "9: pools.workers: the inventory has a group of this name",
        "rename it, for example workers-pool",
    ),
    "a subnet that is public": (
        "kind: local",
        "kind: local, subnet: 8.8.8.0/24",
        "2: provider.subnet: not a private network",
        "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
    ),
    "a subnet that is link-local": (
        "kind: local",
        "kind: local, subnet: 169.254.7.0/24",
        "2: provider.subnet: not a private network",
        "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
    ),
    "a subnet that is wide": (
        "kind: local",
        "kind: local, subnet: 10.9.0.0/16",
        "2: provider.subnet: a prefix of 16 is not between 24 and 28",
        "use a /24",
    ),
    "a subnet that is tiny": (
        "kind: local",
        "kind: local, subnet: 10.9.0.0/29",
        "2: provider.subnet: a prefix of 29 is not between 24 and 28",
        "use a /24",
    ),
    "memory of machines that share this computer's": (
        "kind: local",
        "kind: local, memory: 1GiB",
        "2: provider.memory: has no effect on nspawn machines",
        "remove it, or use `machines: uml`: nspawn machines share this computer's memory",
    ),
    "the default memory, written down": (
        "kind: local",
        "kind: local, machines: nspawn, memory: 512MiB",
        "2: provider.memory: has no effect on nspawn machines",
        "remove it, or use `machines: uml`: nspawn machines share this computer's memory",
    ),
    "too little memory": (
        "kind: local",
        "kind: local, machines: uml, memory: 255MiB",
        "2: provider.memory: less than 256MiB",
        "write `memory: 256MiB` or more",
    ),
    "a device that nobody mounts": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, device: /dev/sdb}",
        "5: services.nfs.device: has no effect on nspawn machines",
        ONE_DIRECTORY,
    ),
    "threads of no server": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, threads: 8}",
        "5: services.nfs.threads: has no effect on nspawn machines",
        ONE_DIRECTORY,
    ),
    "a lease of no server": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, lease_seconds: 15}",
        "5: services.nfs.lease_seconds: has no effect on nspawn machines",
        ONE_DIRECTORY,
    ),
    "a version beside an own server": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, version: 4.2}",
        "5: services.nfs.version: has no effect with host",
        "remove it: the fleet's own server speaks 4.2 alone",
    ),
    "both host and url": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, url: 'nfs://files/export'}",
        "5: services.nfs: both host and url",
        "keep host for one of the fleet's own, url for an external one",
    ),
    "neither host nor url": (
        "redis: {host: redis}",
        "redis: {appendfsync: always}",
        "7: services.redis: neither host nor url",
        f"add `host: redis`, or `url: {REDIS}`",
    ),
    "a password for a server of the fleet's own": (
        "redis: {host: redis}",
        "redis: {host: redis, password: 'env:X'}",
        "7: services.redis.password: has no effect without url",
        "remove it: fleetctl generates the passwords of the fleet's own services",
    ),
    "an external server without a password": (
        "redis: {host: redis}",
        "redis: {url: 'redis://u@cache/0'}",
        "7: services.redis.url: has no password",
        "add `password: env:REDIS_PASSWORD`",
    ),
    "a password in clear": (
        "redis: {host: redis}",
        "redis: {url: 'redis://u@cache/0', password: hunter2}",
        "7: services.redis.password: not a reference to a secret",
        "write env:NAME or file:PATH; the secret itself never stands in this file",
    ),
    "a setting of a server that is not the fleet's": (
        "redis: {host: redis}",
        "redis: {url: 'redis://u@cache/0', password: 'env:X', appendfsync: always}",
        "7: services.redis.appendfsync: has no effect with url",
        EXTERNAL,
    ),
    "a database beside a url that names one": (
        "postgres: {host: postgres}",
        "postgres: {url: 'postgresql://u@db/x', password: 'env:X', database: y}",
        "6: services.postgres.database: has no effect with url",
        EXTERNAL,
    ),
    "too few connections": (
        "postgres: {host: postgres}",
        "postgres: {host: postgres, max_connections: 129}",
        "6: services.postgres.max_connections: 129 connections are too few for 120 slots and 10 to spare",
        "write `max_connections: 170`, or leave it out",
    ),
    "storage over everything": ("/shared/fleet", "/", "3: storage.path: belongs to the operating system", OWN_PATH),
    "storage below /etc": ("/shared/fleet", "/etc/x", "3: storage.path: belongs to the operating system", OWN_PATH),
    "storage over fleetctl": (
        "/shared/fleet",
        "/opt/fleet/x",
        "3: storage.path: belongs to the operating system",
        OWN_PATH,
    ),
    "storage over /home": ("/shared/fleet", "/home", "3: storage.path: belongs to the operating system", OWN_PATH),
    "storage that goes up": (
        "/shared/fleet",
        "/shared/../etc",
        "3: storage.path: goes up with ..",
        "write the path itself, such as /shared/fleet",
    ),
    "storage with a slash too many": (
        "/shared/fleet",
        "/shared//fleet/",
        "3: storage.path: not in its shortest form",
        "write `path: /shared/fleet`",
    ),
    "jobs outside storage": (
        "path: /shared/fleet",
        "jobs: ../jobs",
        "3: storage.jobs: holds . or ..",
        "name a directory below storage.path, such as jobs",
    ),
    "jobs where uploads are": (
        "path: /shared/fleet",
        "jobs: uploads",
        "3: storage.uploads: the same directory as jobs",
        "use two directories",
    ),
    "uploads among fleetctl's checks": (
        "path: /shared/fleet",
        "uploads: .fleetctl/x",
        "3: storage.uploads: kept for fleetctl's own checks",
        "use another name, such as uploads",
    ),
    "a variable that fleetctl sets": (
        "memory: 2GiB",
        "environment: {REDIS_URL: x}",
        "13: pools.worker.environment.REDIS_URL: set by fleetctl itself",
        "remove it, or rename the app's variable",
    ),
    "a variable of fleetctl's": (
        "memory: 2GiB",
        "environment: {FLEET_X: x}",
        "13: pools.worker.environment.FLEET_X: set by fleetctl itself",
        "remove it, or rename the app's variable",
    ),
}

STATIC_RULES = {
    "two hosts on one name": (
        "name: gamma",
        "name: beta",
        "8: provider.hosts[2].name: two hosts are called beta",
        "rename one",
    ),
    "two hosts on one address": (
        "10.0.0.3",
        "10.0.0.2",
        "8: provider.hosts[2].address: beta has the same address and port",
        "remove one of the two",
    ),
    "a service on a host that is not listed": (
        "redis: {host: alpha}",
        "redis: {host: delta}",
        "12: services.redis.host: no host delta is listed",
        "add `- {name: delta, address: ...}` to provider.hosts, or name one that is there",
    ),
    "fewer hosts than the pool needs": (
        "count: 2",
        "count: 5, per_host: 2",
        "14: pools.worker.count: 5 units, 2 on a host, need 3 hosts; 2 are listed for them",
        "give 1 more of provider.hosts `pool: worker`, or write `count: 4` or less",
    ),
    "no host for a pool": (
        "  worker: {count: 2, concurrency: 60}",
        "  worker: {count: 2, concurrency: 60}\n  light: {count: 1, concurrency: 1}",
        "15: pools.light.count: 1 units, 1 on a host, need 1 hosts; 0 are listed for them",
        "give 1 more of provider.hosts `pool: light`",
    ),
    "a host of a pool that is not there": (
        "name: alpha",
        "pool: light, name: alpha",
        "6: provider.hosts[0].pool: there is no pool light",
        "use one of worker",
    ),
    "a user who is not root": (
        ", become: true",
        "",
        "7: provider.hosts[1]: ops is not root, and become is not true",
        ADD_BECOME,
    ),
    "a host outside the networks": (
        "10.0.0.3",
        "10.0.1.3",
        "8: provider.hosts[2].address: in none of the networks",
        "add its network to provider.networks: the services would refuse it",
    ),
    "a network that is everything": (
        "10.0.0.0/24",
        "0.0.0.0/0",
        "4: provider.networks[0]: opens the services to strangers",
        "name the network that the fleet's hosts are in",
    ),
    "a device of an external server": (
        "nfs: {host: alpha}",
        "nfs: {url: 'nfs://files/a', device: /dev/sdb}",
        "10: services.nfs.device: has no effect with url",
        EXTERNAL,
    ),
    "threads of an external server": (
        "nfs: {host: alpha}",
        "nfs: {url: 'nfs://files/a', threads: 8}",
        "10: services.nfs.threads: has no effect with url",
        EXTERNAL,
    ),
    "a lease of an external server": (
        "nfs: {host: alpha}",
        "nfs: {url: 'nfs://files/a', lease_seconds: 15}",
        "10: services.nfs.lease_seconds: has no effect with url",
        EXTERNAL,
    ),
    "a lease of a mount": (
        "nfs: {host: alpha}",
        "nfs: {mounted: true, lease_seconds: 15}",
        "10: services.nfs.lease_seconds: has no effect with mounted",
        MOUNTER,
    ),
    "a version of a mount": (
        "nfs: {host: alpha}",
        "nfs: {mounted: true, version: 4.1}",
        "10: services.nfs.version: has no effect with mounted",
        MOUNTER,
    ),
    "a host called localhost": (
        "name: gamma",
        "name: localhost",
        "8: provider.hosts[2].name: a name that Ansible keeps for itself",
        OTHER_NAME,
    ),
}

URLS = {
    "a password": ("postgres", "postgresql://u:hunter2@db/x", "holds a password"),
    "a password with an at sign": ("postgres", "postgresql://u:hunter2@x@db/x", "holds a password"),
    "a password with a slash": ("postgres", "postgresql://u:hun/ter2@db/x", "holds a password"),
    "a password without a user": ("redis", "redis://:hunter2@cache/0", "holds a password"),
    "a password in the query": ("postgres", "postgresql://u@db/x?password=hunter2", "holds a password"),
    "another scheme": ("postgres", "mysql://u@db/x", "not a URL of postgresql:// or postgres://"),
    "no scheme": ("redis", "cache:6379", "not a URL of redis:// or rediss://"),
    "no user of Postgres": ("postgres", "postgresql://db/x", "names no user"),
    "no user of Redis": ("redis", "rediss://cache/0", "names no user"),
    "no database": ("postgres", "postgresql://u@db", "names no database"),
    "no server": ("postgres", "postgresql://u@/x", "names no server"),
    "a port that is no number": ("redis", "redis://u@cache:x/0", "not a URL"),
    "port 0": ("redis", "redis://u@cache:0/0", "0 is no port"),
    "a database that is no number": ("redis", "redis://u@cache/x", "the path is not the number of a database"),
    "no export": ("nfs", "nfs://files", "names no exported directory"),
}


@pytest.mark.parametrize(("old", "new", "message", "fix"), LOCAL_RULES.values(), ids=LOCAL_RULES)
def test_a_contradiction_in_a_local_fleet_is_named(old: str, new: str, message: str, fix: str) -> None:
    assert complaints(changed(LOCAL, old, new)) == [f"{message} -> {fix}"]


@pytest.mark.parametrize(("old", "new", "message", "fix"), STATIC_RULES.values(), ids=STATIC_RULES)
def test_a_contradiction_in_a_static_fleet_is_named(old: str, new: str, message: str, fix: str) -> None:
    assert complaints(changed(STATIC, old, new)) == [f"{message} -> {fix}"]


@pytest.mark.parametrize(("service", "url", "message"), URLS.values(), ids=URLS)
def test_a_wrong_url_is_refused_and_never_repeated(service: str, url: str, message: str) -> None:
    password = "" if service == "nfs" else ", password: 'env:X'"
    line = {"nfs": 5, "postgres": 6, "redis": 7}[service]
    form = {"nfs": NFS, "postgres": POSTGRES, "redis": REDIS}[service]
    found = complaints(changed(LOCAL, f"{{host: {service}}}", f"{{url: '{url}'{password}}}"))
    found = [complaint for complaint in found if "has no effect on nspawn" not in complaint]
    assert [complaint.split(" -> ")[0] for complaint in found] == [f"{line}: services.{service}.url: {message}"]
    assert form in found[0]
    assert "hunter2" not in found[0]


def test_a_redis_without_users_is_told_of_the_default_one() -> None:
    (found,) = complaints(changed(LOCAL, "{host: redis}", "{url: 'redis://cache/0', password: 'env:X'}"))
    assert found.endswith("with user default if the server has only a password")


GOOD_URLS = {
    "Postgres": ("postgres", "postgresql://fleet@db.example.com:5432/fleet?sslmode=require"),
    "postgres for postgresql": ("postgres", "postgres://fleet@10.1.2.3/fleet"),
    "Redis with TLS": ("redis", "rediss://default@cache.example.com:6380/2"),
    "Redis without a database": ("redis", "redis://u@[fd00::1]:6379"),
}


@pytest.mark.parametrize(("service", "url"), GOOD_URLS.values(), ids=GOOD_URLS)
def test_an_external_server_is_accepted(service: str, url: str) -> None:
    text = changed(LOCAL, f"{{host: {service}}}", f"{{url: '{url}', password: 'env:X'}}")
    assert getattr(parse(text, file="fleet.yml").services, service).url == url


def test_an_external_export_needs_no_password() -> None:
    for path in ("/export/a", "/"):  # of EFS, the root of the file system is the export
        text = changed(STATIC, "nfs: {host: alpha}", f"nfs: {{url: 'nfs://files{path}'}}")
        assert parse(text, file="fleet.yml").services.nfs.url == f"nfs://files{path}"


@pytest.mark.parametrize("setting", ["url: 'nfs://files/export/a'", "mounted: true"])
def test_nspawn_machines_have_no_other_storage_than_their_own(setting: str) -> None:
    (complaint,) = complaints(changed(LOCAL, "{host: nfs}", f"{{{setting}}}"))
    assert complaint.startswith(f"5: services.nfs.{setting.split(':')[0]}: has no effect on nspawn machines")


UML = changed(LOCAL, "kind: local", "kind: local, machines: uml")


def test_a_uml_fleet_has_memory_and_an_nfs_server_of_its_own() -> None:
    text = changed(UML, "machines: uml", "machines: uml, memory: 256MiB")
    text = changed(text, "{host: nfs}", "{host: nfs, device: /dev/ubdc, threads: 8, lease_seconds: 15}")
    spec = parse(text, file="fleet.yml")
    nfs = spec.services.nfs
    assert isinstance(spec.provider, LocalProvider)
    assert (spec.provider.machines, spec.provider.memory) == ("uml", 256)
    assert (nfs.device, nfs.threads, nfs.lease_seconds) == ("/dev/ubdc", 8, 15)


def test_a_uml_fleet_may_mount_an_external_export_and_not_what_nobody_mounts() -> None:
    text = changed(UML, "{host: nfs}", "{url: 'nfs://files/export', version: 4.1}")
    assert parse(text, file="fleet.yml").services.nfs.version == "4.1"
    assert complaints(changed(UML, "{host: nfs}", "{mounted: true}")) == [
        "5: services.nfs.mounted: has no effect on local -> write `nfs: {host: nfs}`: nothing else mounts anything on "
        "these machines"
    ]


@pytest.mark.parametrize(("written", "version"), [("4.1", "4.1"), ("4.2", "4.2"), ("'4.1'", "4.1"), ('"4.2"', "4.2")])
def test_a_version_is_a_number_or_text(written: str, version: str) -> None:
    text = changed(STATIC, "nfs: {host: alpha}", f"nfs: {{url: 'nfs://files/a', version: {written}}}")
    assert parse(text, file="fleet.yml").services.nfs.version == version


@pytest.mark.parametrize("written", ["3", "4", "4.0", "4.15", "four", "true", "[4.1]"])
def test_no_other_version_is_taken(written: str) -> None:
    text = changed(STATIC, "nfs: {host: alpha}", f"nfs: {{url: 'nfs://files/a', version: {written}}}")
    fix = "write 4.2, or 4.1 where the server has no 4.2"
    assert complaints(text) == [f"10: services.nfs.version: not a version that clients speak -> {fix}"]


@pytest.mark.parametrize("pool", ["nfs", "postgres", "redis", "workers", "all", "ungrouped"])
def test_a_pool_may_not_be_called_like_a_group_of_the_inventory(pool: str) -> None:
    assert complaints(changed(LOCAL, "  worker:", f"  {pool}:")) == [
        f"9: pools.{pool}: the inventory has a group of this name -> rename it, for example {pool}-pool"
    ]


@pytest.mark.parametrize("setting", ["soft_time_limit: 1m", "recycle: {jobs: 3}"])
@pytest.mark.parametrize("kind", ["threads", "solo"])
def test_settings_that_only_prefork_enforces_are_refused_elsewhere(kind: str, setting: str) -> None:
    text = changed(LOCAL, "    time_limit: 15m", f"    celery_pool: {kind}\n    {setting}")
    if kind == "solo":
        text = changed(text, "concurrency: 60", "concurrency: 1")
    key = setting.split(":")[0]
    assert complaints(text) == [f"15: pools.worker.{key}: not enforced with `celery_pool: {kind}` -> {UNENFORCED}"]


def test_a_pool_of_threads_says_how_long_its_jobs_take() -> None:
    text = changed(
        LOCAL, "    time_limit: 15m\n", "    celery_pool: threads\n    time_limit: 4m\n    stop_timeout: 5m\n"
    )
    assert parse(text, file="fleet.yml").pools["worker"].stop_seconds == 300


def test_a_solo_unit_has_one_slot() -> None:
    assert complaints(changed(LOCAL, "time_limit: 15m", "celery_pool: solo")) == [
        "11: pools.worker.concurrency: a solo unit runs one job at a time -> write `concurrency: 1`; raise count"
    ]


def test_a_local_fleet_may_have_250_hosts_and_many_units_on_each() -> None:
    assert parse(changed(LOCAL, "count: 2", "count: 247"), file="fleet.yml").pools["worker"].hosts == 247
    spec = parse(changed(LOCAL, "count: 2", "count: 2470\n    per_host: 10"), file="fleet.yml")
    assert spec.pools["worker"].hosts == 247


def test_services_that_share_a_host_count_once() -> None:
    shared = changed(LOCAL, "{host: redis}", "{host: postgres}")
    assert parse(changed(shared, "count: 2", "count: 248"), file="fleet.yml")


@pytest.mark.parametrize(("workers", "is_enough"), [(10, True), (11, False)])
def test_a_subnet_must_hold_the_hosts_and_this_computer(workers: int, is_enough: bool) -> None:
    text = changed(LOCAL, "kind: local", "kind: local, subnet: 10.9.0.0/28")
    text = changed(text, "count: 2", f"count: {workers}")
    if is_enough:
        assert parse(text, file="fleet.yml")
    else:
        assert complaints(text) == ["2: provider.subnet: 13 addresses are too few for 14 hosts -> use a /24"]


def test_connections_may_be_just_enough() -> None:
    text = changed(LOCAL, "{host: postgres}", "{host: postgres, max_connections: 130}")
    assert parse(text, file="fleet.yml").services.postgres.max_connections == 130


def test_a_stop_may_take_little_more_than_a_job() -> None:
    text = changed(LOCAL, "memory: 2GiB", "stop_timeout: 901s\n    soft_time_limit: 899s")
    assert parse(text, file="fleet.yml").pools["worker"].stop_seconds == 901


def test_one_static_machine_may_be_everything() -> None:
    text = """\
name: demo
provider: {kind: static, hosts: [{name: worker-1, address: 10.0.0.1, pool: worker}]}
services: {nfs: {host: worker-1}, postgres: {host: worker-1}, redis: {host: worker-1}}
pools: {worker: {count: 4, per_host: 4, concurrency: 2}}
"""
    assert parse(text, file="fleet.yml").pools["worker"].hosts == 1


def test_two_static_hosts_may_share_an_address_on_two_ports() -> None:
    assert parse(changed(STATIC, "10.0.0.3", "10.0.0.2, port: 2222"), file="fleet.yml")
