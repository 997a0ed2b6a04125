"""Single keys: unknown, missing, of the wrong type, out of bounds. Rows: what is changed to what, and the answer."""

from __future__ import annotations

import pytest

from tests.unit.spec.examples import LOCAL, STATIC, changed, complaints

NAME = "use lower-case letters, digits and dashes, 20 characters at most, such as light-2"
DURATION = "write a whole number with its unit, such as 90s, 15m or 1h"
DEVICE = "write its path, such as /dev/nvme1n1 or /dev/disk/by-id/..."
SIZE = "write a number with its unit, such as 512MiB or 2GiB"

KEYS = {
    "a misspelt key": ("queues:", "qeues:", "12: pools.worker.qeues: unknown key", "did you mean `queues`?"),
    "a misspelt key that is required is one mistake": (
        "concurrency:",
        "concurency:",
        "11: pools.worker.concurency: unknown key",
        "did you mean `concurrency`?",
    ),
    "dashes for underscores": (
        "time_limit:",
        "time-limit:",
        "14: pools.worker.time-limit: unknown key",
        "did you mean `time_limit`?",
    ),
    "a key in the wrong place": (
        "name: demo",
        "name: demo\nconcurrency: 4",
        "2: concurrency: unknown key",
        "it belongs to pools.<name>",
    ),
    "a key of a host in the wrong place": (
        "name: demo",
        "name: demo\nhost_key: x",
        "2: host_key: unknown key",
        "it belongs to provider (kind: static).hosts[]",
    ),
    "a misspelt key that a rule needs is one mistake": (
        "redis: {host: redis}",
        "redis: {hots: redis}",
        "7: services.redis.hots: unknown key",
        "did you mean `host`?",
    ),
    "a list for a text": ("name: demo", "name: [demo]", "1: name: not text", "write one value"),
    "an empty item": ("[celery]", "[celery, ~]", "12: pools.worker.queues[1]: empty", "write a value, or remove it"),
    "a part that is no mapping": (
        "storage: {path: /shared/fleet}",
        "storage: /shared/fleet",
        "3: storage: not a mapping of keys",
        "write `storage: {path: /shared/fleet}`",
    ),
    "a key of another provider": (
        "kind: local",
        "kind: local, hosts: []",
        "2: provider.hosts: unknown key",
        "it belongs to provider (kind: static)",
    ),
    "a key like no other": (
        "path: /shared/fleet",
        "path: /shared/fleet, zzz: 1",
        "3: storage.zzz: unknown key",
        "remove it; the keys here are path, jobs, uploads",
    ),
    "a missing key, at its parent": ("    count: 2\n", "", "9: pools.worker.count: missing", "add `count: 10`"),
    "a missing top key, at the top": ("name: demo\n", "", "1: name: missing", "add `name: fleet`"),
    "no provider": ("provider: {kind: local}\n", "", "1: provider: missing", "add `provider: {kind: local}`"),
    "no kind": ("{kind: local}", "{}", "2: provider: no kind is given", "add `kind: local` (one of local, static)"),
    "a misspelt provider": (
        "kind: local",
        "kind: sttic",
        "2: provider.kind: not one of local, static",
        "write `kind: static`",
    ),
    "a word for a mapping": (
        "{kind: local}",
        "local",
        "2: provider: not a mapping of keys",
        "write `provider: {kind: local}`",
    ),
    "an empty value": ("path: /shared/fleet", "path:", "3: storage.path: empty", "write `path: /shared/fleet`"),
    "no such pool type": (
        "memory: 2GiB",
        "celery_pool: gevent",
        "13: pools.worker.celery_pool: not one of prefork, threads, solo",
        "write `celery_pool: prefork`",
    ),
    "the nearest choice is suggested": (
        "memory: 2GiB",
        "celery_pool: thread",
        "13: pools.worker.celery_pool: not one of prefork, threads, solo",
        "write `celery_pool: threads`",
    ),
    "no units": ("count: 2", "count: 0", "10: pools.worker.count: less than 1", "write 1 or more"),
    "minus three": ("count: 2", "count: -3", "10: pools.worker.count: less than 1", "write 1 or more"),
    "yes is not 1": ("count: 2", "count: yes", "10: pools.worker.count: not a whole number", "write `count: 10`"),
    "text is no number": ("count: 2", 'count: "2"', "10: pools.worker.count: not a whole number", "write `count: 10`"),
    "half a unit": ("count: 2", "count: 2.5", "10: pools.worker.count: not a whole number", "write `count: 10`"),
    "too many slots": (
        "concurrency: 60",
        "concurrency: 1001",
        "11: pools.worker.concurrency: more than 1000",
        "write 1000 or less",
    ),
    "no processor": ("memory: 2GiB", "cpus: 0", "13: pools.worker.cpus: not more than 0", "write more than 0"),
    "true processors": ("memory: 2GiB", "cpus: true", "13: pools.worker.cpus: not a number", "write `cpus: 2`"),
    "all processors": ("memory: 2GiB", "cpus: .inf", "13: pools.worker.cpus: not a finite number", "write `cpus: 2`"),
    "an empty queue list": (
        "queues: [celery]",
        "queues: []",
        "12: pools.worker.queues: empty",
        "write `queues: [celery]`",
    ),
    "a queue for a list": (
        "queues: [celery]",
        "queues: celery",
        "12: pools.worker.queues: not a list",
        "put it in brackets: `queues: [...]`",
    ),
    "the item is named": (
        "queues: [celery]",
        "queues: [a, 'b c']",
        "12: pools.worker.queues[1]: not a usable queue name",
        "use letters, digits, dots, dashes and underscores, 100 characters at most",
    ),
    "no such machines": (
        "kind: local",
        "kind: local, machines: kvm",
        "2: provider.machines: not one of nspawn, uml",
        "write `machines: nspawn`",
    ),
    "memory without its unit": (
        "kind: local",
        "kind: local, machines: uml, memory: 512",
        "2: provider.memory: not a size",
        SIZE,
    ),
    "no threads": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, threads: 0}",
        "5: services.nfs.threads: less than 1",
        "write 1 or more",
    ),
    "more threads than the kernel starts": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, threads: 10000}",
        "5: services.nfs.threads: more than 8192",
        "write 8192 or less",
    ),
    "a short lease": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, lease_seconds: 9}",
        "5: services.nfs.lease_seconds: less than 10",
        "write 10 or more",
    ),
    "a long lease": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, lease_seconds: 3601}",
        "5: services.nfs.lease_seconds: more than 3600",
        "write 3600 or less",
    ),
    "a lease with a unit": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, lease_seconds: 90s}",
        "5: services.nfs.lease_seconds: not a whole number",
        "write `lease_seconds: 90`",
    ),
    "a device by its short name": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, device: sdb}",
        "5: services.nfs.device: not a block device",
        DEVICE,
    ),
    "a device that goes up": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, device: /dev/../etc/passwd}",
        "5: services.nfs.device: not a block device",
        DEVICE,
    ),
    "an empty version": (
        "nfs: {host: nfs}",
        "nfs: {host: nfs, version:}",
        "5: services.nfs.version: empty",
        "write `version: '4.2'`",
    ),
    "a size in GB": ("memory: 2GiB", "memory: 2GB", "13: pools.worker.memory: not a size", SIZE),
    "a size without its unit": ("memory: 2GiB", "memory: 2048", "13: pools.worker.memory: not a size", SIZE),
    "no memory": ("memory: 2GiB", "memory: 0GiB", "13: pools.worker.memory: less than 1 MiB", "write 1MiB or more"),
    "a bare number": ("time_limit: 15m", "time_limit: 900", "14: pools.worker.time_limit: not a duration", DURATION),
    "min for m": ("time_limit: 15m", "time_limit: 15 min", "14: pools.worker.time_limit: not a duration", DURATION),
    "no time": ("time_limit: 15m", "time_limit: 0s", "14: pools.worker.time_limit: no time at all", "write 1s or more"),
    "an empty duration": (
        "time_limit: 15m",
        "time_limit:",
        "14: pools.worker.time_limit: empty",
        "write `time_limit: 15m`",
    ),
    "a capital letter": ("name: demo", "name: Demo", "1: name: not a usable name", NAME),
    "a long name": ("name: demo", "name: xxxxxxxxxxxxxxxxxxxxx", "1: name: not a usable name", NAME),
    "a number for a name": ("name: demo", "name: 7", "1: name: not text", "put it in quotes"),
    "a name of a pool": ("worker:", "Worker_1:", "9: pools.Worker_1: not a usable name", NAME),
    "a number for a pool's name": ("worker:", "1:", "9: pools.1: not a usable name", NAME),
    "a number in the environment": (
        "memory: 2GiB",
        "environment: {PORT: 8080}",
        "13: pools.worker.environment.PORT: not text",
        "put it in quotes",
    ),
    "no variable": (
        "memory: 2GiB",
        "environment: {a-b: x}",
        "13: pools.worker.environment.a-b: not the name of a variable",
        "use letters, digits and underscores, such as LOG_LEVEL",
    ),
    "two lines": (
        "memory: 2GiB",
        'environment: {A: "x\\ny"}',
        "13: pools.worker.environment.A: holds a line break or another control character",
        "keep it on one line, or make it a file of the app",
    ),
    "a relative path": (
        "path: /shared/fleet",
        "path: shared",
        "3: storage.path: not an absolute path",
        "use letters, digits, dots, dashes and slashes, such as /shared/fleet",
    ),
    "a host's address": (
        "kind: local",
        "kind: local, subnet: 10.9.0.1/24",
        "2: provider.subnet: not an IPv4 network",
        "write the first address and the length of the prefix, such as 10.99.0.0/24",
    ),
}

HOSTS = {
    "a host name": (
        "address: 10.0.0.1}",
        "address: db.example.com}",
        "6: provider.hosts[0].address: not an IPv4 address",
        "write the address by which the fleet's other hosts reach it, such as 10.0.0.11",
    ),
    "no address": (", address: 10.0.0.1}", "}", "6: provider.hosts[0].address: missing", "add `address: 10.0.0.11`"),
    "a port": (
        "address: 10.0.0.1}",
        "address: 10.0.0.1, port: 70000}",
        "6: provider.hosts[0].port: more than 65535",
        "write 65535 or less",
    ),
    "one for true": (
        "become: true",
        "become: 1",
        "7: provider.hosts[1].become: neither true nor false",
        "write `become: false`",
    ),
    "a bastion without a user": (
        "jump: ops@10.0.0.9",
        "jump: 10.0.0.9",
        "8: provider.hosts[2].jump: not a bastion",
        "write user@address or user@address:port",
    ),
    "a fingerprint": (
        "address: 10.0.0.1}",
        "address: 10.0.0.1, host_key: SHA256:abc}",
        "6: provider.hosts[0].host_key: not a public host key",
        "copy a line of `ssh-keyscan ADDRESS` without its first word, after checking it on the host",
    ),
    "a host that costs nothing": (
        "address: 10.0.0.1}",
        "address: 10.0.0.1, price: 0}",
        "6: provider.hosts[0].price: not more than 0",
        "write more than 0",
    ),
    "a price with its currency": (
        "address: 10.0.0.1}",
        "address: 10.0.0.1, price: $0.10}",
        "6: provider.hosts[0].price: not a number",
        "write `price: 0.0864`",
    ),
    "no end of a price": (
        "address: 10.0.0.1}",
        "address: 10.0.0.1, price: .inf}",
        "6: provider.hosts[0].price: not a finite number",
        "write `price: 0.0864`",
    ),
    "a bare name": (
        "    - {name: alpha, address: 10.0.0.1}",
        "    - alpha",
        "6: provider.hosts[0]: not a mapping of keys",
        "write `{name: worker-1, address: 10.0.0.11}`",
    ),
}


@pytest.mark.parametrize(("old", "new", "message", "fix"), KEYS.values(), ids=KEYS)
def test_a_wrong_key_is_named_with_its_line_and_its_fix(old: str, new: str, message: str, fix: str) -> None:
    assert complaints(changed(LOCAL, old, new)) == [f"{message} -> {fix}"]


@pytest.mark.parametrize(("old", "new", "message", "fix"), HOSTS.values(), ids=HOSTS)
def test_a_wrong_host_is_named_by_its_number(old: str, new: str, message: str, fix: str) -> None:
    assert complaints(changed(STATIC, old, new)) == [f"{message} -> {fix}"]


def test_no_hosts_at_all_is_one_mistake() -> None:
    hosts = STATIC[STATIC.index("  hosts:") : STATIC.index("services:")]
    assert complaints(changed(STATIC, hosts, "  hosts: []\n")) == [
        "5: provider.hosts: empty -> write `hosts: [{name: worker-1, address: 10.0.0.11}]`"
    ]


def test_keys_of_a_pool_without_a_name_are_explained() -> None:
    text = changed(LOCAL, "  worker:\n", "").replace("    ", "  ")
    lines = complaints(text)
    fix = "a pool needs a name: put its keys one level deeper, below `worker:`"
    assert f"9: pools.count: not a mapping of keys -> {fix}" in lines


def test_a_pool_on_a_wrong_name_is_judged_as_well() -> None:
    text = changed(LOCAL, "  worker:\n    count: 2\n", "  Worker:\n") + "  heavy: {concurrency: 60, memory: 1GiB}\n"
    assert [line.split(" -> ")[0] for line in complaints(text)] == [
        "9: pools.Worker: not a usable name",
        "9: pools.Worker.count: missing",
        "14: pools.heavy.count: missing",
        "14: pools.heavy.memory: 60 slots of 24MiB and 128 MiB for the unit's main process need 1568 MiB, "
        "more than 1024 MiB",
    ]


def test_no_pool_is_one_mistake() -> None:
    assert complaints("name: a\nprovider: {kind: local}\npools: {}\n") == [
        "3: pools: empty -> write `pools: {worker: {count: 10, concurrency: 60}}`"
    ]
