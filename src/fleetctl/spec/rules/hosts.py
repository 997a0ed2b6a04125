"""Hosts: those that a local fleet would make, and those that a static fleet lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.models import FleetSpec, LocalProvider, StaticProvider
from fleetctl.spec.shapes import show_size

LOCAL_CEILING = 250
UML_LEAST_MIB = 256
RESERVED = frozenset({"all", "ungrouped", "apps", "clients", "workers", "localhost"})  # mean something else to Ansible
_PRIVATE = tuple(IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_OTHERS_IN_SUBNET = 3  # the network's own address, its broadcast address, this computer's


def check(spec: FleetSpec) -> Iterator[Finding]:
    """Check the hosts against the provider that makes or lists them."""
    for service, host in service_hosts(spec).items():
        if host in RESERVED:
            yield Finding(("services", service, "host"), "a name that Ansible keeps for itself", "use another name")
    for index, host in enumerate(spec.clients or ()):
        if host in RESERVED:
            yield Finding(("clients", index), "a name that Ansible keeps for itself", "use another name")
        elif host in (spec.clients or ())[:index]:
            yield Finding(("clients", index), f"{host} is listed twice", "remove one of the two")
    provider = spec.provider
    findings = _check_local(spec, provider) if isinstance(provider, LocalProvider) else _check_static(spec, provider)
    for finding in findings:
        yield replace(finding, reads=(*finding.reads, ("provider", "kind")))


def service_hosts(spec: FleetSpec) -> Mapping[str, str]:
    """Map the services that the fleet runs itself to their hosts."""
    services = spec.services
    pairs = (("nfs", services.nfs.host), ("postgres", services.postgres.host), ("redis", services.redis.host))
    return {name: host for name, host in pairs if host is not None}


def _named(spec: FleetSpec) -> Iterator[tuple[Loc, str, str]]:
    """Yield the hosts that are named one by one: where, what for, which."""
    for service, host in service_hosts(spec).items():
        yield ("services", service, "host"), service, host
    for index, host in enumerate(spec.clients or ()):
        yield ("clients", index), "client", host


def _check_local(spec: FleetSpec, provider: LocalProvider) -> Iterator[Finding]:
    names = service_hosts(spec)
    yield from _check_machines(spec, provider)
    for loc, purpose, host in _named(spec):
        for pool in spec.pools:
            if re.fullmatch(rf"{re.escape(pool)}-[0-9]+", host):
                fix = f"use another name, such as {purpose}"
                yield Finding(loc, f"a host of pool {pool} has this name", fix, (("pools", pool),))
    total = sum(pool.hosts for pool in spec.pools.values()) + len({host for _, _, host in _named(spec)})
    largest = max(spec.pools, key=lambda name: spec.pools[name].hosts)
    reads: tuple[Loc, ...] = tuple(("services", name, "host") for name in names)
    if total > LOCAL_CEILING:
        yield Finding(
            ("pools", largest, "count"),
            f"{total:,} hosts are more than the {LOCAL_CEILING} that a local fleet can have: "
            "they share one network of 254 addresses on this computer",
            "lower count, raise per_host, or use `kind: static` with machines elsewhere",
            reads,
        )
    if provider.subnet is not None:
        yield from _check_subnet(IPv4Network(provider.subnet), min(total, LOCAL_CEILING), reads)


def _check_machines(spec: FleetSpec, provider: LocalProvider) -> Iterator[Finding]:
    """Check what differs between machines that share this computer's kernel and memory and those that do not."""
    nfs, loc, memory = spec.services.nfs, ("services", "nfs"), ("provider", "memory")
    reads: tuple[Loc, ...] = (("provider", "machines"),)
    if provider.machines == "uml":
        if nfs.mounted and nfs.host is None:
            fix = "write `nfs: {host: nfs}`: nothing else mounts anything on these machines"
            yield Finding((*loc, "mounted"), "has no effect on local", fix)
        if provider.memory < UML_LEAST_MIB:
            least = show_size(UML_LEAST_MIB)
            yield Finding(memory, f"less than {least}", f"write `memory: {least}` or more", reads)
        return
    for key in ("url", "mounted"):
        if getattr(nfs, key) and nfs.host is None:
            fix = "write `nfs: {host: nfs}`; nspawn machines share one directory of this computer"
            yield Finding((*loc, key), "has no effect on nspawn machines", fix, reads)
    for key in ("device", "threads", "lease_seconds"):
        if nfs.host is not None and key in nfs.model_fields_set:
            fix = "remove it, or use `machines: uml`: nspawn machines share one directory of this computer"
            yield Finding((*loc, key), "has no effect on nspawn machines", fix, reads)
    if "memory" in provider.model_fields_set:
        fix = "remove it, or use `machines: uml`: nspawn machines share this computer's memory"
        yield Finding(memory, "has no effect on nspawn machines", fix, reads)


def _check_subnet(subnet: IPv4Network, hosts: int, reads: tuple[Loc, ...]) -> Iterator[Finding]:
    loc: Loc = ("provider", "subnet")
    if not any(subnet.subnet_of(block) for block in _PRIVATE):
        yield Finding(loc, "not a private network", "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if not 24 <= subnet.prefixlen <= 28:
        yield Finding(loc, f"a prefix of {subnet.prefixlen} is not between 24 and 28", "use a /24")
    elif subnet.num_addresses - _OTHERS_IN_SUBNET < hosts:
        room = subnet.num_addresses - _OTHERS_IN_SUBNET
        yield Finding(loc, f"{room} addresses are too few for {hosts} hosts", "use a /24", reads)


def _check_static(spec: FleetSpec, provider: StaticProvider) -> Iterator[Finding]:
    yield from _check_unique(provider)
    yield from _check_reach(provider)
    listed = {host.name for host in provider.hosts}
    names: tuple[Loc, ...] = tuple(("provider", "hosts", index, "name") for index in range(len(provider.hosts)))
    for loc, _, name in _named(spec):
        if name not in listed:
            fix = f"add `- {{name: {name}, address: ...}}` to provider.hosts, or name one that is there"
            yield Finding(loc, f"no host {name} is listed", fix, (("provider", "hosts"), *names))
    for index, host in enumerate(provider.hosts):
        loc = ("provider", "hosts", index)
        if host.name in RESERVED:
            yield Finding((*loc, "name"), "a name that Ansible keeps for itself", "use another name")
        if host.pool is not None and host.pool not in spec.pools:
            known = ", ".join(spec.pools)
            yield Finding(
                (*loc, "pool"), f"there is no pool {host.pool}", f"use one of {known}", (("pools", host.pool),)
            )
    yield from _check_pools(spec, provider)


def _check_unique(provider: StaticProvider) -> Iterator[Finding]:
    names: dict[str, int] = {}
    addresses: dict[tuple[str, int], int] = {}
    for index, host in enumerate(provider.hosts):
        loc: Loc = ("provider", "hosts", index)
        first = names.setdefault(host.name, index)
        if first != index:
            where: Loc = ("provider", "hosts", first)
            yield Finding((*loc, "name"), f"two hosts are called {host.name}", "rename one", ((*where, "name"),))
        first = addresses.setdefault((host.address, host.port), index)
        if first != index:
            where = ("provider", "hosts", first)
            other = provider.hosts[first].name
            reads = ((*loc, "port"), (*where, "address"), (*where, "port"))
            yield Finding((*loc, "address"), f"{other} has the same address and port", "remove one of the two", reads)


def _check_reach(provider: StaticProvider) -> Iterator[Finding]:
    networks = [IPv4Network(network) for network in provider.networks]
    for index, network in enumerate(networks):
        if network.prefixlen < 8:
            fix = "name the network that the fleet's hosts are in"
            yield Finding(("provider", "networks", index), "opens the services to strangers", fix)
    for index, host in enumerate(provider.hosts):
        loc: Loc = ("provider", "hosts", index)
        if host.user != "root" and not host.become:
            fix = "add `become: true` (sudo without a password), or use `user: root`"
            yield Finding(
                loc, f"{host.user} is not root, and become is not true", fix, ((*loc, "user"), (*loc, "become"))
            )
        if networks and not any(IPv4Address(host.address) in network for network in networks):
            fix = "add its network to provider.networks: the services would refuse it"
            yield Finding((*loc, "address"), "in none of the networks", fix, (("provider", "networks"),))


def _check_pools(spec: FleetSpec, provider: StaticProvider) -> Iterator[Finding]:
    reads: tuple[Loc, ...] = (("provider", "hosts"),)
    reads += tuple(("provider", "hosts", index, "pool") for index in range(len(provider.hosts)))
    for name, pool in spec.pools.items():
        have = sum(host.pool == name for host in provider.hosts)
        if have < pool.hosts:
            fix = f"give {pool.hosts - have} more of provider.hosts `pool: {name}`"
            yield Finding(
                ("pools", name, "count"),
                f"{pool.count} units, {pool.per_host} on a host, need {pool.hosts} hosts; {have} are listed for them",
                fix + (f", or write `count: {have * pool.per_host}` or less" if have else ""),
                (*reads, ("pools", name, "per_host")),
            )
