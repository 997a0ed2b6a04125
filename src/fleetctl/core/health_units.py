"""Do the host's units run, and do they work? What systemd says of each, and what the broker says. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.core.health_values import Facts, Finding, Level, Look, Place, limit
from fleetctl.core.survey import Heartbeat, Survey
from fleetctl.core.targets import node
from fleetctl.model import Unit
from fleetctl.spec.models import Pool

RESTARTS = 3  # by itself within RESTART_SECONDS: it ends whenever it starts
RESTART_SECONDS = 3600.0  # a restart that is older is history
YOUNG_SECONDS = 60.0  # a unit that has just started has neither all its processes nor a heartbeat
MEMORY = (0.90, 0.97)  # of its limit: above, a job's process is killed next
TASKS = (0.90, 0.98)  # of its limit: above, no job starts a program
DEAF_SECONDS = 15.0  # the longest that a unit with a free slot may leave a waiting job
CANARY_SECONDS = 5.0  # for a job that does nothing, sent to an idle unit: 0.01 s where all is well
LATE_SECONDS = 60.0  # after its time limit a job has been killed, and its slot is free again


def rules(place: Place) -> Iterator[Finding]:
    """Yield every check of the host's units."""
    units = place.facts.get("units")
    for unit in place.wanted.units:
        of = units.get(unit.name) if units is not None else None
        if units is not None:
            yield _state(place, unit, of)
        if of is not None and of["state"] == "active":
            yield from _process(place, unit, of)
        if place.look.survey is not None:
            yield from _work(place, unit, place.look.survey, of)
    wanted = {unit.name for unit in place.wanted.units}
    for name, of in (units or {}).items():
        if name not in wanted and of["state"] in ("active", "activating"):
            fix = "fleetctl deploy"
            cause = "it was to be retired, or fleet.yml has changed"
            detail = f"fleet-worker@{name} runs, which fleet.yml does not ask for"
            yield Finding("unit.stranger", "red", detail, place.name, name, cause, fix)


def _state(place: Place, unit: Unit, of: Facts | None) -> Finding:
    service = f"fleet-worker@{unit.name}"
    start, log = place.ssh(f"systemctl start {service}"), place.ssh(f"journalctl -u {service} -n 50 --no-pager")
    if of is None or of["load"] != "loaded" or (of["state"] == "inactive" and not of["is_enabled"]):
        cause = "the host is not set up for it"
        return place.found(
            "unit.state", "red", f"there is no {service}", unit=unit, cause=cause, fix="fleetctl deploy --converge"
        )
    state, restarts = of["state"], of["restarts"] or 0
    said = f"{state} ({of['sub']})"
    if of["sub"] == "auto-restart":
        detail = f"{said}, started {restarts} times, ended with {of['result']}"
        return place.found("unit.state", "red", detail, unit=unit, cause="it ends whenever it starts", fix=log)
    if of["sub"] == "start-pre":
        cause = "it waits for the shared storage"
        fix = "fleetctl health --check storage"
        return place.found("unit.state", "red", said, unit=unit, cause=cause, fix=fix)
    if state == "inactive":
        return place.found("unit.state", "red", said, unit=unit, cause="it was stopped", fix=start)
    if state == "failed":
        return place.found("unit.state", "red", f"{said}: {of['result']}", unit=unit, cause="it failed", fix=start)
    if state != "active":
        cause = "it stops when its jobs are done" if state == "deactivating" else "it starts or stops"
        return place.found("unit.state", "yellow", said, unit=unit, cause=cause, fix=log)
    recent = of["active_seconds"] is not None and of["active_seconds"] < RESTART_SECONDS
    if restarts and recent:
        level: Level = "red" if restarts >= RESTARTS else "yellow"
        detail = f"runs, after {restarts} ends by itself, for {of['active_seconds']:.0f} s"
        return place.found("unit.state", level, detail, unit=unit, cause="it ended without having been told", fix=log)
    return place.found("unit.state", "green", "runs", unit=unit)


def _process(place: Place, unit: Unit, of: Facts) -> Iterator[Finding]:
    service = f"fleet-worker@{unit.name}"
    if of["process"] in ("T", "t"):
        fix = place.ssh(f"systemctl kill --kill-whom=main --signal=CONT {service}")
        detail = f"process {of['pid']} is stopped"
        yield place.found("unit.process", "red", detail, unit=unit, cause="somebody sent it SIGSTOP", fix=fix)
    else:
        yield place.found("unit.process", "green", f"process {of['pid']}", unit=unit)
    pool = place.ground.spec.pools.get(unit.pool)
    is_old = (of["active_seconds"] or 0) > YOUNG_SECONDS
    if pool is not None and pool.celery_pool == "prefork" and of["children"] is not None:
        lacks = max(0, unit.concurrency - of["children"])
        level: Level = "green" if not lacks or not is_old else "red" if lacks == unit.concurrency else "yellow"
        detail = f"{of['children']} processes for {unit.concurrency} slots"
        why, then = "slots' processes died and were not replaced", f"fleetctl restart {unit.name}"
        yield place.found("unit.children", level, detail, unit=unit, cause=why, fix=then)
    for what, limits, cause in (("memory", MEMORY, "its jobs need more"), ("tasks", TASKS, "its jobs start too many")):
        used, most = of[what], of[f"{what}_limit"]
        if used is not None and most:
            level = limit(used / most, *limits)
            detail = (
                f"{used / 2**20:.0f} of {most / 2**20:.0f} MiB" if what == "memory" else f"{used} of {most} threads"
            )
            then = f"fleetctl jobs {place.name}"
            yield place.found(f"unit.{what}", level, detail, unit=unit, cause=cause, fix=then)
    if of["oom_kills"]:
        fix = place.ssh(f"journalctl -u {service} --grep=oom -n 20 --no-pager")
        cause = "jobs took more memory than the unit may use"
        detail = f"{of['oom_kills']} processes killed for want of memory since it started"
        yield place.found("unit.oom", "yellow", detail, unit=unit, cause=cause, fix=fix)


def _work(place: Place, unit: Unit, survey: Survey, of: Facts | None) -> Iterator[Finding]:
    beat = next((beat for beat in survey.units if beat.name == node(unit)), None)
    answers = _answers(place, unit, survey, beat, of)
    yield answers
    if beat is None or not survey.is_live(beat):
        return
    expected = place.host.machine_id
    if expected and beat.machine and beat.machine != expected:
        detail = f"a unit of this name runs on the machine {beat.machine}"
        fix = f"fleetctl inventory --host {place.name}"
        yield place.found("unit.identity", "red", detail, unit=unit, cause="two machines have one name", fix=fix)
    if beat.slots != unit.concurrency:
        level: Level = "red" if beat.slots < unit.concurrency else "yellow"
        detail = f"{beat.slots} slots, {unit.concurrency} are meant"
        cause = "it was started with other settings"
        yield place.found("unit.slots", level, detail, unit=unit, cause=cause, fix=f"fleetctl restart {unit.name}")
    else:
        yield place.found("unit.slots", "green", f"{beat.slots} slots", unit=unit)
    pool = place.ground.spec.pools.get(unit.pool)
    yield from _queues(place, unit, beat)
    yield _hearing(place, unit, beat)
    if pool is not None:
        yield from _jobs(place, unit, beat, pool, survey.now)


def _answers(place: Place, unit: Unit, survey: Survey, beat: Heartbeat | None, of: Facts | None) -> Finding:
    if beat is not None and survey.is_live(beat):
        last = f", the last job ended {survey.now - beat.last_finished:.0f} s ago" if beat.last_finished else ""
        return place.found("unit.answers", "green", f"answers, {beat.busy} of {beat.slots} slots busy{last}", unit=unit)
    is_young = of is not None and (of["active_seconds"] or YOUNG_SECONDS) < YOUNG_SECONDS
    level: Level = "yellow" if is_young else "red"
    if beat is None:
        detail, cause = "the broker has no sign of it", "it does not run, or does not reach Redis"
    else:
        detail, cause = f"silent for {survey.now - beat.at:.0f} s", "its main process hangs, or does not reach Redis"
    cause = "it has just started" if is_young else cause
    if of is not None and of["process"] in ("T", "t"):
        fix = place.ssh(f"systemctl kill --kill-whom=main --signal=CONT fleet-worker@{unit.name}")
        return place.found("unit.answers", level, detail, unit=unit, cause="its process is stopped", fix=fix)
    if of is not None and of["state"] in ("inactive", "failed"):
        fix = place.ssh(f"systemctl start fleet-worker@{unit.name}")
        return place.found("unit.answers", level, detail, unit=unit, cause="it does not run", fix=fix)
    fix = place.ssh(f"systemctl restart fleet-worker@{unit.name}") if place.facts else f"fleetctl rescue {place.name}"
    return place.found("unit.answers", level, detail, unit=unit, cause=cause, fix=fix)


def _queues(place: Place, unit: Unit, beat: Heartbeat) -> Iterator[Finding]:
    known = {queue for pool in place.ground.spec.pools.values() for queue in pool.queues}
    restart = f"fleetctl restart {unit.name}"
    if not known.intersection(beat.queues):
        detail = f"serves {', '.join(beat.queues) or 'nothing'}, which no pool has"
        cause = "it was started with other settings, or told to serve others"
        yield place.found("unit.queues", "red", detail, unit=unit, cause=cause, fix=restart)
    elif missing := sorted(set(unit.queues) - set(beat.queues)):
        detail = f"does not serve {', '.join(missing)}"
        cause = "it was told to leave them, or was started before they were in fleet.yml"
        yield place.found("unit.queues", "red", detail, unit=unit, cause=cause, fix=restart)
    else:
        yield place.found("unit.queues", "green", f"serves {', '.join(beat.queues)}", unit=unit)


def _hearing(place: Place, unit: Unit, beat: Heartbeat) -> Finding:
    """Judge whether a unit that is alive takes jobs: by what waits for it, and by a job sent to it alone."""
    look = place.look
    assert look.survey is not None  # noqa: S101  # the caller's
    restart = place.ssh(f"systemctl restart fleet-worker@{unit.name}")
    cause = "its consumer has lost its connection and does not know"
    if beat.name in look.canary and look.canary[beat.name] is None and not _was_taken(beat, look):
        detail = f"a free slot, and a job sent to it alone did not run within {CANARY_SECONDS:g} s"
        return place.found("unit.deaf", "red", detail, unit=unit, cause=cause, fix=restart)
    if look.survey.is_draining(beat):
        fix = f"fleetctl undrain {place.name}"
        return place.found("unit.deaf", "green", f"drained: takes no new job until `{fix}`", unit=unit)
    if has_free_slot(beat) and (queue := _ignored(look.survey, beat)):
        detail = f"{free_slots(beat)} free slots, and has taken nothing of {queue} for {DEAF_SECONDS:g} s"
        return place.found("unit.deaf", "red", detail, unit=unit, cause=cause, fix=restart)
    took = look.canary.get(beat.name)
    said = f"a canary job ran in {took:.2f} s" if took is not None else "takes jobs"
    return place.found("unit.deaf", "green", said, unit=unit)


def free_slots(beat: Heartbeat) -> int:
    """Return how many slots have no job."""
    return max(0, beat.slots - beat.busy - beat.reserved)


def has_free_slot(beat: Heartbeat) -> bool:
    return free_slots(beat) > 0


def _ignored(survey: Survey, beat: Heartbeat) -> str | None:
    """Return a queue of the unit in which jobs have waited too long while it received none, None without one."""
    quiet = survey.now - max(beat.last_received or 0.0, beat.since)
    if quiet < DEAF_SECONDS:
        return None
    for queue in survey.queues:
        waited = survey.now - queue.oldest_at if queue.oldest_at is not None else quiet
        if queue.name in beat.queues and queue.queued and waited >= DEAF_SECONDS:
            return queue.name
    return None


def _was_taken(beat: Heartbeat, look: Look) -> bool:
    """Tell whether the unit received jobs while the canary waited: then its slots were taken, and it hears."""
    later = look.later or look.survey
    again = next((other for other in later.units if other.name == beat.name), beat) if later else beat
    return again.received > beat.received or not has_free_slot(again)


def _jobs(place: Place, unit: Unit, beat: Heartbeat, pool: Pool, now: float) -> Iterator[Finding]:
    most = pool.time_limit + LATE_SECONDS
    late = [job for job in beat.jobs if job.started is not None and now - job.started > most]
    kills = pool.celery_pool == "prefork"
    if late:
        job = late[0]
        ran = now - (job.started or now)
        detail = f"{len(late)} jobs run for longer than {pool.time_limit} s, {job.id} for {ran:.0f} s"
        cause = "the time limit was not enforced" if kills else f"{pool.celery_pool} pools do not enforce time limits"
        yield place.found(
            "jobs.overdue", "red" if kills else "yellow", detail, unit=unit, cause=cause, fix=f"fleetctl job {job.id}"
        )
    quiet = now - max(beat.last_finished or 0.0, beat.last_received or 0.0, beat.since)
    if beat.slots and beat.busy >= beat.slots and quiet > most and (kills or not late):
        detail = f"all {beat.slots} slots are taken, and no job has ended for {quiet:.0f} s"
        cause = "jobs should have ended by their time limit: the unit does not notice"
        fix = place.ssh(f"systemctl restart fleet-worker@{unit.name}")
        yield place.found("unit.deaf", "red", detail, unit=unit, cause=cause, fix=fix)
