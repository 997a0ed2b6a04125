"""Is the fleet as a whole well: the broker, the database, queues, strangers, jobs in dead hands? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetctl.core.health_values import Finding, Ground, Level, Look, limit
from fleetctl.core.layout import WantedHost
from fleetctl.core.survey import Survey
from fleetctl.core.targets import node

MEMORY = (0.80, 0.95)  # of maxmemory: at the limit Redis refuses new jobs
CLIENTS = (0.80, 0.95)  # of the limit: at it, units and publishers are refused
BLOCKED_PER_UNIT = 4  # readers that wait: a unit has one, a program that waits for results one each
CONNECTIONS = (0.80, 0.95)  # of max_connections: at it, jobs are refused
TRANSACTION_SECONDS = 600.0  # beyond it and a job's time limit: it holds back VACUUM, and perhaps locks
_DIRECT = ".dq2"  # of queues for one unit (Celery's worker_direct)


def rules(wanted: Sequence[WantedHost], ground: Ground, look: Look) -> Iterator[Finding]:
    """Yield every check of the fleet as a whole."""
    if look.survey is None:
        cause = "no host that carries the app could ask Redis, so nothing is known of units and queues"
        yield Finding("fleet.survey", "red", look.error or "nobody answers", cause=cause, fix="fleetctl status")
    else:
        yield Finding("fleet.survey", "green", f"{look.helper or 'an agent'} has looked at the broker")
        yield from _strangers(wanted, look.survey)
        yield from _redis(ground, look.survey)
        yield from _hands(look.survey)
    yield from _unserved(wanted, ground, look)
    yield from _services(ground, look)


def _strangers(wanted: Sequence[WantedHost], survey: Survey) -> Iterator[Finding]:
    expected = {node(unit) for host in wanted for unit in host.units}
    hosts = {host.name for host in wanted}
    strangers = [beat for beat in survey.live if beat.name not in expected]
    for beat in strangers:
        detail = f"{beat.name} takes jobs of {', '.join(beat.queues)}"
        cause = "it is in no fleet.yml that was deployed from here"
        stop = f"fleetctl ssh {beat.host} 'systemctl disable --now fleet-worker@{beat.unit}'"
        fix = stop if beat.host in hosts else f"fleetctl drain unit:{beat.name}"
        yield Finding("fleet.strangers", "red", detail, None, beat.unit, cause, fix)
    if not strangers:
        yield Finding("fleet.strangers", "green", f"{len(survey.live)} units answer, and no stranger")


def _redis(ground: Ground, survey: Survey) -> Iterator[Finding]:
    info = survey.redis
    host = ground.spec.services.redis.host
    if info is None:
        yield Finding("redis.info", "yellow", "Redis does not tell its figures", cause="its user may not ask INFO",
                      fix="fleetctl deploy --converge")  # fmt: skip
        return

    def cli(command: str) -> str:
        return f"fleetctl ssh {host} 'redis-cli {command}'" if host else "fleetctl health --check redis --json"

    def number(name: str) -> int:
        try:
            return int(info.get(name) or 0)
        except (TypeError, ValueError):
            return 0

    used, most = number("used_memory"), number("maxmemory")
    if most:
        level = limit(used / most, *MEMORY)
        detail = f"{used / 2**20:.0f} of {most / 2**20:.0f} MiB"
        cause = "jobs and results fill it; at the limit new jobs are refused" if level != "green" else None
        yield Finding("redis.memory", level, detail, cause=cause, fix="fleetctl queues" if cause else None)
    else:
        yield Finding("redis.memory", "green", f"{used / 2**20:.0f} MiB, without a limit of its own")
    policy = str(info.get("maxmemory_policy") or "noeviction")
    if policy != "noeviction":
        cause = "when memory is short Redis throws jobs away"
        fix = "fleetctl deploy --converge" if host else "set maxmemory-policy noeviction on the external Redis"
        yield Finding("redis.policy", "red", f"maxmemory-policy {policy}", cause=cause, fix=fix)
    else:
        yield Finding("redis.policy", "green", "noeviction")
    yield _persistence(info, host)
    clients, limit_of = number("connected_clients"), number("maxclients")
    if limit_of:
        level = limit(clients / limit_of, *CLIENTS)
        cause = "at the limit units and publishers are refused" if level != "green" else None
        detail = f"{clients} of {limit_of} clients"
        yield Finding("redis.clients", level, detail, cause=cause, fix=cli("client list") if cause else None)
    blocked, units = number("blocked_clients"), len(survey.units)
    expected = BLOCKED_PER_UNIT * max(1, units) + 64
    level = "yellow" if blocked > expected else "green"
    cause = f"programs wait at it that are no units: {units} units have as many readers" if level != "green" else None
    detail = f"{blocked} clients wait for jobs or results"
    yield Finding("redis.blocked", level, detail, cause=cause, fix=cli("client list") if cause else None)


def _persistence(info: Mapping[str, Any], host: str | None) -> Finding:
    start = f"fleetctl ssh {host} 'systemctl restart redis-server'" if host else "fleetctl health --check redis"
    if str(info.get("loading")) in ("1", "True"):
        return Finding("redis.persistence", "yellow", "reads its data", cause="it has just started", fix=start)
    for name, what in (("aof_last_write_status", "log"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name) not in (None, "ok"):
            fix = f"fleetctl ssh {host} 'df -h /var/lib/redis; journalctl -u redis-server -n 20 --no-pager'"
            cause = "its disk is full or broken: it refuses new jobs"
            detail = f"its last {what} could not be written"
            return Finding("redis.persistence", "red", detail, cause=cause, fix=fix if host else start)
    if str(info.get("aof_enabled", "1")) in ("0", "False"):
        level: Level = "red" if host else "yellow"
        cause = "jobs that wait are lost when Redis ends"
        fix = "fleetctl deploy --converge" if host else "switch on appendonly on the external Redis"
        return Finding("redis.persistence", level, "keeps no log", cause=cause, fix=fix)
    return Finding("redis.persistence", "green", "keeps a log, and writes it well")


def _hands(survey: Survey) -> Iterator[Finding]:
    stranded = sum(queue.stranded for queue in survey.queues)
    silent = [beat for beat in survey.units if not survey.is_live(beat)]
    if stranded:
        hosts = list(dict.fromkeys(beat.host for beat in silent))
        of = f", of {', '.join(beat.name for beat in silent)}" if silent else ""
        cause = f"their units died or hang{of}; without help they run again after the visibility timeout"
        fix = f"fleetctl rescue {hosts[0]}" if hosts else "fleetctl audit"
        yield Finding("jobs.stranded", "red", f"{stranded} jobs are in dead hands", cause=cause, fix=fix)
    else:
        yield Finding("jobs.stranded", "green", "no job is in dead hands")
    if survey.quarantined:
        detail = f"{survey.quarantined} jobs are in quarantine"
        cause = "their processes died under them three times"
        yield Finding("jobs.quarantined", "yellow", detail, cause=cause, fix="fleetctl quarantine list")


def _unserved(wanted: Sequence[WantedHost], ground: Ground, look: Look) -> Iterator[Finding]:
    if look.survey is None:
        return
    served = {queue for beat in look.survey.live for queue in beat.queues}
    known = {queue for pool in ground.spec.pools.values() for queue in pool.queues}
    waiting = {queue.name: queue.queued for queue in look.survey.queues} | dict(look.strays or {})
    nodes = {node(unit) for host in wanted for unit in host.units} | {beat.name for beat in look.survey.live}
    bad = False
    for queue, length in sorted(waiting.items()):
        if queue in served or (queue.endswith(_DIRECT) and queue[: -len(_DIRECT)] in nodes):
            continue
        if queue in known:
            detail, cause = f"no unit serves {queue}, where {length} jobs wait", "its units do not answer"
            level: Level = "red" if length or not served else "yellow"
            yield Finding("queue.unserved", level, detail, cause=cause, fix="fleetctl health --check unit")
        elif length:
            detail = f"no pool serves {queue}, where {length} jobs wait"
            cause = "a publisher uses a name that is not in fleet.yml, or a pool has left it"
            target = ground.spec.default_queue
            fix = f"fleetctl queues move {queue} {target}"
            yield Finding("queue.unserved", "red", detail, cause=cause, fix=fix)
        else:
            continue
        bad = True
    if look.strays is None:
        detail = "nobody could list the queues"
        yield Finding("queue.unserved", "yellow", detail, cause=look.error, fix="fleetctl queues")
    elif not bad:
        yield Finding("queue.unserved", "green", f"every queue with jobs is served; {len(known)} are known")


def _services(ground: Ground, look: Look) -> Iterator[Finding]:
    of = (look.services or {}).get("postgres")
    host = ground.spec.services.postgres.host
    if of is None:
        return
    if of.get("error"):
        fix = f"fleetctl ssh {host} 'systemctl restart postgresql'" if host else "fleetctl health --check postgres"
        yield Finding("postgres.answers", "red", str(of["error"]), cause="it is down or refuses the fleet", fix=fix)
        return
    query = '"select pid, state, xact_start, left(query, 60) from pg_stat_activity order by xact_start limit 20"'
    look_at = f"fleetctl ssh {host} 'runuser -u postgres -- psql -c {query}'" if host else None
    look_at = look_at or "fleetctl health --check postgres --json"
    used, most = of.get("connections"), of.get("max_connections")
    if used is not None and most:
        level = limit(used / most, *CONNECTIONS)
        cause = "at the limit jobs are refused" if level != "green" else None
        detail = f"{used} of {most} connections"
        yield Finding("postgres.connections", level, detail, cause=cause, fix=look_at if cause else None)
    longest = of.get("longest_transaction_seconds") or 0.0
    most_seconds = max(TRANSACTION_SECONDS, *(float(pool.time_limit) for pool in ground.spec.pools.values()))
    level = "yellow" if longest > most_seconds else "green"
    cause = "a program has left a transaction open" if level != "green" else None
    detail = f"the longest transaction has taken {longest:.0f} s"
    yield Finding("postgres.transactions", level, detail, cause=cause, fix=look_at if cause else None)
