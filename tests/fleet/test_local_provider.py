"""Real machines of the local provider: what they are, what they may reach, and that nothing of them is left."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetctl.adapters.providers.local import LocalProvider, process, sysctl
from fleetctl.adapters.providers.local.network import Network, load
from fleetctl.adapters.providers.local.paths import ROOT, RUNTIME, Paths
from fleetctl.adapters.providers.local.record import Record
from fleetctl.adapters.providers.local.undo import undo
from fleetctl.errors import ProviderError
from fleetctl.model import Event, Host, HostRequest, HostState

pytestmark = pytest.mark.fleet

SOURCES = Path(__file__).parents[2] / "src"
LINK_LOCAL = "169.254.77.77"
PROPAGATE = "/run/systemd/nspawn/propagate"


def ignore(event: Event) -> None:
    del event


def new_name() -> str:
    return f"t-{secrets.token_hex(3)}"


def requests(*names: str, storage: bool = False) -> list[HostRequest]:
    return [HostRequest(name, ("workers",), storage=storage) for name in names]


def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time limit"
        time.sleep(0.01)


def ssh(host: Host, command: str, *, key: str | None = None, limit: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a command on a host as ssh does it for anybody: the host's key pinned, no other accepted."""
    assert host.key_file is not None
    pins = host.key_file.parent / f"pins-{secrets.token_hex(4)}"
    pins.write_text(f"{host.address} {key or host.host_keys[0]}\n", encoding="ascii")
    options = {"UserKnownHostsFile": str(pins), "IdentitiesOnly": "yes", "BatchMode": "yes", "ConnectTimeout": "10"}
    words = ["ssh", "-F", "none", "-i", str(host.key_file), *(f"-o{name}={value}" for name, value in options.items())]
    return subprocess.run(
        [*words, f"{host.user}@{host.address}", command], capture_output=True, text=True, timeout=limit, check=False
    )


def on(host: Host, command: str, *, limit: float = 30) -> str:
    done = ssh(host, command, limit=limit)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def connects(host: Host, address: str, port: int) -> bool:
    """Tell whether a connection from inside the host is taken."""
    script = f"import socket; socket.create_connection(({address!r}, {port}), timeout=2)"
    return ssh(host, f'python3 -c "{script}"').returncode == 0


@dataclass(frozen=True)
class Traces:
    """What machines leave on a computer, other fleets' shares taken out."""

    namespaces: frozenset[str]
    runtime: frozenset[str]
    links: frozenset[str]
    tables: frozenset[str]
    mounts: frozenset[str]
    groups: frozenset[str]
    processes: frozenset[str]
    directories: frozenset[str]
    settings: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, fleet: str) -> Traces:
        network = Network(fleet, None)  # type: ignore[arg-type]  # names alone
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        groups = [line for line in _out("find", "/sys/fs/cgroup", "-name", "fleetctl-*").split() if fleet in line]
        # Another fleet may come or go while the test runs; then the settings are its matter too.
        others = RUNTIME / "sysctls.json"
        alone = not others.exists() or json.loads(others.read_text())["holders"] == [str(Paths(ROOT, fleet).fleet)]
        return cls(
            namespaces=frozenset(name for name in _names("/run/netns") if name.startswith(f"{fleet}.")),
            runtime=frozenset(name for name in _names(PROPAGATE) if name.startswith(f"{fleet}.")),
            links=frozenset(name for name in _names("/sys/class/net") if name.startswith(network.bridge)),
            tables=frozenset(name for name in _out("nft", "list", "tables").split() if name == network.table),
            mounts=frozenset(mount for mount in mounts if f"/{fleet}/" in mount or f"/{fleet}." in mount),
            groups=frozenset(groups),
            processes=frozenset(line for line in _out("ps", "-eo", "args").splitlines() if f"/{fleet}/" in line),
            directories=frozenset(str(path) for path in ROOT.glob("fleets/*") if path.name == fleet),
            settings=tuple((name, _setting(name)) for name in sysctl.MINIMA) if alone else (),
        )

    @property
    def is_clean(self) -> bool:
        return not any(
            (self.namespaces, self.runtime, self.links, self.tables, self.mounts, self.groups, self.processes)
        )


def _names(directory: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(directory)  # noqa: PTH208 - names, not paths
    return []


def _out(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def _setting(name: str) -> str:
    return Path("/proc/sys", name.replace(".", "/")).read_text().strip()


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    provider = LocalProvider(new_name(), storage_path="/shared/fleet")
    try:
        provider.launch(requests("alpha", "beta", storage=True), ignore)
        yield provider
    finally:
        provider.destroy(ignore)


@pytest.fixture
def alpha(provider: LocalProvider) -> Host:
    return provider.hosts()[0]


@pytest.fixture
def beta(provider: LocalProvider) -> Host:
    return provider.hosts()[1]


def test_a_machine_is_what_the_provider_says_it_is(provider: LocalProvider) -> None:
    for host in provider.hosts():
        assert on(host, "cat /etc/machine-id") == host.machine_id
        assert on(host, "hostname") == host.name
        assert on(host, f"getent hosts {host.name}").split()[0] == host.address
        assert on(host, "cat /etc/ssh/ssh_host_*_key.pub").split()[:2] == host.host_keys[0].split()
        assert on(host, "systemctl is-system-running --wait") == "running"


def test_another_host_key_is_refused(alpha: Host, beta: Host) -> None:
    done = ssh(alpha, "true", key=beta.host_keys[0])
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_the_private_key_is_readable_by_its_owner_alone(alpha: Host) -> None:
    assert alpha.key_file is not None
    assert alpha.key_file.stat().st_mode & 0o777 == 0o600


def test_limits_of_units_bind(alpha: Host) -> None:
    hog = """python3 -c 'print(len(b"x" * 200000000))'"""
    assert on(alpha, f"systemd-run --quiet --wait --pipe {hog}") == "200000000"
    assert ssh(alpha, f"systemd-run --quiet --wait --pipe -p MemoryMax=50M {hog}").returncode != 0
    on(alpha, "systemctl reset-failed")
    forks = "sh -c 'sleep 1 & sleep 1 & sleep 1 & wait'"
    assert ssh(alpha, f"systemd-run --quiet --wait --pipe -p TasksMax=2 {forks}").returncode != 0
    on(alpha, "systemctl reset-failed")


def test_a_rebooted_machine_comes_back_as_itself(alpha: Host) -> None:
    before = on(alpha, "touch /root/kept; cat /proc/sys/kernel/random/boot_id")
    ssh(alpha, "systemctl reboot")

    def is_back() -> bool:
        done = ssh(alpha, "cat /proc/sys/kernel/random/boot_id")
        return done.returncode == 0 and done.stdout.strip() != before

    until(is_back)
    assert on(alpha, "ls /root/kept; cat /etc/machine-id").split() == ["/root/kept", alpha.machine_id]
    assert on(alpha, "systemctl is-system-running --wait") == "running"


def test_a_powerless_machine_is_stopped_and_keeps_its_disk(provider: LocalProvider, beta: Host) -> None:
    on(beta, "echo kept >/root/file; sync")
    provider.kill("beta")
    assert provider.hosts()[1].state is HostState.STOPPED
    with pytest.raises(ProviderError, match="not running"):
        provider.kill("beta")
    provider.start("beta")
    assert provider.hosts()[1] == beta
    assert on(beta, "cat /root/file") == "kept"


def test_a_frozen_machine_answers_again_when_thawed(provider: LocalProvider, beta: Host) -> None:
    provider.freeze("beta")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            ssh(beta, "true", limit=3)
    finally:
        provider.thaw("beta")
    on(beta, "true")


def test_a_partitioned_machine_is_reached_again_when_healed(provider: LocalProvider, alpha: Host, beta: Host) -> None:
    provider.partition("beta")
    try:
        assert not connects(alpha, beta.address, 22)
    finally:
        provider.heal("beta")
    until(lambda: connects(alpha, beta.address, 22))


def test_storage_is_shared_by_the_machines_that_asked_for_it(alpha: Host, beta: Host) -> None:
    on(alpha, "echo seen >/shared/fleet/file")
    assert on(beta, "cat /shared/fleet/file") == "seen"


def test_machines_reach_package_archives(alpha: Host) -> None:
    on(alpha, "apt-get --quiet update --error-on=any", limit=120)


def test_machines_reach_no_link_local_address_of_this_computer(provider: LocalProvider, alpha: Host) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - must listen on the address under test
        port = server.getsockname()[1]
        subprocess.run(["ip", "address", "add", f"{LINK_LOCAL}/32", "dev", "lo"], check=True)
        try:
            socket.create_connection((LINK_LOCAL, port), timeout=2).close()  # it is there
            network = load(Paths(ROOT, provider._fleet))
            assert network is not None
            assert connects(alpha, str(network.gateway), port)  # and the server can be reached from a machine
            assert not connects(alpha, LINK_LOCAL, port)
            assert not connects(alpha, "169.254.169.254", 80)
        finally:
            subprocess.run(["ip", "address", "delete", f"{LINK_LOCAL}/32", "dev", "lo"], check=True)


def test_machines_have_no_ipv6_even_when_they_turn_it_on(provider: LocalProvider, alpha: Host) -> None:
    network = load(Paths(ROOT, provider._fleet))
    assert network is not None
    assert _out("ip", "-6", "address", "show", "dev", network.bridge) == ""
    assert on(alpha, "ip -6 address show dev eth0") == ""
    on(alpha, "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip link set eth0 addrgenmode eui64")
    on(alpha, "ip address add fe80::77/64 dev eth0 nodad")
    addresses = [
        line.split()[3] for line in _out("ip", "-6", "-oneline", "address", "show", "scope", "link").splitlines()
    ]
    with socket.create_server(("::", 0), family=socket.AF_INET6) as server:
        for address in addresses:
            assert not connects(alpha, f"{address.partition('/')[0]}%eth0", server.getsockname()[1])
    on(alpha, "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6")


def test_listing_hosts_takes_no_time(provider: LocalProvider) -> None:
    began = time.monotonic()
    for _ in range(10):
        provider.hosts()
    assert time.monotonic() - began < 0.5


def test_two_fleets_do_not_meet(provider: LocalProvider, alpha: Host) -> None:
    other = LocalProvider(new_name())
    try:
        (stranger,) = other.launch(requests("alpha"), ignore)
        assert other.networks != provider.networks
        assert on(stranger, "hostname") == "alpha"
        assert not connects(alpha, stranger.address, 22)
        assert not connects(stranger, alpha.address, 22)
    finally:
        other.destroy(ignore)
    on(alpha, "true")  # the other's end is not ours


def test_a_refused_launch_makes_nothing(provider: LocalProvider) -> None:
    name = new_name()
    with pytest.raises(ProviderError, match="overlaps") as caught:
        LocalProvider(name, subnet=provider.networks[0]).launch(requests("alpha"), ignore)
    assert caught.value.hint
    assert Traces.of(name).is_clean
    assert not Traces.of(name).directories
    assert f'/{name}"' not in (RUNTIME / "sysctls.json").read_text()


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
    assert after.settings in ((), before.settings) or not before.settings


@pytest.mark.parametrize("recorded", [1, 3, 5, 6, 58])
def test_a_launch_killed_at_any_point_leaves_nothing_after_destroy(recorded: int) -> None:
    name = new_name()
    provider = LocalProvider(name)
    provider.prepare(ignore)
    try:
        _launch_and_kill(name, lambda: len(Record(Paths(ROOT, name).record).read()) >= recorded)
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


@pytest.mark.parametrize("trace", ["sealed", "sealed/layer"])
def test_a_killed_seal_leaves_a_whole_image_or_none(trace: str) -> None:
    name, key = new_name(), f"t-{secrets.token_hex(4)}"
    provider = LocalProvider(name)
    try:
        provider.launch(requests("alpha"), ignore)
        local = "from fleetctl.adapters.providers.local import LocalProvider\n"
        script = f"{local}LocalProvider({name!r}).seal('alpha', {key!r})\n"
        with subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(SOURCES)}) as child:
            until(lambda: (Paths(ROOT, name).machine("alpha") / trace).exists() or key in provider.images())
            child.send_signal(signal.SIGKILL)
        if key in provider.images():
            (host,) = provider.launch([HostRequest("beta", ("workers",), image=key)], ignore)
        else:
            (host,) = provider.launch(requests("alpha"), ignore)
        assert on(host, "cat /etc/machine-id") == host.machine_id
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
        assert time.monotonic() - began < 30
    finally:
        provider.destroy(ignore)
    assert Traces.of(name).is_clean


def test_a_machine_that_does_not_boot_is_an_error_with_its_console() -> None:
    broken = LocalProvider(new_name(), storage_path="/etc/passwd/nowhere")  # cannot be a mount point
    try:
        with pytest.raises(ProviderError, match=r"no answer from its sshd\n.*passwd/nowhere") as caught:
            broken.launch(requests("alpha", storage=True), ignore)
        assert caught.value.hint
    finally:
        broken.destroy(ignore)


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
