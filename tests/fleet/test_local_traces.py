"""Machines of the local provider leave nothing behind, whatever is killed, and lose nothing, whatever restarts."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fleet.machines import Traces, ignore, new_name, on, requests, until

from fleetctl.adapters.providers.local import LocalProvider, process
from fleetctl.adapters.providers.local.paths import ROOT, RUNTIME, Paths, locked
from fleetctl.adapters.providers.local.record import Record
from fleetctl.adapters.providers.local.undo import undo
from fleetctl.errors import ProviderError
from fleetctl.model import Event, HostState

pytestmark = pytest.mark.fleet

SOURCES = Path(__file__).parents[2] / "src"


def test_a_refused_launch_makes_nothing() -> None:
    name = new_name()
    with pytest.raises(ProviderError, match="overlaps 127") as caught:
        LocalProvider(name, subnet="127.9.0.0/24").launch(requests("alpha"), ignore)
    assert caught.value.hint
    assert Traces.of(name).is_clean
    assert not Traces.of(name).directories
    assert not (RUNTIME / "sysctls.json").exists() or name not in (RUNTIME / "sysctls.json").read_text()


def test_destroy_leaves_nothing() -> None:
    name = new_name()
    before = Traces.of(name)
    assert before.is_clean
    provider = LocalProvider(name, storage_path="/shared/fleet")
    try:
        provider.launch(requests("alpha", "beta", storage=True), ignore)
        during = Traces.of(name)
        assert len(during.namespaces) == 2
        assert len(during.links) == 3
        assert during.tables
        assert len(during.mounts) >= 4
        assert during.groups
        assert len(during.processes) >= 4
        assert during.directories
    finally:
        provider.destroy(ignore)
    after = Traces.of(name)
    assert after.is_clean
    assert not after.directories
    if before.settings and after.settings:  # no other fleet had a hand in them
        assert after.settings == before.settings


def recorded(kind: str, *, count: int = 1) -> Callable[[str], bool]:
    """Return the question whether a fleet's record names so many resources of a kind."""
    return lambda name: [one.kind for one in Record(Paths(ROOT, name).record).read()].count(kind) >= count


@pytest.mark.parametrize(
    "is_time",
    [
        pytest.param(recorded("sysctls"), id="first record"),
        pytest.param(recorded("table"), id="network", marks=pytest.mark.drill),
        pytest.param(recorded("directory"), id="first host", marks=pytest.mark.drill),
        pytest.param(recorded("directory", count=3), id="last host", marks=pytest.mark.drill),
        pytest.param(recorded("machine"), id="first machine"),
    ],
)
def test_a_launch_killed_at_any_point_leaves_nothing_after_destroy(is_time: Callable[[str], bool]) -> None:
    name = new_name()
    provider = LocalProvider(name)
    provider.prepare(ignore)
    try:
        _launch_and_kill(name, lambda: is_time(name))
        provider.destroy(ignore)
        after = Traces.of(name)
        assert after.is_clean
        assert not after.directories
    finally:
        provider.destroy(ignore)


def test_a_killed_launch_is_finished_by_the_next() -> None:
    name = new_name()
    provider = LocalProvider(name)
    provider.prepare(ignore)
    try:
        _launch_and_kill(name, lambda: any(Paths(ROOT, name).machine("alpha").glob("root/etc/machine-id")))
        hosts = provider.launch(requests("alpha", "beta", "gamma"), ignore)
        assert [on(host, "cat /etc/machine-id") for host in hosts] == [host.machine_id for host in hosts]
    finally:
        provider.destroy(ignore)


def _launch_and_kill(name: str, is_time: Callable[[], bool]) -> None:
    """Launch three machines in a process of their own, and kill it when it is time."""
    script = (
        "from fleetctl.adapters.providers.local import LocalProvider\n"
        "from fleetctl.model import HostRequest\n"
        f"LocalProvider({name!r}).launch([HostRequest(n, ('workers',)) for n in ('alpha', 'beta', 'gamma')], print)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(SOURCES)}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not is_time():
        assert child.poll() is None, "it ended before it was time"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL


def test_a_killed_destroy_is_finished_by_the_next() -> None:
    name = new_name()
    provider = LocalProvider(name)
    try:
        provider.launch(requests("alpha", "beta"), ignore)
        script = (
            f"from fleetctl.adapters.providers.local import LocalProvider\nLocalProvider({name!r}).destroy(print)\n"
        )
        with subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(SOURCES)}) as child:
            until(lambda: not all(process.is_running(Paths(ROOT, name).machine(host)) for host in ("alpha", "beta")))
            child.send_signal(signal.SIGKILL)
    finally:
        provider.destroy(ignore)
    assert Traces.of(name).is_clean
    assert not Traces.of(name).directories


def test_a_killed_seal_leaves_no_half_image_and_a_host_that_starts() -> None:
    name, key = new_name(), f"t-{secrets.token_hex(4)}"
    provider = LocalProvider(name)
    try:
        provider.launch(requests("alpha"), ignore)
        script = "from fleetctl.adapters.providers.local import LocalProvider\n"
        script += f"LocalProvider({name!r}).seal('alpha', {key!r})\n"
        seal = [sys.executable, "-c", script]
        environment = os.environ | {"PYTHONPATH": str(SOURCES)}
        # Its last step waits for the lock.
        with locked("images"), subprocess.Popen(seal, env=environment) as child:
            until(lambda: (Paths(ROOT, name).machine("alpha") / "sealed" / "layer").exists())
            child.send_signal(signal.SIGKILL)
        assert key not in provider.images()
        (host,) = provider.launch(requests("alpha"), ignore)
        assert on(host, "cat /etc/machine-id") == host.machine_id
        provider.seal("alpha", key)
        assert key in provider.images()
    finally:
        provider.destroy(ignore)
        shutil.rmtree(ROOT / "images" / "baked" / key, ignore_errors=True)
    assert Traces.of(name).is_clean


def test_machines_start_again_as_themselves_after_this_computer_restarted() -> None:
    name = new_name()
    provider = LocalProvider(name)
    try:
        before = provider.launch(requests("alpha", "beta"), ignore)
        for host in before:
            on(host, f"echo {host.name} >/root/file; sync")
        # A restart takes all but the directories.
        lost = [one for one in Record(Paths(ROOT, name).record).read() if one.kind not in ("directory", "sysctls")]
        undo(name, lost)
        assert Traces.of(name).is_clean
        assert {host.state for host in provider.hosts()} == {HostState.STOPPED}
        assert provider.launch(requests("alpha", "beta"), ignore) == before
        assert [on(host, "cat /root/file") for host in before] == ["alpha", "beta"]
    finally:
        provider.destroy(ignore)


def test_an_interrupted_launch_does_not_wait_for_its_machines() -> None:
    name = new_name()
    provider = LocalProvider(name)

    def interrupt(event: Event) -> None:
        if event.host == "alpha":
            raise KeyboardInterrupt

    try:
        provider.launch(requests("beta"), ignore)
        provider.freeze("beta")  # never answers
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            provider.launch(requests("alpha", "beta"), interrupt)
        assert time.monotonic() - began < 90
    finally:
        provider.destroy(ignore)
    assert Traces.of(name).is_clean


def test_two_processes_may_change_one_fleet_at_once() -> None:
    name = new_name()
    first, second = LocalProvider(name), LocalProvider(name)
    try:
        other = threading.Thread(target=lambda: second.launch(requests("alpha", "beta"), ignore))
        other.start()
        first.launch(requests("beta", "gamma"), ignore)
        other.join()
        assert [host.state for host in first.hosts()] == [HostState.RUNNING] * 3
        assert len({host.address for host in first.hosts()}) == 3
    finally:
        first.destroy(ignore)
