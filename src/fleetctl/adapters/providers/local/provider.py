"""Hosts that are systemd machines on this computer: the Baker port over disks, cables, control groups and processes."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from fleetctl.adapters.providers.local import (
    cables,
    cgroup,
    computer,
    disk,
    ground,
    identity,
    image,
    machine,
    network,
    packages,
    process,
    sealed,
    uml,
    umlimage,
)
from fleetctl.adapters.providers.local.identity import Identity
from fleetctl.adapters.providers.local.machine import Guest, Machine
from fleetctl.adapters.providers.local.network import Network
from fleetctl.adapters.providers.local.nspawn import Nspawn
from fleetctl.adapters.providers.local.parallel import each
from fleetctl.adapters.providers.local.paths import ROOT, Paths, locked, make_root, write_whole
from fleetctl.adapters.providers.local.recipe import Recipe, read_recipe
from fleetctl.adapters.providers.local.record import Record, Resource
from fleetctl.adapters.providers.local.uml import Uml
from fleetctl.adapters.providers.local.undo import undo
from fleetctl.errors import ProviderError
from fleetctl.model import Event, Host, HostRequest, HostState, OnEvent


class LocalProvider:
    """A fleet's machines on this computer. One process at a time changes a fleet; others wait for it.

    `machines` is their kind: "nspawn", or "uml" for a kernel of their own and `memory_mib` of memory each; drafts are
    always of the first kind, which installs packages many times faster. `storage_path` is where nspawn machines that
    ask for storage find one directory of this computer, shared by the fleet; a uml machine with the role nfs has a
    blank data disk, /dev/ubdc.
    """

    kind = "local"

    def __init__(
        self,
        fleet: str,
        *,
        root: Path = ROOT,
        subnet: str | None = None,
        storage_path: str | None = None,
        machines: str = "nspawn",
        memory_mib: int = 512,
    ) -> None:
        if not re.fullmatch(r"[a-z0-9-]{1,40}", fleet):
            raise ProviderError(f"{fleet!r} cannot name a fleet", hint="use lower case letters, digits and hyphens")
        self._fleet = fleet
        self._paths = Paths(root, fleet)
        self._subnet = subnet
        self._storage_path = storage_path
        self._machines = machines
        self._memory_mib = memory_mib
        self._record = Record(self._paths.record)
        self._known_recipe: Recipe | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """The fleet's subnet; empty before the first launch."""
        found = network.load(self._paths)
        return (str(found.subnet),) if found else ()

    @property
    def public_key(self) -> str:
        """The key that every machine of the fleet accepts for root, as authorized_keys has it; made on first use."""
        make_root(self._paths.root)
        self._paths.fleet.mkdir(parents=True, exist_ok=True)
        return identity.make_key(self._paths.key, comment=f"fleetctl:{self._fleet}")

    def hosts(self) -> tuple[Host, ...]:
        found = network.load(self._paths)
        identities = identity.load_all(self._paths.fleet / "machines") if found else {}
        return tuple(self._host(found, one) for one in identities.values() if found)

    def launch(self, requests: Sequence[HostRequest], on_event: OnEvent) -> tuple[Host, ...]:
        base = self.prepare(on_event)
        with self._locked(on_event):
            net = ground.take(self._paths, self._record, requests, subnet=self._subnet)
            ground.make(self._paths, self._record, net, has_storage=self._storage_path is not None)
            identities = self._identify(requests, net, base)
            self._start([one for one in identities if not process.is_running(self._paths.machine(one.name))], net)
        self._wait_until_up(identities, net, on_event)
        return tuple(self._host(net, one) for one in identities)

    def terminate(self, names: Sequence[str]) -> None:
        with self._locked():
            self._terminate(names)

    def destroy(self, on_event: OnEvent) -> None:
        with self._locked(on_event):
            resources = self._record.read()
            on_event(Event("phase", "destroy", total=len({resource.host for resource in resources} - {None})))
            undo(self._fleet, resources, on_event)
            ground.remove(self._paths)
            on_event(Event("end", "destroy"))

    def prepare(self, on_event: OnEvent) -> str:
        if installed := packages.install_missing(has_uml=self._machines == "uml"):
            on_event(Event("note", "prepare", f"installed {', '.join(installed)} on this computer"))
        make_root(self._paths.root)
        ground.check_kind(self._paths, self._machines)
        recipe = self._recipe()
        if not image.base_directory(self._paths, recipe.digest).is_dir():
            on_event(Event("note", "prepare", "building the base image, once for this computer: about a minute"))
            image.build_base(self._paths, recipe)
        return recipe.digest

    def images(self) -> frozenset[str]:
        return sealed.keys(self._paths)

    def seal(self, name: str, key: str) -> None:
        """As the port says; and remove old images and base images that no machine of any fleet lies on."""
        with self._locked():
            one = self._identity(name)
            if one.image is not None:
                raise ProviderError(f"{name} started from image {one.image}; only a bare host can be sealed")
            if one.machines != "nspawn":
                raise ProviderError(f"{name} was not launched as a draft; only a draft can be sealed")
            target = self._machine(one)
            machine.stop(target, self._guest(one, self._network()))
            disk.unmount(target.directory / "root")
            identity.forget(target.directory)  # what is left of it, if we do not get further, is a bare host
            sealed.keep(self._paths, image=key, upper=target.directory / "upper", base=one.base)
            self._terminate([name])
        fleets = [fleet / "machines" for fleet in self._paths.fleets.iterdir()]
        everything = [found for machines in fleets for found in identity.load_all(machines).values()]
        sealed.collect_garbage(
            self._paths,
            images={key} | {found.image for found in everything if found.image},
            bases={self._recipe().digest} | {found.base for found in everything},
        )

    # What the ports do not ask, and real machines do.

    def start(self, name: str) -> None:
        """Start a stopped host from its disk, and wait until its sshd answers."""
        with self._locked():
            one, net = self._identity(name), self._network()
            ground.make(self._paths, self._record, net, has_storage=self._storage_path is not None)
            if not process.is_running(self._paths.machine(name)):
                self._start([one], net)
        self._wait_until_up([one], net, lambda _: None)

    def stop(self, name: str) -> None:
        """Shut a host down in order; it keeps its disk, address and keys."""
        one = self._identity(name)
        machine.stop(self._machine(one), self._guest(one, self._network()))

    def kill(self, name: str) -> None:
        """Cut a host's power: nothing is shut down, the disk survives."""
        one = self._identity(name)
        machine.cut_power(self._machine(one), self._guest(one, self._network()))

    def freeze(self, name: str) -> None:
        """Halt a host where it is: it answers nothing, and its connections stay open."""
        machine.freeze(self._machine(self._identity(name)))

    def thaw(self, name: str) -> None:
        """Let a frozen host go on."""
        machine.thaw(self._machine(self._identity(name)))

    def partition(self, name: str) -> None:
        """Cut a host off: what it sends, and what is sent to it, gets lost."""
        cables.set_forwarding(self._network(), self._identity(name).number, is_on=False)

    def heal(self, name: str) -> None:
        """End a host's being cut off."""
        cables.set_forwarding(self._network(), self._identity(name).number, is_on=True)

    # How it is done.

    def _locked(self, on_event: OnEvent = lambda _: None) -> AbstractContextManager[int]:
        waiting = Event("note", "wait", f"waiting for another fleetctl that changes {self._fleet}")
        return locked(f"fleet-{self._fleet}", on_wait=lambda: on_event(waiting))

    def _recipe(self) -> Recipe:
        if self._known_recipe is None:
            self._known_recipe = read_recipe()
        return self._known_recipe

    def _identify(self, requests: Sequence[HostRequest], net: Network, base: str) -> list[Identity]:
        """Return the identity of each requested machine: the one that it has, or a new one with a free number."""
        known = identity.load_all(self._paths.fleet / "machines")
        taken = {one.number for one in known.values()}
        free = (number for number in range(1, net.capacity + 1) if number not in taken)
        for request in requests:
            if request.name in known:
                continue
            below = sealed.base_of(self._paths, request.image) if request.image else base
            if below is None:
                raise ProviderError(f"image {request.image} has just been removed", hint="deploy again")
            directory = self._paths.machine(request.name)
            self._record.add(Resource("directory", str(directory), request.name))
            kind = "nspawn" if request.draft else self._machines
            one = Identity(
                request.name,
                next(free),
                image=request.image,
                base=below,
                storage=request.storage,
                machines=kind,
                has_data_disk=kind == "uml" and "nfs" in request.roles,
                draft=request.draft,
            )
            known[request.name] = identity.create(directory, one)
        return [known[request.name] for request in requests]

    def _start(self, identities: Sequence[Identity], net: Network) -> None:
        """Give machines their cable, control groups and disk, and start them. All of it is recorded first."""
        hierarchies = () if machine.has_systemd() else cgroup.own_hierarchies()
        parents = {hierarchy: hierarchy.directory / f"fleetctl-{self._fleet}" for hierarchy in hierarchies}
        guests = [one for one in identities if one.machines == "uml"]
        containers = [one for one in identities if one.machines == "nspawn"]
        everybody = identity.load_all(self._paths.fleet / "machines").values()
        running = [
            one for one in everybody if one.machines == "uml" and process.is_running(self._paths.machine(one.name))
        ]
        uml.check_memory(len(guests), len(running), self._memory_mib)
        resources = [Resource("cgroup", str(parent)) for parent in parents.values()]
        for one in identities:
            name, directory = one.name, self._paths.machine(one.name)
            if one.machines == "nspawn":
                own = [Resource("netns", net.namespace(name), name), Resource("mount", str(directory / "root"), name)]
            else:
                own = [Resource("sockets", str(uml.sockets(net.link(one.number))), name)]
            resources += [
                *own,
                Resource("link", net.link(one.number), name),
                *(Resource("cgroup", str(parent / name), name) for parent in parents.values()),
                Resource("machine", str(directory), name),
            ]
        self._record.add(*resources)
        cables.plug(net, [(one.name, one.number) for one in containers])
        cables.plug_taps(net, [(one.name, one.number) for one in guests])

        client_key = self.public_key  # made here, once, and not by many threads

        def start(one: Identity) -> None:
            groups = [parent / one.name for parent in parents.values()]
            for hierarchy, group in zip(parents, groups, strict=True):
                cgroup.make(hierarchy, group)
            self._lay_out_disk(one, net, client_key)
            guest = self._guest(one, net)
            machine.start(self._machine(one), guest, groups)

        each(start, identities)

    def _lay_out_disk(self, one: Identity, net: Network, client_key: str) -> None:
        directory, resolv_conf = self._paths.machine(one.name), computer.guest_resolv_conf()
        files = identity.files(directory, one, address=str(net.address(one.number)), client_key=client_key)
        if one.machines == "uml":
            umlimage.choose(self._paths, directory, image=one.image, base=one.base)
            files |= {"etc/resolv.conf": (resolv_conf, 0o644)}
            uml.lay_out(directory, net.link(one.number), files, has_data_disk=one.has_data_disk)
            return
        disk.mount(directory, sealed.layers(self._paths, image=one.image, base=one.base))
        identity.write(directory, files)
        write_whole(directory / "root/etc/resolv.conf", resolv_conf)

    def _guest(self, one: Identity, net: Network) -> Guest:
        if one.machines == "nspawn":
            binds = ((self._paths.storage, self._storage_path),) if one.storage and self._storage_path else ()
            return Nspawn(net.namespace(one.name), binds)
        return Uml(
            link=net.link(one.number),
            mac=net.mac(one.number),
            mtu=cables.uplink_mtu(),
            address=f"{net.address(one.number)}/{net.subnet.prefixlen}",
            gateway=str(net.gateway),
            image=umlimage.chosen(self._paths.machine(one.name)),
            memory_mib=self._memory_mib,
            cpu=uml.choose_cpu(one.number),
            has_data_disk=one.has_data_disk,
        )

    def _wait_until_up(self, identities: Sequence[Identity], net: Network, on_event: OnEvent) -> None:
        cancelled = threading.Event()
        each(
            lambda one: machine.wait_until_up(self._machine(one), str(net.address(one.number)), cancelled),
            identities,
            on_done=lambda one: on_event(Event("step", "launch", "up", host=one.name, done=1, total=1)),
            cancelled=cancelled,
        )

    def _terminate(self, names: Collection[str]) -> None:
        undo(self._fleet, [resource for resource in self._record.read() if resource.host in names])
        if self._paths.record.exists():
            self._record.forget(names)

    def _identity(self, name: str) -> Identity:
        found = identity.load(self._paths.machine(name))
        if found is None:
            raise ProviderError(f"fleet {self._fleet} has no host {name}", hint="fleetctl status")
        return found

    def _network(self) -> Network:
        found = network.load(self._paths)
        if found is None:
            raise ProviderError(f"fleet {self._fleet} has no hosts", hint="fleetctl deploy")
        return found

    def _machine(self, one: Identity) -> Machine:
        groups = [found.name for found in self._record.read() if found.kind == "cgroup" and found.host == one.name]
        return Machine(self._fleet, one.name, self._paths.machine(one.name), groups=tuple(map(Path, groups)))

    def _host(self, net: Network, one: Identity) -> Host:
        is_running = process.is_running(self._paths.machine(one.name))
        return Host(
            name=one.name,
            id=f"local-{one.machine_id[:12]}",
            address=str(net.address(one.number)),
            state=HostState.RUNNING if is_running else HostState.STOPPED,
            key_file=self._paths.key,
            host_keys=(one.host_key,),
            machine_id=one.machine_id,
            image=one.image,
        )
