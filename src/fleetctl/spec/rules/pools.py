"""What must hold within a pool: slots fit the memory, limits are in order, settings have an effect."""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.models import FleetSpec, Pool
from fleetctl.spec.rules.app import check_environment
from fleetctl.spec.shapes import show_duration, show_size

_KOMBU = ("unacked", "_kombu")  # beginnings of keys that kombu keeps in Redis
MAIN_PROCESS_MIB = 128  # of a unit, beside its slots
GRACE_SECONDS = 60  # between the hard limit of the last job and the end of a stopping unit
RESERVED = frozenset(
    {"nfs", "postgres", "redis", "apps", "clients", "workers", "all", "ungrouped"}
)  # groups of the inventory


def check(spec: FleetSpec) -> Iterator[Finding]:
    """Check each pool by itself."""
    for name, pool in spec.pools.items():
        loc: Loc = ("pools", name)
        if name in RESERVED:
            yield Finding(loc, "the inventory has a group of this name", f"rename it, for example {name}-pool")
        for index, queue in enumerate(pool.queues):
            if queue.startswith(_KOMBU):
                yield Finding((*loc, "queues", index), "Celery keeps its own books under this name", "use another name")
        yield from _check_memory(pool, loc)
        yield from _check_limits(pool, loc)
        if pool.celery_pool != "prefork":
            yield from _check_unenforced(pool, loc)
        yield from check_environment(pool.environment, (*loc, "environment"))


def _check_memory(pool: Pool, loc: Loc) -> Iterator[Finding]:
    need = pool.concurrency * pool.slot_memory + MAIN_PROCESS_MIB
    if pool.memory is None or need <= pool.memory:
        return
    fitting = (pool.memory - MAIN_PROCESS_MIB) // pool.slot_memory
    yield Finding(
        (*loc, "memory"),
        f"{pool.concurrency} slots of {show_size(pool.slot_memory)} and {MAIN_PROCESS_MIB} MiB for the unit's main "
        f"process need {need} MiB, more than {pool.memory} MiB",
        f"write `memory: {need}MiB` or more" + (f", or `concurrency: {fitting}` or less" if fitting >= 1 else ""),
        reads=((*loc, "concurrency"), (*loc, "slot_memory")),
    )


def _check_limits(pool: Pool, loc: Loc) -> Iterator[Finding]:
    limit = pool.time_limit
    reads: tuple[Loc, ...] = ((*loc, "time_limit"), (*loc, "celery_pool"))
    # A threads or solo unit does not enforce time_limit; what is made from it holds all the same.
    if pool.stop_timeout is not None and pool.stop_timeout <= limit:
        yield Finding(
            (*loc, "stop_timeout"),
            f"{show_duration(pool.stop_timeout)} is not longer than a job may run, {show_duration(limit)}: "
            "a stop would kill running jobs",
            f"write `stop_timeout: {show_duration(limit + GRACE_SECONDS)}` (time_limit + {GRACE_SECONDS} s) "
            "or leave it out",
            reads,
        )
    if pool.soft_time_limit is not None and pool.soft_time_limit >= limit:
        yield Finding(
            (*loc, "soft_time_limit"),
            f"{show_duration(pool.soft_time_limit)} is no warning before the hard limit, {show_duration(limit)}",
            "write less than time_limit, or leave it out",
            reads,
        )


def _check_unenforced(pool: Pool, loc: Loc) -> Iterator[Finding]:
    """Refuse what Celery enforces in prefork pools alone."""
    reads: tuple[Loc, ...] = ((*loc, "celery_pool"),)
    for key in ("soft_time_limit", "recycle"):
        if key in pool.model_fields_set and getattr(pool, key) is not None:
            yield Finding(
                (*loc, key),
                f"not enforced with `celery_pool: {pool.celery_pool}`",
                "remove it, or use `celery_pool: prefork`",
                reads,
            )
    if pool.celery_pool == "solo" and pool.concurrency != 1:
        yield Finding(
            (*loc, "concurrency"), "a solo unit runs one job at a time", "write `concurrency: 1`; raise count", reads
        )
