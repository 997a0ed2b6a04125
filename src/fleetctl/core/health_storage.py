"""Can the host use what the fleet shares: storage, Redis, Postgres; and do the services on it run? Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fleetctl.core.health_machine import space
from fleetctl.core.health_values import Finding, Level, Place, limit

STORAGE_SECONDS = (1.0, 60.0)  # to write, flush, read and remove a file: what a job with results waits for each
REDIS_SECONDS = (0.25, 60.0)  # to connect, log in and ping: on a quiet network a few ms
POSTGRES_SECONDS = (1.0, 60.0)  # the same; a login alone takes 4,096 rounds of SHA-256
_HUNG = "hung"  # the probe's word for what gave no answer
_SERVICES = {"nfs": ("nfs-server",), "redis": ("redis-server",), "postgres": ("postgresql@",)}  # group -> services
_REASONS = {
    "refused": "nothing listens there: the service is down",
    "timeout": "its host is down, frozen or cut off, or a firewall drops what it is sent",
    "unreachable": "the network does not lead there",
    "name": "its name is in no DNS that this host asks",
    "password": "the host's password is not the service's",
    "permission": "the service's access list lacks what the fleet needs",
    "credentials": "the host's credentials are damaged",
    "absent": "the host is not set up",
    "tls": "the certificate is not trusted, or the server offers no TLS",
    "loading": "it has just started and reads its data",
    "starting": "it has just started, or shuts down",
    "full": "all connections are taken",
    "closed": "the service or a firewall ended the connection",
}
_RESTART = frozenset({"refused", "closed"})
_CREDENTIALS = frozenset({"password", "credentials", "absent", "permission"})  # what a deploy writes anew


def rules(place: Place) -> Iterator[Finding]:
    """Yield every check of shared storage and services, as seen from this host."""
    yield from _storage(place)
    yield from _reach(place, "redis", REDIS_SECONDS)
    yield from _reach(place, "postgres", POSTGRES_SECONDS)
    yield from _running(place)
    yield from _exports(place)


def _storage(place: Place) -> Iterator[Finding]:
    of = place.part("storage")
    if of is None:
        if (why := place.answer.problems.get("storage")) is not None:
            yield place.found("storage.writable", "red", why, cause="the storage hangs", fix=_look(place))
        return
    meant, mount, path = place.ground.storage or {}, of["mount"], of["path"]
    is_client = meant.get("kind") == "nfs" and place.wanted.has_app and "nfs" not in place.wanted.groups
    kind = mount["type"] if mount else "part of another file system"
    if is_client:
        yield _mounted(place)
    if of["kind"] == "stale":
        cause = "the server has another file system under this name than when it was mounted"
        fix = place.ssh(f"umount --force --lazy {path}; systemctl restart fleet-worker@*")
        yield place.found("storage.writable", "red", f"{path}: stale file handle", cause=cause, fix=fix)
    elif of["kind"] == _HUNG:
        server = place.ground.spec.services.nfs.host if meant.get("kind") == "nfs" else None
        fix = f"fleetctl ssh {server} 'systemctl restart nfs-server'" if server and is_client else _look(place)
        cause = "the server of the storage does not answer" if is_client else "the file system does not answer"
        yield place.found("storage.writable", "red", f"{path} hangs: {of['error']}", cause=cause, fix=fix)
    elif of["error"] is not None:
        is_full = of["kind"] in ("ENOSPC", "EDQUOT")
        cause = "it is full" if is_full else "it is read-only" if of["kind"] == "EROFS" else "user fleet may not write"
        cause = "the host is not set up" if of["kind"] == "user" else cause
        fix = place.ssh(f"du -x {path} | sort -n | tail -20") if is_full else _look(place)
        yield place.found("storage.writable", "red", f"{path}: {of['error']}", cause=cause, fix=fix)
    else:
        level = limit(of["seconds"], *STORAGE_SECONDS)
        cause = "the server or the way to it is slow"
        detail = f"a file in {1000 * of['seconds']:.0f} ms on {path} ({kind})"
        yield place.found("storage.writable", level, detail, cause=cause, fix=_look(place))
    if of["space"]:
        yield from space(place, "storage.space", of["space"], path, place.ssh(f"du -x {path} | sort -n | tail -20"))


def _mounted(place: Place) -> Finding:
    of, meant = place.facts["storage"], place.ground.storage or {}
    path, mount = of["path"], of["mount"]
    source = f"{meant.get('server')}:{meant.get('export')}"
    fix = place.ssh(f"systemctl restart $(systemd-escape --path --suffix=automount {path}); ls -d {path}")
    if mount is None:
        cause = "its automount is off, so that jobs write to the host's own disk"
        return place.found("storage.mounted", "red", f"nothing is mounted at {path}", cause=cause, fix=fix)
    if mount["type"] == "autofs":
        cause = "the server does not answer the mount, or refuses it"
        return place.found("storage.mounted", "red", f"{path} waits for its mount", cause=cause, fix=fix)
    if not mount["type"].startswith("nfs") or mount["source"] != source:
        detail = f"{mount['source']} ({mount['type']}) is mounted at {path}, {source} is meant"
        return place.found("storage.mounted", "red", detail, cause="another file system is there", fix=fix)
    if mount["is_read_only"]:
        cause = "somebody mounted it so"
        return place.found("storage.mounted", "red", f"{path} is mounted read-only", cause=cause, fix=fix)
    return place.found("storage.mounted", "green", f"{source} ({mount['type']}) is mounted at {path}")


def _look(place: Place) -> str:
    path = (place.part("storage") or {}).get("path") or place.ground.spec.storage.path
    return place.ssh(f"grep {path} /proc/mounts; timeout -s KILL 10 ls -ld {path}")


def _reach(place: Place, name: str, limits: tuple[float, float]) -> Iterator[Finding]:
    of = place.part(name)
    if of is None:
        if (why := place.answer.problems.get(name)) is not None:
            yield place.found(f"{name}.reached", "red", why, fix=f"fleetctl health --check {name}")
        return
    if of["error"] is not None:
        detail = f"{of['server'] or name}: {of['error']}"
        cause = _REASONS.get(of["kind"])
        yield place.found(f"{name}.reached", "red", detail, cause=cause, fix=_fix(place, name, of["kind"]))
        return
    level = limit(of["seconds"], *limits)
    cause = "the service, the network or this host is slow"
    detail = f"{of['server']} lets the fleet in, in {1000 * of['seconds']:.0f} ms"
    fix = f"fleetctl health --check {name}"
    yield place.found(f"{name}.reached", level, detail, cause=cause, fix=fix)


def _fix(place: Place, name: str, kind: str) -> str:
    if kind in _CREDENTIALS:
        return "fleetctl deploy --converge"
    services = place.ground.spec.services
    server = services.redis.host if name == "redis" else services.postgres.host
    if server is None:
        return place.ssh(f"getent hosts {place.facts[name]['server'].rpartition(':')[0]}")
    if kind in _RESTART:
        unit = "redis-server" if name == "redis" else "postgresql"
        return f"fleetctl ssh {server} 'systemctl restart {unit}'"
    return f"fleetctl health --host {server}"


def _running(place: Place) -> Iterator[Finding]:
    services = place.facts.get("services")
    if services is None:
        return
    is_nfs = (place.ground.storage or {}).get("kind") == "nfs"
    for group in place.wanted.groups:
        for prefix in _SERVICES.get(group, ()) if group != "nfs" or is_nfs else ():
            found = {name: of for name, of in services.items() if name.startswith(prefix)}
            if not found:
                # systemd forgets a cluster's service when it is stopped
                is_postgres = prefix == "postgresql@"
                cause = "no cluster of it is started" if is_postgres else "it is not installed"
                fix = place.ssh("systemctl restart postgresql") if is_postgres else "fleetctl deploy --converge"
                detail = "no postgresql runs" if is_postgres else f"there is no {prefix}"
                yield place.found(f"{group}.service", "red", detail, cause=cause, fix=fix)
            for name, of in found.items():
                yield _service(place, f"{group}.service", name, of["state"], of["sub"])
    docker = services.get("docker")
    if docker and docker["is_enabled"]:
        yield _service(place, "docker.service", "docker", docker["state"], docker["sub"])


def _service(place: Place, check: str, name: str, state: str, sub: str) -> Finding:
    level: Level = "green" if state == "active" else "yellow" if state in ("activating", "reloading") else "red"
    if level == "green":
        return place.found(check, level, f"{name} runs")
    cause = "it was stopped" if state == "inactive" else "it failed" if state == "failed" else "it starts or stops"
    return place.found(
        check, level, f"{name} is {state} ({sub})", cause=cause, fix=place.ssh(f"systemctl start {name}")
    )


def _exports(place: Place) -> Iterator[Finding]:
    of, meant = place.part("exports"), place.ground.storage or {}
    if meant.get("kind") != "nfs" or "nfs" not in place.wanted.groups:
        return
    if of is None:
        why = place.answer.problems.get("exports", "it did not say")
        fix = place.ssh("systemctl restart nfs-server")
        yield place.found("nfs.exports", "red", why, cause="the kernel's NFS server does not answer", fix=fix)
        return
    nfs = place.ground.group("nfs")
    path = meant.get("export") or meant["path"]
    clients, found = set(nfs["fleet_nfs_clients"]), {client for where, client in of["exports"] if where == path}
    if missing := sorted(clients - found):
        detail = f"{path} is not exported to {', '.join(missing)}"
        cause = "the server has not read its exports, or they are of another fleet.yml"
        yield place.found("nfs.exports", "red", detail, cause=cause, fix=place.ssh("exportfs -ra"))
    elif surplus := sorted(found - clients):
        detail = f"{path} is exported to strangers: {', '.join(surplus)}"
        yield place.found("nfs.exports", "yellow", detail, cause="hosts have left the fleet", fix="fleetctl deploy")
    else:
        yield place.found("nfs.exports", "green", f"{path} is exported to {len(clients)} hosts")
    wanted, threads = nfs["fleet_nfs"]["threads"] or 0, of["threads"] or 0
    level: Level = "red" if not threads else "yellow" if threads < wanted else "green"
    fix = place.ssh("systemctl restart nfs-server")
    cause = "the server does not run" if not threads else "it was started with fewer"
    yield place.found("nfs.threads", level, f"{threads} of {wanted} threads", cause=cause, fix=fix)
