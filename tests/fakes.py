"""Providers that exist in memory alone, with the guarantees that the ports state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from fleetctl.errors import ProviderError
from fleetctl.model import Event, Host, HostRequest, HostState, OnEvent


@dataclass
class FakeProvider:
    """The Baker port without machines. Images outlive fleets, so `sealed` may be shared between fakes."""

    kind: str = "fake"
    networks: tuple[str, ...] = ("10.0.0.0/24",)
    capacity: int = 250
    broken: set[str] = field(default_factory=set)  # names of machines that do not boot
    recipe: str = "recipe-1"
    sealed: set[str] = field(default_factory=set)
    known: dict[str, Host] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def hosts(self) -> tuple[Host, ...]:
        return tuple(self.known[name] for name in sorted(self.known))

    def launch(self, requests: Sequence[HostRequest], on_event: OnEvent) -> tuple[Host, ...]:
        names = self.known.keys() | {request.name for request in requests}
        if len(names) > self.capacity:
            raise ProviderError(f"{len(names)} hosts are too many", hint="lower the count")
        for request in requests:
            if request.image is not None and request.image not in self.sealed and request.name not in self.known:
                raise ProviderError(f"{request.name}: there is no image {request.image}", hint="deploy again")
        for request in requests:
            if request.name in self.broken:
                continue
            host = self.known.get(request.name) or self._make(request)
            self.known[request.name] = replace(host, state=HostState.RUNNING)
            on_event(Event("step", "launch", "up", host=request.name, done=1, total=1))
        if self.broken & {request.name for request in requests}:
            raise ProviderError("a machine did not boot", hint="deploy again")
        return tuple(self.known[request.name] for request in requests)

    def terminate(self, names: Sequence[str]) -> None:
        for name in names:
            self.known.pop(name, None)

    def destroy(self, on_event: OnEvent) -> None:
        self.known.clear()
        on_event(Event("end", "destroy"))

    def prepare(self, on_event: OnEvent) -> str:
        del on_event
        return self.recipe

    def images(self) -> frozenset[str]:
        return frozenset(self.sealed)

    def seal(self, name: str, key: str) -> None:
        if name not in self.known:
            raise ProviderError(f"there is no host {name}", hint="fleetctl status")
        self.sealed.add(key)
        self.terminate([name])

    def stop(self, name: str) -> None:
        self.known[name] = replace(self.known[name], state=HostState.STOPPED)

    def _make(self, request: HostRequest) -> Host:
        number = next(self.numbers)
        used = {host.address for host in self.known.values()}
        address = next(text for text in (f"10.0.0.{last}" for last in range(2, 255)) if text not in used)
        return Host(
            name=request.name,
            id=f"fake-{number}",
            address=address,
            host_keys=(f"ssh-ed25519 KEY{number}",),
            machine_id=f"{number:032x}",
            image=request.image,
        )
