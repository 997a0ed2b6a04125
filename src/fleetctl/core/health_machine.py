"""Is the host the machine that is meant, and has it room to work? Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.core.health_values import Finding, Level, Place, limit
from fleetctl.core.plan import CHANGING

LOAD = (4.0, 16.0)  # runnable a processor over 5 minutes: jobs take four times as long; so many that timers are late
MEMORY = (0.90, 0.96)  # in use: below a tenth the kernel throws caches away, below a twenty-fifth it kills soon
SWAP = 0.50  # in use: what is swapped out is what jobs will wait for
DISK = (0.85, 0.95)  # in use: ext4 keeps 5 % for root
FILES = (0.80, 0.95)  # of all handles: at the limit every open() of every process fails
PIDS = (0.80, 0.95)  # of all threads: at the limit no job starts a program
CLOCK_SECONDS = (1.0, 10.0)  # a heartbeat that is 15 s old counts as dead, by Redis' clock
OOM_SECONDS = 86_400.0  # a kill that is older than a day is history
SHARED = "shared kernel"


def rules(place: Place) -> Iterator[Finding]:
    """Yield every check of the machine itself."""
    yield _identity(place)
    yield _stamp(place)
    yield from _room(place)
    yield _clock(place)
    yield from _memory_kills(place)
    yield _reboot(place)
    yield from _systemd(place)


def _identity(place: Place) -> Finding:
    of = place.part("host")
    if of is None:
        return place.found("host.identity", "red", "did not say who it is", fix=place.ssh("cat /etc/machine-id"))
    machine, expected = of["machine_id"], place.host.machine_id
    cause = f"another machine answers at {place.host.address}"
    fix = f"fleetctl inventory --host {place.name}"
    if expected is not None and machine != expected:
        detail = f"machine id {machine}, the inventory means {expected}"
        return place.found("host.identity", "red", detail, cause=cause, fix=fix)
    if of.get("fleet_host") not in (None, place.name):
        detail = f"it was set up as {of['fleet_host']}"
        return place.found("host.identity", "red", detail, cause=cause, fix=fix)
    if of.get("fleet") not in (None, place.ground.spec.name):
        detail = f"it was set up for the fleet {of['fleet']}"
        return place.found("host.identity", "red", detail, cause="two fleets have this host", fix=fix)
    return place.found("host.identity", "green", f"machine id {machine}")


def _stamp(place: Place) -> Finding:
    stamp, wanted = (place.part("host") or {}).get("stamp"), place.ground.stamp(place.name)
    if stamp is None:
        cause = "no deploy has ended well on it"
        return place.found("host.setup", "red", "is not set up", cause=cause, fix="fleetctl deploy")
    if stamp == CHANGING:
        cause = "a deploy was interrupted, or runs now"
        return place.found("host.setup", "red", "is half set up", cause=cause, fix="fleetctl deploy")
    if wanted is None:
        detail = f"is set up; nobody knows whether as fleet.yml says: {place.ground.note}"
        return place.found("host.setup", "green", detail)
    if stamp != wanted:
        detail = "was set up from other roles, settings, app or secrets than fleet.yml says now"
        return place.found("host.setup", "yellow", detail, cause="drift", fix="fleetctl deploy")
    return place.found("host.setup", "green", "is as fleet.yml says")


def _room(place: Place) -> Iterator[Finding]:
    if load := place.part("load"):
        value = load["five"] / max(1, load["cpus"])
        level = limit(value, *LOAD) if load["source"] != SHARED else "green"
        detail = f"{load['five']:.1f} over 5 minutes on {load['cpus']} processors{_shared(load['source'])}"
        cause = "more runs than the processors can do"
        fix = f"fleetctl jobs {place.name}" if place.wanted.units else place.ssh("top -bn1 | head -20")
        yield place.found("host.load", level, detail, cause=cause, fix=fix)
    if memory := place.part("memory"):
        used = 1 - memory["available"] / memory["total"]
        fix = place.ssh("ps -eo rss,pid,user,args --sort=-rss | head")
        detail = f"{_gib(memory['available'])} of {_gib(memory['total'])} free{_shared(memory['source'])}"
        yield _share(place, "host.memory", used, MEMORY, detail, "memory is short: the kernel kills next", fix)
        if memory.get("swap_total") and memory["source"] != SHARED:
            share = 1 - memory["swap_free"] / memory["swap_total"]
            detail = f"{share:.0%} of {_gib(memory['swap_total'])} swap in use"
            yield _share(place, "host.swap", share, (SWAP, 2.0), detail, "memory was short", fix)
    if disk := place.part("disk"):
        yield from space(place, "host.disk", disk, "/", place.ssh("du -xh / | sort -h | tail -20"))
    for part, limits, what in (("files", FILES, "file handles"), ("pids", PIDS, "threads")):
        if of := place.part(part):
            share = of["used"] / of["limit"] if of["limit"] else 0.0
            detail = f"{of['used']} of {of['limit']} {what}{_shared(of['source'])}"
            fix = place.ssh("systemctl status --no-pager --lines=0 fleet-worker@*")
            yield _share(place, f"host.{part}", share, limits, detail, f"{what} run out", fix)


def space(place: Place, name: str, of: object, path: str, fix: str) -> Iterator[Finding]:
    """Yield what there is to say of a file system's bytes and inodes."""
    size: dict[str, int] = dict(of)  # type: ignore[call-overload]  # facts are JSON
    if size["total"]:
        share = 1 - size["available"] / size["total"]
        detail = f"{path} is {share:.0%} full, {_gib(size['available'])} left"
        yield _share(place, name, share, DISK, detail, "files have filled it", fix)
    if size["inodes"]:
        share = 1 - size["inodes_free"] / size["inodes"]
        detail = f"{path} has used {share:.0%} of its inodes"
        yield _share(place, f"{name}.inodes", share, DISK, detail, "many small files have filled it", fix)


def _clock(place: Place) -> Finding:
    skew = place.skew
    if skew is None:
        return place.found("host.clock", "yellow", "did not say the time", fix=place.ssh("date"))
    sure = max(0.0, abs(skew) - place.answer.uncertainty)
    level = limit(sure, *CLOCK_SECONDS)
    way = "ahead of" if skew > 0 else "behind"
    detail = f"{abs(skew):.3f} s {way} the fleet's clock, give or take {place.answer.uncertainty:.3f} s"
    cause = "nothing sets its clock: the host's time service is off or reaches no server"
    fix = place.ssh("systemctl restart systemd-timesyncd && timedatectl timesync-status")
    return place.found("host.clock", level, detail, cause=cause, fix=fix)


def _memory_kills(place: Place) -> Iterator[Finding]:
    of = place.part("oom")
    if of is None or of.get("kills") is None:
        return
    last, kills = of["last_seconds"], of["kills"]
    level: Level = "yellow" if kills and (last is None or last < OOM_SECONDS) else "green"
    when = f", the last {last / 3600:.1f} h ago" if last is not None else " since it started" if kills else ""
    fix = place.ssh("journalctl --dmesg --grep=oom-kill --lines=20")
    cause = "the kernel ended processes for want of memory"
    yield place.found("host.oom", level, f"{kills} kills{when}", cause=cause, fix=fix)


def _reboot(place: Place) -> Finding:
    if (place.part("host") or {}).get("needs_reboot"):
        fix = f"fleetctl drain {place.name} --wait && {place.ssh('systemctl reboot')}"
        if not place.wanted.units:
            fix = place.ssh("systemctl reboot")
        return place.found("host.reboot", "yellow", "needs a reboot", cause="packages were updated", fix=fix)
    return place.found("host.reboot", "green", "needs no reboot")


def _systemd(place: Place) -> Iterator[Finding]:
    if (why := place.answer.problems.get("systemd")) is not None:
        fix = place.ssh("systemctl is-system-running")
        yield place.found("host.systemd", "red", why, cause="systemd does not answer", fix=fix)
        return
    failed = [name for name in place.facts.get("failed", ()) if not name.startswith("fleet-worker@")]
    if failed:
        fix = place.ssh(f"systemctl status --no-pager {failed[0]}")
        yield place.found("host.systemd", "yellow", f"failed: {', '.join(failed)}", cause="services failed", fix=fix)
    else:
        yield place.found("host.systemd", "green", "no service has failed")


def _share(
    place: Place, name: str, share: float, limits: tuple[float, float], detail: str, cause: str, fix: str
) -> Finding:
    level = limit(share, *limits)
    return place.found(name, level, detail, cause=cause, fix=fix)


def _shared(source: str) -> str:
    return " (of the computer that it shares)" if source == SHARED else ""


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
