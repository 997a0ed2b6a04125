"""FleetSpec: everything that fleet.yml may say, with types, units, defaults and the relations between keys."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_SIZES = {"MiB": 1, "GiB": 1024}
_DURATIONS = {"s": 1, "m": 60, "h": 3600}


def _parse_size(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(MiB|GiB)", value.strip())):
        return int(float(match[1]) * _SIZES[match[2]])
    raise ValueError("write a size with its unit, such as 512MiB or 2GiB")


def _parse_duration(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*(s|m|h)", value.strip())):
        return int(match[1]) * _DURATIONS[match[2]]
    raise ValueError("write a duration with its unit, such as 90s, 15m or 1h")


MiB = Annotated[int, BeforeValidator(_parse_size, json_schema_input_type=str), Field(gt=0)]
Seconds = Annotated[int, BeforeValidator(_parse_duration, json_schema_input_type=str), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$")]
SecretRef = Annotated[str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]
Queue = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
AbsolutePath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]


class Model(BaseModel):
    """What all parts of the spec share: unknown keys refused, frozen, values never echoed in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LocalProvider(Model):
    """Real systemd machines on this computer."""

    kind: Literal["local"]
    machines: Literal["nspawn"] = "nspawn"
    subnet: str | None = Field(None, description="IPv4 network for the hosts, such as 10.99.0.0/24; picked free when absent")


class StaticHost(Model):
    """A machine that somebody else made."""

    name: Name
    address: str
    port: int = Field(22, ge=1, le=65535)
    user: str = "root"
    key: str | None = Field(None, description="private key file; the SSH agent and default keys when absent")
    become: bool = Field(False, description="use sudo; for a user other than root")
    jump: str | None = Field(None, description="bastion, user@address or user@address:port")
    host_key: str | None = Field(None, description="public host key, 'ssh-ed25519 AAAA...'; ~/.ssh/known_hosts when absent")
    pool: Name | None = Field(None, description="the pool that may place units here")


class StaticProvider(Model):
    """Machines that exist and stay."""

    kind: Literal["static"]
    hosts: tuple[StaticHost, ...] = Field(min_length=1)
    networks: tuple[str, ...] = Field((), description="CIDR ranges that may reach the services; the hosts' addresses when empty")


class Storage(Model):
    """The shared file system, mounted at `path` on every worker."""

    path: AbsolutePath = "/shared/fleet"
    jobs: str = Field("jobs", description="directory below path that apps find as JOBS_DIR")
    uploads: str = Field("uploads", description="directory below path that apps find as UPLOADS_DIR")

    @property
    def jobs_dir(self) -> str:
        return str(PurePosixPath(self.path) / self.jobs)

    @property
    def uploads_dir(self) -> str:
        return str(PurePosixPath(self.path) / self.uploads)


class NfsService(Model):
    """The NFS server: a host of the fleet, or an external export."""

    host: Name | None = None
    url: str | None = Field(None, description="external export, nfs://server/path")


class PostgresService(Model):
    """Postgres: a host of the fleet, or an external server."""

    host: Name | None = None
    url: str | None = Field(None, description="external server, postgresql://user@server:5432/database, without the password")
    password: SecretRef | None = Field(None, description="password of an external server: env:NAME or file:PATH")
    database: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "fleet"
    reserve: int = Field(50, ge=10, description="connections beyond one for each slot")
    max_connections: int | None = Field(None, ge=20, description="slots + reserve when absent")


class RedisService(Model):
    """Redis: a host of the fleet, or an external server."""

    host: Name | None = None
    url: str | None = Field(None, description="external server, redis://user@server:6379/0 or rediss://, without the password")
    password: SecretRef | None = Field(None, description="password of an external server: env:NAME or file:PATH")
    appendfsync: Literal["everysec", "always"] = Field(
        "everysec", description="everysec: a power cut may lose the last second of submissions; always: none, but slower"
    )
    max_memory: MiB | None = Field(None, description="refuse new jobs above this much; no limit when absent")


class Services(Model):
    """Where the three services run. Two with the same host share it."""

    nfs: NfsService = NfsService(host="nfs")
    postgres: PostgresService = PostgresService(host="postgres")
    redis: RedisService = RedisService(host="redis")


class Recycle(Model):
    """When a slot's process is replaced by a fresh one (prefork only)."""

    jobs: int | None = Field(None, ge=1)
    memory: MiB | None = None


class Pool(Model):
    """Units that serve the same queues with the same limits."""

    count: int = Field(description="units in all")
    per_host: int = Field(1, ge=1, le=64, description="units on one host")
    concurrency: int = Field(ge=1, le=1000, description="slots of one unit")
    queues: tuple[Queue, ...] = ("celery",)
    celery_pool: Literal["prefork", "threads", "solo"] = "prefork"
    cpus: float | None = Field(None, gt=0, description="processors that one unit may use; no limit when absent")
    memory: MiB | None = Field(None, description="memory that one unit may use; no limit when absent")
    slot_memory: MiB = Field(24, description="memory that one slot is expected to need", validate_default=False)
    time_limit: Seconds = Field(900, description="a job is killed after this", validate_default=False)
    soft_time_limit: Seconds | None = Field(None, description="a job is warned (SoftTimeLimitExceeded) after this")
    stop_timeout: Seconds | None = Field(None, description="how long a stopping unit waits for its jobs; time_limit + 60 s when absent")
    recycle: Recycle = Recycle()
    environment: dict[EnvName, str] = {}

    @property
    def hosts(self) -> int:
        """Hosts that `count` units need."""
        return -(-self.count // self.per_host)

    @property
    def stop_seconds(self) -> int:
        return self.stop_timeout or self.time_limit + 60


class App(Model):
    """The Celery application that the workers run, unchanged. Exactly one source, or none: then the built-in jobs alone."""

    path: str | None = Field(None, description="directory of a Python project, or of plain modules with a requirements.txt; relative to fleet.yml")
    wheel: str | None = Field(None, description="a wheel file; relative to fleet.yml")
    requirement: str | None = Field(None, description="a requirement for pip, such as reports==2.1")
    git: str | None = Field(None, description="a repository for pip, such as https://host/team/app.git@v1.2")
    module: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?$")] | None = Field(
        None, description="where the Celery app is, such as workers.app or workers.app:celery"
    )
    environment: dict[EnvName, str] = {}
    secrets: dict[EnvName, SecretRef] = Field({}, description="variables whose values come from env:NAME or file:PATH at deploy")


class FleetSpec(Model):
    """A fleet, as fleet.yml describes it."""

    name: Name
    provider: Annotated[LocalProvider | StaticProvider, Field(discriminator="kind")]
    storage: Storage = Storage()
    services: Services = Services()
    pools: dict[Name, Pool] = Field(min_length=1)
    app: App = App()

    @property
    def slots(self) -> int:
        return sum(pool.count * pool.concurrency for pool in self.pools.values())

    @property
    def visibility_timeout_seconds(self) -> int:
        """Twice the longest hard limit of the fleet, the same in every app on the broker: the shortest one wins."""
        return 2 * max(pool.time_limit for pool in self.pools.values())
