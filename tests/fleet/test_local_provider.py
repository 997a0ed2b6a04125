"""Real machines of the local provider: what they are, what they may reach, what can happen to them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.fleet.machines import connects, ignore, is_frozen, network_of, new_name, on, output, requests, ssh, until

from fleetctl.adapters.providers.local import LocalProvider
from fleetctl.adapters.providers.local.paths import ROOT
from fleetctl.errors import ProviderError
from fleetctl.model import Host, HostState

pytestmark = pytest.mark.fleet

LINK_LOCAL = "169.254.77.77"


# In CI the contract of the port is held for both.
@pytest.fixture(scope="module", params=["nspawn", pytest.param("uml", marks=pytest.mark.drill)])
def machines(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def name(machines: str) -> str:
    del machines  # a fleet for each kind
    return new_name()


@pytest.fixture(scope="module")
def provider(name: str, machines: str) -> Iterator[LocalProvider]:
    provider = LocalProvider(name, storage_path="/shared/fleet", machines=machines)
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


def test_users_of_this_computer_reach_no_setuid_program_of_a_machine(alpha: Host) -> None:
    assert on(alpha, "stat --format %a /usr/bin/sudo") == "4755"
    assert ROOT.stat().st_mode & 0o777 == 0o700


def test_limits_of_units_bind(alpha: Host) -> None:
    hog = """python3 -c 'print(len(b"x" * 200000000))'"""
    assert on(alpha, f"systemd-run --quiet --wait --pipe {hog}") == "200000000"
    assert ssh(alpha, f"systemd-run --quiet --wait --pipe -p MemoryMax=50M -p MemorySwapMax=0 {hog}").returncode != 0
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


def test_a_frozen_machine_answers_again_when_thawed(name: str, provider: LocalProvider, beta: Host) -> None:
    on(beta, "true")  # so that what follows is the frost's doing
    assert not is_frozen(name, "beta")
    provider.freeze("beta")
    try:
        until(lambda: is_frozen(name, "beta"))
        with pytest.raises(subprocess.TimeoutExpired):
            ssh(beta, "true", limit=3)
    finally:
        provider.thaw("beta")
    on(beta, "true")
    assert not is_frozen(name, "beta")


def test_a_partitioned_machine_is_reached_again_when_healed(provider: LocalProvider, alpha: Host, beta: Host) -> None:
    provider.partition("beta")
    try:
        assert not connects(alpha, beta.address, 22)
    finally:
        provider.heal("beta")
    until(lambda: connects(alpha, beta.address, 22))


def test_storage_is_shared_by_the_containers_that_asked_for_it(machines: str, alpha: Host, beta: Host) -> None:
    if machines == "uml":
        pytest.skip("they have NFS")
    on(alpha, "echo seen >/shared/fleet/file")
    assert on(beta, "cat /shared/fleet/file") == "seen"


def test_machines_reach_package_archives(alpha: Host) -> None:
    on(alpha, "apt-get --quiet update --error-on=any", limit=120)


def test_machines_reach_no_link_local_address_of_this_computer(name: str, alpha: Host) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - must listen on the address under test
        port = server.getsockname()[1]
        subprocess.run(["ip", "address", "add", f"{LINK_LOCAL}/32", "dev", "lo"], check=True)
        try:
            socket.create_connection((LINK_LOCAL, port), timeout=2).close()  # it is there
            assert connects(alpha, str(network_of(name).gateway), port)  # and the server can be reached from a machine
            assert not connects(alpha, LINK_LOCAL, port)
            assert not connects(alpha, "169.254.169.254", 80)
        finally:
            subprocess.run(["ip", "address", "delete", f"{LINK_LOCAL}/32", "dev", "lo"], check=True)


def test_machines_have_no_ipv6_even_when_they_turn_it_on(name: str, alpha: Host) -> None:
    assert output("ip", "-6", "address", "show", "dev", network_of(name).bridge) == ""
    assert on(alpha, "ip -6 address show dev eth0") == ""
    on(alpha, "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip link set eth0 addrgenmode eui64")
    on(alpha, "ip address add fe80::77/64 dev eth0 nodad")
    addresses = [
        line.split()[3] for line in output("ip", "-6", "-oneline", "address", "show", "scope", "link").splitlines()
    ]
    with socket.create_server(("::", 0), family=socket.AF_INET6) as server:
        for address in addresses:
            assert not connects(alpha, f"{address.partition('/')[0]}%eth0", server.getsockname()[1])
    on(alpha, "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6")


def test_listing_hosts_takes_no_time(provider: LocalProvider) -> None:
    began = time.process_time()
    for _ in range(10):
        provider.hosts()
    assert time.process_time() - began < 1


def test_a_kernel_of_its_own_is_what_tells_the_kinds_apart(machines: str, alpha: Host) -> None:
    own = output("uname", "-r").strip()
    assert (on(alpha, "uname -r") == own) == (machines == "nspawn")
    if machines == "uml":
        on(alpha, "modprobe nfsd; modprobe nfsv4")


def test_machines_of_another_kind_are_refused(machines: str, name: str, provider: LocalProvider) -> None:
    other = LocalProvider(name, machines="uml" if machines == "nspawn" else "nspawn")
    with pytest.raises(ProviderError, match=f"kind {machines}") as caught:
        other.launch(requests("alpha", "gamma"), ignore)
    assert caught.value.hint
    assert [host.name for host in provider.hosts()] == ["alpha", "beta"]


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


def test_a_machine_that_does_not_boot_is_an_error_with_its_console() -> None:
    broken = LocalProvider(new_name(), storage_path="/etc/passwd/nowhere")  # cannot be a mount point
    try:
        with pytest.raises(ProviderError, match=r"no answer from its sshd\n.*passwd/nowhere") as caught:
            broken.launch(requests("alpha", storage=True), ignore)
        assert caught.value.hint
    finally:
        broken.destroy(ignore)
