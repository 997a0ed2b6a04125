"""Services: a host of the fleet or an external URL, never both; passwords by reference only; enough connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.models import FleetSpec, NfsService, PostgresService, RedisService

_SCHEMES = {"nfs": ("nfs",), "postgres": ("postgresql", "postgres"), "redis": ("redis", "rediss")}
_FORMS = {
    "nfs": "nfs://server/path",
    "postgres": "postgresql://user@server:5432/database",
    "redis": "redis://user@server:6379/0",
}
_OWN_ONLY = {
    "nfs": ("device", "threads", "lease_seconds"),
    "postgres": ("database", "reserve", "max_connections"),
    "redis": ("appendfsync", "max_memory"),
}
SPARE_CONNECTIONS = 10


def check(spec: FleetSpec, directory: Path) -> Iterator[Finding]:
    """Check each service by itself, then Postgres against the slots. `directory` is where fleet.yml is."""
    for name in ("nfs", "postgres", "redis"):
        service = getattr(spec.services, name)
        loc: Loc = ("services", name)
        host, url = (*loc, "host"), (*loc, "url")
        is_mounted = isinstance(service, NfsService) and service.mounted
        if is_mounted and (service.host or service.url):
            fix = "keep mounted where something else mounts it, host or url where fleetctl does"
            yield Finding((*loc, "mounted"), "beside host or url", fix, (host, url))
        elif service.host and service.url:
            yield Finding(loc, "both host and url", "keep host for one of the fleet's own, url for an external one")
        elif service.host is None and service.url is None and not is_mounted:
            yield Finding(loc, "neither host nor url", f"add `host: {name}`, or `url: {_FORMS[name]}`", (host, url))
        if service.url:
            yield from _check_url(name, service.url, url)
            for key in _OWN_ONLY[name]:
                if key in service.model_fields_set:
                    fix = "remove it: an external server has settings of its own"
                    yield Finding((*loc, key), "has no effect with url", fix, (url,))
        if isinstance(service, NfsService):
            yield from _check_nfs(service, loc)
        else:
            yield from _check_password(service, loc)
    yield from _check_ca(spec, directory)
    yield from _check_connections(spec)


def _check_nfs(nfs: NfsService, loc: Loc) -> Iterator[Finding]:
    if nfs.mounted:
        for key in (*_OWN_ONLY["nfs"], "version"):
            if key in nfs.model_fields_set:
                fix = "remove it: who mounts the storage has settings of its own"
                yield Finding((*loc, key), "has no effect with mounted", fix, ((*loc, "mounted"),))
    elif nfs.host and "version" in nfs.model_fields_set:
        fix = "remove it: the fleet's own server speaks 4.2 alone"
        yield Finding((*loc, "version"), "has no effect with host", fix, ((*loc, "host"),))


def _check_ca(spec: FleetSpec, directory: Path) -> Iterator[Finding]:
    loc: Loc = ("services", "ca")
    if spec.services.ca is None:
        return
    file = directory / Path(spec.services.ca).expanduser()
    if not spec.services.postgres.url and not spec.services.redis.url:
        fix = "remove it: the fleet's own services are reached inside of its network"
        reads = (("services", "postgres"), ("services", "redis"))
        yield Finding(loc, "has no effect without an external Postgres or Redis", fix, reads)
    elif not file.is_file() or "-----BEGIN CERTIFICATE-----" not in file.read_text(errors="replace"):
        yield Finding(loc, f"no certificates in {file}", "name a file of PEM certificates, relative to fleet.yml")


def _check_password(service: PostgresService | RedisService, loc: Loc) -> Iterator[Finding]:
    password, url = (*loc, "password"), (*loc, "url")
    if service.url and service.password is None:
        yield Finding(url, "has no password", f"add `password: env:{str(loc[-1]).upper()}_PASSWORD`", (password,))
    if service.password is not None and not service.url:
        fix = "remove it: fleetctl generates the passwords of the fleet's own services"
        yield Finding(password, "has no effect without url", fix, (url,))


def _check_url(name: str, url: str, loc: Loc) -> Iterator[Finding]:
    """Check an external address. Nothing of it is repeated: it may hold a password."""
    form = _FORMS[name]
    if _has_password(url):
        fix = f"write `{form}` and `password: env:NAME`; then change that password, it stood in a file"
        yield Finding(loc, "holds a password", fix)
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield Finding(loc, "not a URL", f"write `{form}`")
        return
    if parts.scheme not in _SCHEMES[name]:
        yield Finding(
            loc, f"not a URL of {' or '.join(f'{scheme}://' for scheme in _SCHEMES[name])}", f"write `{form}`"
        )
        return
    if not parts.hostname:
        yield Finding(loc, "names no server", f"write `{form}`")
    if port == 0:
        yield Finding(loc, "0 is no port", f"write `{form}`")
    if name != "nfs" and not parts.username:
        fix = f"write `{form}`" + (", with user default if the server has only a password" if name == "redis" else "")
        yield Finding(loc, "names no user", fix)
    if name == "postgres" and not re.fullmatch(r"/[^/]+", parts.path):
        yield Finding(loc, "names no database", f"write `{form}`")
    if name == "redis" and not re.fullmatch(r"(/[0-9]*)?", parts.path):
        yield Finding(loc, "the path is not the number of a database", f"write `{form}`")
    if name == "nfs" and not re.fullmatch(r"/|(/[A-Za-z0-9._-]+)+/?", parts.path):
        yield Finding(loc, "names no exported directory", f"write `{form}`")


def _has_password(url: str) -> bool:
    authority, at, _ = url.partition("://")[2].rpartition("@")
    if at and ":" in authority:
        return True
    return any("pass" in key.lower() for key in parse_qs(url.partition("?")[2], keep_blank_values=True))


def _check_connections(spec: FleetSpec) -> Iterator[Finding]:
    service = spec.services.postgres
    need = spec.slots + SPARE_CONNECTIONS
    if service.host is None or service.max_connections is None or service.max_connections >= need:
        return
    yield Finding(
        ("services", "postgres", "max_connections"),
        f"{service.max_connections} connections are too few for {spec.slots} slots and {SPARE_CONNECTIONS} to spare",
        f"write `max_connections: {spec.slots + service.reserve}`, or leave it out",
        tuple(("pools", name, key) for name in spec.pools for key in ("count", "concurrency")),
    )
