"""Puts the parts together: the only module that knows every adapter."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit

from fleetctl.adapters import assets, bundle, secrets
from fleetctl.adapters.ansible import AnsiblePlaybook
from fleetctl.adapters.history import Entry, History
from fleetctl.adapters.providers.static import StaticProvider
from fleetctl.adapters.ssh import FabricRemote
from fleetctl.adapters.state import State
from fleetctl.core.inventory import POSTGRES_PORT, REDIS_PORT, USER, Context
from fleetctl.errors import UsageError
from fleetctl.model import Host, HostState
from fleetctl.ports import Fleet, HostSource
from fleetctl.spec.load import load
from fleetctl.spec.models import FleetSpec, LocalProvider


@dataclass
class Wired:
    """One fleet with its adapters. Each is made on first use."""

    spec: FleetSpec
    spec_file: Path
    environ: Mapping[str, str]
    fetch: secrets.Fetch  # which of the secrets that fleet.yml refers to are resolved anew

    @cached_property
    def state(self) -> State:
        return State(self.spec.name, self.environ)

    @cached_property
    def provider(self) -> HostSource:
        provider = self.spec.provider
        if isinstance(provider, LocalProvider):
            from fleetctl.adapters.providers.local import LocalProvider as Local

            return Local(
                self.spec.name,
                subnet=provider.subnet,
                storage_path=self.spec.storage.path if self._storage_kind() == "bind" else None,
                machines=provider.machines,
                memory_mib=provider.memory,
            )
        return StaticProvider(provider)

    @cached_property
    def remote(self) -> FabricRemote:
        return FabricRemote(self.state.known_hosts)

    @cached_property
    def converger(self) -> AnsiblePlaybook:
        return AnsiblePlaybook(self.state)

    @cached_property
    def history(self) -> History:
        return History(self.state.path)

    @contextmanager
    def change(self, what: str, command: str) -> Iterator[Entry]:
        """Hold the fleet's lock for one change, and keep it in the history."""
        with self.state.lock(what), self.history.record(command) as entry:
            yield entry

    def fleet(self, spec: FleetSpec) -> Fleet:
        """Return what workflows act on, under `spec` (this one, or one fitted to what exists)."""
        return Fleet(spec, self.provider, self.remote, self.converger, self.context, self.redis_url, self.state.pin)

    def running(self) -> dict[str, Host]:
        """Return the running hosts by name."""
        return {host.name: host for host in self.provider.hosts() if host.state is HostState.RUNNING}

    def redis_url(self, user: str) -> str:
        """Return the Redis URL, password included, of one of the fleet's Redis users; an external one has one user."""
        redis = self.spec.services.redis
        if redis.url is not None:
            return self._with_password(redis.url, "redis_worker_password")
        address = self._address_of(redis.host, "Redis")
        return self._with_password(f"redis://{user}@{address}:{REDIS_PORT}/0", f"redis_{user}_password")

    def database_url(self) -> str:
        """Return the Postgres URL, password included."""
        postgres = self.spec.services.postgres
        url = postgres.url
        if url is None:
            address = self._address_of(postgres.host, "Postgres")
            url = f"postgresql://{USER}@{address}:{POSTGRES_PORT}/{postgres.database}"
        return self._with_password(url, "postgres_password")

    def _address_of(self, host: str | None, service: str) -> str:
        hosts = self.running()
        if host not in hosts:
            raise UsageError(f"{service}'s host {host} does not run", hint="fleetctl deploy")
        return hosts[host].address

    def _with_password(self, url: str, name: str) -> str:
        password = secrets.read(self.state.path / secrets.FILE)[f"fleet_secret_{name}"].get_secret_value()
        user = urlsplit(url).username or ""
        return url.replace(f"{user}@", f"{user}:{quote(password, safe='')}@", 1)

    def context(self) -> Context:
        """Return what the inventory needs, with secrets made and the app staged.

        Commands that only read keep a secret of the last deploy when its reference cannot be resolved now.
        """
        secret = secrets.ensure(
            self.spec, self.state.path, environ=self.environ, spec_file=self.spec_file, fetch=self.fetch
        )
        staged = bundle.stage(self.spec.app, self.state.directory("bundles"))
        return Context(
            secrets_file=str(secret.path),
            secrets_digest=secret.digest,
            bundle=str(staged.path),
            bundle_digest=staged.digest,
            wheelhouse_cache=str(self.state.wheelhouses),
            known_hosts=str(self.state.known_hosts),
            storage_kind=self._storage_kind(),
            networks=self.provider.networks,
            ca=Path(self.spec.services.ca).read_text() if self.spec.services.ca else None,
            role_digests=assets.role_digests(),
        )

    def _storage_kind(self) -> str:
        if self.spec.services.nfs.mounted:
            return "mounted"
        provider = self.spec.provider
        return "bind" if isinstance(provider, LocalProvider) and provider.machines == "nspawn" else "nfs"


def wire(
    spec_file: Path,
    *,
    workers: int | None = None,
    fetch: secrets.Fetch = "none",
    environ: Mapping[str, str] = os.environ,
) -> Wired:
    """Return the fleet that `spec_file` describes. Raises SpecError or UsageError before anything is touched."""
    return Wired(load(spec_file, workers=workers), spec_file, environ, fetch)
