"""Limits of hosts and their units: memory, processors, files, processes, containers. Pure.

Measured with Celery 5.7 on Redis: the main process of a prefork unit holds 6 descriptors for each slot, and 19 beside.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.core.ceilings.ground import Ceiling, Ground, ceiling, unit_mib, worst
from fleetctl.core.hostfacts import HostFacts
from fleetctl.spec.models import LocalProvider, Pool

SYSTEM_MIB = 256  # of the operating system, beside the units
OPEN_FILES = 16384  # of each process of a unit, as the role celery_worker sets it
TASKS_PER_SLOT, TASKS_BESIDE = 64, 64  # processes and threads of a unit, as the role celery_worker sets them
PID_MAX, INOTIFY_INSTANCES = 4_194_304, 8192  # as the role base sets them where the kernel is the host's own
BRIDGE_PORTS = 1024  # of one Linux bridge (BR_MAX_PORTS)
_FILES_PER_SLOT = {"prefork": 6, "threads": 16, "solo": 16}  # without prefork, the jobs' own are in the same process
_FILES_BESIDE = 32
_SYSTEM_TASKS = 512


def _memory(ground: Ground) -> Iterator[Ceiling]:
    for name, pool in ground.then.pools.items():
        if pool.memory is not None:
            fix = f"write `pools.{name}.memory: {unit_mib(pool)}MiB` in fleet.yml, then: fleetctl deploy"
            yield ceiling("memory of a unit", f"pool {name}", pool.memory, unit_mib(pool), "MiB", fix)
    pools = ground.then.pools.values()
    if ground.shares_kernel:
        limit = min((f.memory_mib for f in ground.facts.values() if f.memory_mib), default=None)
        need = SYSTEM_MIB + sum(pool.count * unit_mib(pool) for pool in pools)
        most = None if limit is None else max(int((limit - SYSTEM_MIB) * ground.slots / (need - SYSTEM_MIB)), 0)
        fix = "lower pools.*.count or slot_memory, or use machines elsewhere (kind: static)"
        yield ceiling("memory of this computer", "fleet", limit, need, "MiB", fix, most_slots=most)
        return
    provider = ground.now.provider
    given = provider.memory if isinstance(provider, LocalProvider) else None

    def of_host(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling:
        need = SYSTEM_MIB + units * unit_mib(pool)
        fix = f"lower pools.{name}.concurrency or per_host, or give its hosts {need} MiB"
        limit = facts.memory_mib if facts is not None and facts.memory_mib else given
        return ceiling("memory of a host", "", limit, need, "MiB", fix)

    yield from worst(ground, of_host)


def _cpus(ground: Ground) -> Iterator[Ceiling]:
    limited = {name: pool.cpus for name, pool in ground.then.pools.items() if pool.cpus}
    if ground.shares_kernel:
        if limited:
            limit = min((facts.cpus for facts in ground.facts.values() if facts.cpus), default=None)
            need = sum(ground.then.pools[name].count * cpus for name, cpus in limited.items())
            fix = "lower pools.*.cpus or count: units wait for each other's processors"
            yield ceiling("processors of this computer", "fleet", limit, need, "vCPU", fix)
        return

    def of_host(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling | None:
        if pool.cpus is None:
            return None
        fix = f"lower pools.{name}.cpus or per_host, or use hosts with more processors"
        return ceiling("processors of a host", "", facts.cpus if facts else None, units * pool.cpus, "vCPU", fix)

    yield from worst(ground, of_host)


def _units(ground: Ground) -> Iterator[Ceiling]:
    def files(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling:
        del name, units
        need = _FILES_BESIDE + pool.concurrency * _FILES_PER_SLOT[pool.celery_pool]
        fix = f"set celery_worker_open_files (role celery_worker) to {2 * need}, then: fleetctl deploy"
        limit = facts.open_files if facts is not None and facts.open_files else OPEN_FILES
        return ceiling("open files of a unit (LimitNOFILE)", "", limit, need, "files", fix)

    def tasks(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling:
        del name, units
        need = 2 * pool.concurrency + 8  # a slot and one program of its job
        fix = "set celery_worker_tasks_per_slot (role celery_worker) higher, then: fleetctl deploy"
        limit = facts.tasks if facts is not None and facts.tasks else _most_tasks(pool)
        return ceiling("processes of a unit (TasksMax)", "", limit, need, "tasks", fix)

    yield from worst(ground, files)
    yield from worst(ground, tasks)


def _kernel(ground: Ground) -> Iterator[Ceiling]:
    def pids(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling:
        del name
        need = _SYSTEM_TASKS + units * _most_tasks(pool)
        if ground.shares_kernel:
            need = _SYSTEM_TASKS + sum(of.count * _most_tasks(of) for of in ground.then.pools.values())
        limit = facts.pid_max if facts is not None else None if ground.shares_kernel else PID_MAX
        return ceiling(
            "processes of the kernel (pid_max)", "", limit, need, "tasks", "sysctl -w kernel.pid_max=4194304"
        )

    def watches(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling:
        del name
        limit = facts.inotify_instances if facts is not None else None if ground.shares_kernel else INOTIFY_INSTANCES
        need = 64 + units * pool.concurrency
        return ceiling(
            "inotify instances", "", limit, need, "instances", f"sysctl -w fs.inotify.max_user_instances={2 * need}"
        )

    yield from worst(ground, pids)
    yield from worst(ground, watches)


def _docker(ground: Ground) -> Iterator[Ceiling]:
    def networks(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling | None:
        del name
        if facts is None or not facts.has_docker:
            return None
        fix = 'write "default-address-pools": [{"base": "100.64.0.0/10", "size": 24}] in /etc/docker/daemon.json'
        need = units * pool.concurrency
        return ceiling("Docker networks, one for each job", "", facts.docker_networks, need, "networks", fix)

    def ports(name: str, pool: Pool, units: int, facts: HostFacts | None) -> Ceiling | None:
        if facts is None or not facts.has_docker:
            return None
        fix = f"lower pools.{name}.concurrency or per_host"
        return ceiling("ports of a Docker bridge", "", BRIDGE_PORTS, units * pool.concurrency, "ports", fix)

    yield from worst(ground, networks)
    yield from worst(ground, ports)


def _most_tasks(pool: Pool) -> int:
    return pool.concurrency * TASKS_PER_SLOT + TASKS_BESIDE


SOURCES = (_memory, _cpus, _units, _kernel, _docker)
