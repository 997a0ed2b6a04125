"""Every check of `fleetctl health` by name, with what it claims. Pure."""

from __future__ import annotations

from collections.abc import Mapping

CHECKS: Mapping[str, str] = {
    "host.ssh": "the host exists, runs and answers over SSH",
    "host.probe": "what it answers can be read",
    "host.address": "its address leads to no other host of the fleet",
    "host.identity": "it is the machine that the inventory means, set up for this fleet under this name",
    "host.setup": "it is set up as fleet.yml says (drift: other roles, settings, app or secrets)",
    "host.load": "its processors keep up",
    "host.memory": "memory is left",
    "host.swap": "little is swapped out",
    "host.disk": "its disk has room",
    "host.disk.inodes": "its disk has inodes",
    "host.files": "file handles are left",
    "host.pids": "threads are left",
    "host.clock": "its clock is the fleet's",
    "host.oom": "the kernel has killed nothing for want of memory within a day",
    "host.reboot": "no update waits for a reboot",
    "host.systemd": "systemd answers, and no service has failed",
    "storage.mounted": "the shared storage is mounted, from the right server, writable",
    "storage.writable": "a file is written, flushed, read and removed there, in time",
    "storage.space": "the shared storage has room",
    "storage.space.inodes": "the shared storage has inodes",
    "redis.reached": "Redis lets this host in with its credentials, in time",
    "redis.service": "redis-server runs on its host",
    "redis.info": "Redis tells its figures",
    "redis.memory": "Redis has room for new jobs",
    "redis.policy": "Redis throws no job away when memory is short",
    "redis.persistence": "Redis keeps its log, and can write it",
    "redis.clients": "Redis has connections left",
    "redis.blocked": "no more programs wait at Redis than the fleet has",
    "postgres.reached": "Postgres lets this host in with the jobs' credentials, in time",
    "postgres.service": "Postgres runs on its host",
    "postgres.answers": "Postgres answers the fleet's agent",
    "postgres.connections": "Postgres has connections left",
    "postgres.transactions": "no transaction has been open for too long",
    "nfs.service": "nfs-server runs on its host",
    "nfs.exports": "the storage is exported to the fleet's hosts, and to nobody else",
    "nfs.threads": "the NFS server has the threads that were computed for the fleet",
    "docker.service": "Docker runs where it is enabled",
    "unit.state": "the unit runs, and does not end by itself",
    "unit.stranger": "no unit runs that fleet.yml does not ask for",
    "unit.process": "its main process is not stopped by a signal",
    "unit.children": "each slot has its process",
    "unit.memory": "it is below its limit of memory",
    "unit.tasks": "it is below its limit of threads",
    "unit.oom": "none of its processes was killed for want of memory",
    "unit.answers": "its heartbeat is fresh",
    "unit.identity": "its heartbeat comes from the machine that is meant",
    "unit.slots": "it has the slots that are meant",
    "unit.queues": "it serves its pool's queues",
    "unit.deaf": "it takes jobs when it has a free slot, and ends them when it has none",
    "jobs.overdue": "no job runs for longer than its pool's time limit",
    "jobs.stranded": "no job is in the hands of a unit that is gone",
    "jobs.quarantined": "no job is in quarantine",
    "queue.unserved": "every queue with jobs has a unit that serves it",
    "fleet.survey": "a host's agent can look at the broker",
    "fleet.strangers": "no unit takes jobs that is not of this fleet",
    "fleet.hosts": "the provider has no hosts that fleet.yml does not ask for",
    "fleet.drift": "it can be known here whether hosts are as fleet.yml says",
    "fleet.clock": "this computer's clock is its fleet's",
}


def unknown(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return those prefixes with which no check's name begins."""
    return tuple(prefix for prefix in prefixes if not any(name.startswith(prefix) for name in CHECKS))


def groups() -> tuple[str, ...]:
    """Return the first words of the checks' names, each once."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in CHECKS))
