"""Machines that somebody else made: they are listed in fleet.yml, and neither made nor removed here."""

from __future__ import annotations

from pathlib import Path

from fleetctl.errors import ProviderError
from fleetctl.model import Host
from fleetctl.spec import models


class StaticProvider:
    """A HostSource over the hosts of fleet.yml. Not elastic.

    A host without a host_key is proven by the user's own known_hosts. `hosts` raises ProviderError when a private
    key file is not there.
    """

    kind = "static"

    def __init__(self, provider: models.StaticProvider) -> None:
        self._hosts = tuple(sorted((_host(host) for host in provider.hosts), key=lambda host: host.name))
        self.networks = provider.networks or tuple(dict.fromkeys(f"{host.address}/32" for host in self._hosts))

    def hosts(self) -> tuple[Host, ...]:
        missing = [host for host in self._hosts if host.key_file is not None and not host.key_file.is_file()]
        if missing:
            files = ", ".join(f"{host.key_file} ({host.name})" for host in missing)
            raise ProviderError(f"no such private key: {files}", hint="mend `key` of those hosts in fleet.yml")
        return self._hosts


def _host(host: models.StaticHost) -> Host:
    return Host(
        name=host.name,
        id=f"{host.address}:{host.port}",
        address=host.address,
        port=host.port,
        user=host.user,
        key_file=None if host.key is None else Path(host.key).expanduser(),
        become=host.become,
        jump=host.jump,
        host_keys=() if host.host_key is None else (host.host_key,),
        price=host.price,
    )
