"""FleetSpec: everything that fleet.yml may say, with types, units and defaults; rules/ relates the keys."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fleetctl.spec.shapes import (
    AbsolutePath,
    Address,
    Database,
    Device,
    EnvName,
    EnvValue,
    Flag,
    HostKey,
    Jump,
    Line,
    MiB,
    Module,
    Name,
    Network,
    NfsVersion,
    Number,
    Queue,
    RelativePath,
    Seconds,
    SecretRef,
    TaskPattern,
    User,
    Whole,
)


class Model(BaseModel):
    """What all parts of the spec share: unknown keys refused, frozen, values never echoed in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LocalProvider(Model):
    """Real systemd machines on this computer."""

    kind: Literal["local"] = Field(description="local: real systemd machines on this computer")
    machines: Literal["nspawn", "uml"] = Field(
        default="nspawn",
        description="kind of machine; nspawn: containers that boot systemd and share this computer's kernel and one "
        "directory of it; uml: user-mode Linux: each has a kernel of its own, so that NFS is real",
    )
    memory: MiB = Field(
        default="512MiB",
        validate_default=True,
        description="memory of each uml machine, 256MiB or more; nspawn machines share this computer's",
        examples=["512MiB"],
    )
    subnet: Network | None = Field(
        default=None, description="private IPv4 network of the hosts, prefix 24 to 28; a free one is picked when absent"
    )


class StaticHost(Model):
    """A machine that somebody else made."""

    name: Name = Field(description="name of the host in the fleet", examples=["worker-1"])
    address: Address = Field(
        description="IPv4 address by which the fleet's other hosts reach it", examples=["10.0.0.11"]
    )
    port: Whole = Field(default=22, ge=1, le=65535, description="port of its SSH server")
    user: User = Field(default="root", description="user to log in as", examples=["admin"])
    key: Line | None = Field(
        default=None,
        description="private key file, relative to fleet.yml or ~; the SSH agent and default keys when absent",
        examples=["~/.ssh/id_ed25519"],
    )
    become: Flag = Field(default=False, description="use sudo, without a password; for a user other than root")
    jump: Jump | None = Field(
        default=None, description="bastion, user@address or user@address:port", examples=["admin@203.0.113.5"]
    )
    host_key: HostKey | None = Field(
        default=None,
        description="its public host key, 'ssh-ed25519 AAAA...'; ~/.ssh/known_hosts must know it when absent",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"],
    )
    pool: Name | None = Field(default=None, description="the pool that may place units here", examples=["worker"])
    price: Number | None = Field(
        default=None,
        gt=0,
        description="what it costs, USD an hour: `fleetctl capacity` makes costs of it; not known when absent",
        examples=[0.0864],
    )


class StaticProvider(Model):
    """Machines that exist and stay."""

    kind: Literal["static"] = Field(description="static: machines that you have")
    hosts: tuple[StaticHost, ...] = Field(
        min_length=1, description="the machines", examples=[[{"name": "worker-1", "address": "10.0.0.11"}]]
    )
    networks: tuple[Network, ...] = Field(
        default=(),
        description="CIDR ranges that may reach the services; the hosts' addresses alone when empty",
        examples=[["10.0.0.0/24"]],
    )


class Storage(Model):
    """The shared file system, mounted at `path` on every worker."""

    path: AbsolutePath = Field(default="/shared/fleet", description="where it is mounted, an absolute path")
    jobs: RelativePath = Field(default="jobs", description="directory below path that apps find as JOBS_DIR")
    uploads: RelativePath = Field(default="uploads", description="directory below path that apps find as UPLOADS_DIR")

    @property
    def jobs_dir(self) -> str:
        return str(PurePosixPath(self.path) / self.jobs)

    @property
    def uploads_dir(self) -> str:
        return str(PurePosixPath(self.path) / self.uploads)


class NfsService(Model):
    """The NFS server: a host of the fleet, an external export, or neither. Exactly one of `host`, `url`, `mounted`."""

    host: Name | None = Field(default=None, description="host of the fleet that runs it", examples=["nfs"])
    url: Line | None = Field(
        default=None,
        description="external export, nfs://server/path",
        examples=["nfs://files.example.com/export/fleet"],
    )
    mounted: bool = Field(
        default=False,
        description="something else mounts shared storage at storage.path on every host: fleetctl only checks it",
    )
    device: Device | None = Field(
        default=None,
        description="block device of host for the data, formatted when blank, so that full storage does not fill the "
        "host; the data lies on the host's own file system when absent",
        examples=["/dev/nvme1n1"],
    )
    threads: Whole | None = Field(
        default=None,
        ge=1,
        le=8192,
        description="threads of the server on host; one for 8 slots, 16 at least, when absent",
        examples=[80],
    )
    lease_seconds: Whole = Field(
        default=90,
        ge=10,
        le=3600,
        description="lease and grace time of the server on host: a client that is silent for so long loses its locks, "
        "and after a restart of the server clients wait so long",
    )
    version: NfsVersion = Field(
        default="4.2",
        description="version of NFS to speak with url: 4.2, or 4.1 where the server has no 4.2, as EFS and some "
        "filers; the fleet's own server speaks 4.2 alone",
    )


class PostgresService(Model):
    """Postgres: a host of the fleet, or an external server. Exactly one of `host` and `url`."""

    host: Name | None = Field(default=None, description="host of the fleet that runs it", examples=["postgres"])
    url: Line | None = Field(
        default=None,
        description="external server, postgresql://user@server:5432/database, without the password",
        examples=["postgresql://fleet@db.example.com:5432/fleet"],
    )
    password: SecretRef | None = Field(
        default=None,
        description="password of the external server's user: env:NAME or file:PATH",
        examples=["env:POSTGRES_PASSWORD"],
    )
    database: Database = Field(default="fleet", description="database that apps find in DATABASE_URL")
    reserve: Whole = Field(default=50, ge=10, description="connections beyond one for each slot")
    max_connections: Whole | None = Field(
        default=None,
        ge=20,
        description="connections in all; slots + reserve, rounded up to 256s, when absent",
        examples=[650],
    )


class RedisService(Model):
    """Redis: a host of the fleet, or an external server. Exactly one of `host` and `url`."""

    host: Name | None = Field(default=None, description="host of the fleet that runs it", examples=["redis"])
    url: Line | None = Field(
        default=None,
        description="external server, redis://user@server:6379/0 or rediss://, without the password",
        examples=["rediss://fleet@cache.example.com:6379/0"],
    )
    password: SecretRef | None = Field(
        default=None,
        description="password of the external server's user: env:NAME or file:PATH",
        examples=["env:REDIS_PASSWORD"],
    )
    appendfsync: Literal["everysec", "always"] = Field(
        default="everysec",
        description="everysec: a power cut may lose the last second of submissions; always: loses none, but is slower",
    )
    max_memory: MiB | None = Field(
        default=None, description="size above which new jobs are refused, such as 2GiB; no limit when absent"
    )


class Services(Model):
    """Where the three services run. Two with the same host share it."""

    nfs: NfsService = Field(default=NfsService(host="nfs"), description="shared storage", examples=[{"host": "nfs"}])
    postgres: PostgresService = Field(
        default=PostgresService(host="postgres"), description="the apps' database", examples=[{"host": "postgres"}]
    )
    redis: RedisService = Field(
        default=RedisService(host="redis"),
        description="the jobs' broker and result backend",
        examples=[{"host": "redis"}],
    )
    ca: Line | None = Field(
        default=None,
        description="file of PEM certificates by which external Postgres and Redis are trusted; relative to fleet.yml",
        examples=["ca.pem"],
    )


class Recycle(Model):
    """When a slot's process is replaced by a fresh one (prefork only)."""

    jobs: Whole | None = Field(
        default=None, ge=1, description="after this many jobs; never when absent", examples=[100]
    )
    memory: MiB | None = Field(
        default=None,
        description="after the job in which its memory passed this size; never when absent",
        examples=["512MiB"],
    )


class Pool(Model):
    """Units that serve the same queues with the same limits."""

    count: Whole = Field(ge=1, description="units in all", examples=[10])
    per_host: Whole = Field(default=1, ge=1, le=64, description="units on one host")
    concurrency: Whole = Field(ge=1, le=1000, description="slots of one unit: jobs that it runs at once", examples=[60])
    queues: tuple[Queue, ...] = Field(
        default=("celery",), min_length=1, description="queues that it takes jobs from", examples=[["celery"]]
    )
    celery_pool: Literal["prefork", "threads", "solo"] = Field(
        default="prefork",
        description="how slots are made: processes, threads or the unit itself; only prefork enforces time limits",
    )
    cpus: Number | None = Field(
        default=None, gt=0, description="processors that one unit may use; no limit when absent", examples=[2]
    )
    memory: MiB | None = Field(
        default=None, description="memory that one unit may use, such as 2GiB; no limit when absent", examples=["2GiB"]
    )
    slot_memory: MiB = Field(
        default="24MiB",
        validate_default=True,
        description="memory that one slot is expected to need",
        examples=["24MiB"],
    )
    time_limit: Seconds = Field(
        default="15m",
        validate_default=True,
        description="a job is killed after this long; threads and solo do not enforce it, and a job that takes more "
        "than twice as long is delivered again",
        examples=["15m"],
    )
    soft_time_limit: Seconds | None = Field(
        default=None,
        description="a job is warned (SoftTimeLimitExceeded) after this long; never when absent",
        examples=["14m"],
    )
    stop_timeout: Seconds | None = Field(
        default=None,
        description="how long a stopping unit waits for its jobs; time_limit + 60 s when absent",
        examples=["16m"],
    )
    recycle: Recycle = Field(
        default=Recycle(), description="when a slot's process is replaced by a fresh one", examples=[{"jobs": 100}]
    )
    environment: dict[EnvName, EnvValue] = Field(
        default={}, description="variables of this pool's units, not secret", examples=[{"OMP_NUM_THREADS": "1"}]
    )

    @property
    def hosts(self) -> int:
        """Hosts that `count` units need."""
        return -(-self.count // self.per_host)

    @property
    def stop_seconds(self) -> int:
        return self.stop_timeout or self.time_limit + 60


class App(Model):
    """The Celery application that the workers run, unchanged. Without a source, the built-in jobs alone."""

    path: Line | None = Field(
        default=None,
        description="directory of a Python project, or of plain modules with a requirements.txt; relative to fleet.yml",
        examples=["app"],
    )
    wheel: Line | None = Field(
        default=None, description="a wheel file; relative to fleet.yml", examples=["dist/reports-2.1-py3-none-any.whl"]
    )
    requirement: Line | None = Field(
        default=None, description="a requirement for pip, such as reports==2.1", examples=["reports==2.1"]
    )
    git: Line | None = Field(
        default=None,
        description="a repository for pip, such as https://host/team/app.git@v1.2",
        examples=["https://git.example.com/team/app.git@v1.2"],
    )
    module: Module | None = Field(
        default=None,
        description="where the Celery app is, such as workers.app or workers.app:celery",
        examples=["workers.app:celery"],
    )
    routes: dict[TaskPattern, Queue] = Field(
        default={},
        description="queues by name of the task, where * stands for any part of it; the app's own task_routes go first",
        examples=[{"reports.*": "celery"}],
    )
    environment: dict[EnvName, EnvValue] = Field(
        default={}, description="variables of every unit, not secret", examples=[{"LOG_LEVEL": "info"}]
    )
    secrets: dict[EnvName, SecretRef] = Field(
        default={},
        description="variables whose values come from env:NAME or file:PATH at each deploy",
        examples=[{"MODEL_API_KEY": "env:MODEL_API_KEY"}],
    )


class FleetSpec(Model):
    """A fleet, as fleet.yml describes it."""

    name: Name = Field(description="name of the fleet; everything made for it carries it", examples=["fleet"])
    provider: Annotated[LocalProvider | StaticProvider, Field(discriminator="kind")] = Field(
        description="where the hosts come from", examples=[{"kind": "local"}]
    )
    storage: Storage = Field(
        default=Storage(), description="the shared file system", examples=[{"path": "/shared/fleet"}]
    )
    services: Services = Field(
        default=Services(), description="where NFS, Postgres and Redis run", examples=[{"redis": {"host": "redis"}}]
    )
    clients: tuple[Name, ...] | None = Field(
        default=None,
        description="hosts whose programs submit jobs: they have the app, the storage and the services, and no unit; "
        "the NFS host when absent",
        examples=[["nfs"]],
    )
    pools: dict[Name, Pool] = Field(
        min_length=1,
        description="the workers, by name of the pool",
        examples=[{"worker": {"count": 10, "concurrency": 60}}],
    )
    app: App = Field(
        default=App(), description="the Celery application", examples=[{"path": "app", "module": "workers.app:celery"}]
    )

    @property
    def slots(self) -> int:
        return sum(pool.count * pool.concurrency for pool in self.pools.values())

    @property
    def client_hosts(self) -> tuple[str, ...]:
        """Hosts of the group `clients`."""
        if self.clients is not None:
            return self.clients
        return (self.services.nfs.host,) if self.services.nfs.host is not None else ()

    @property
    def default_queue(self) -> str:
        """Where jobs without a route go: Celery's own default when a pool serves it, else the first queue."""
        served = [queue for pool in self.pools.values() for queue in pool.queues]
        return "celery" if "celery" in served else served[0]

    @property
    def visibility_timeout_seconds(self) -> int:
        """Twice the longest hard limit of the fleet, the same in every app on the broker: the shortest one wins."""
        return 2 * max(pool.time_limit for pool in self.pools.values())
