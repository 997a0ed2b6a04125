"""What the role base leaves behind, seen from outside."""

from __future__ import annotations

from typing import Any


def test_the_account_has_the_fleets_ids_and_no_way_to_log_in(host: Any) -> None:
    user = host.user("fleet")
    assert (user.uid, user.gid, user.shell) == (6000, 6000, "/usr/sbin/nologin")
    assert user.password == "!"
    assert host.file(user.home).mode == 0o700


def test_the_directory_for_what_the_host_is_told_is_roots(host: Any) -> None:
    directory = host.file("/etc/fleet")
    assert directory.is_directory
    assert (directory.user, directory.mode) == ("root", 0o755)


def test_a_session_of_the_account_has_its_open_files(host: Any) -> None:
    assert host.check_output("runuser --user fleet -- sh -c 'ulimit -Sn'") == "16384"


def test_a_service_started_later_has_its_open_files(host: Any) -> None:
    assert host.check_output("systemd-run --quiet --pipe --wait sh -c 'ulimit -Sn'") == "16384"


def test_kernel_settings_that_the_host_may_make_are_made(host: Any) -> None:
    assert host.sysctl("net.core.somaxconn") == 2048


def test_all_kernel_settings_are_kept_for_the_next_start(host: Any) -> None:
    lines = host.file("/etc/sysctl.d/60-base.conf").content_string.splitlines()
    assert "kernel.pid_max = 4194304" in lines


def test_the_time_servers_are_those_given(host: Any) -> None:
    assert host.package("systemd-timesyncd").is_installed
    assert "NTP=192.0.2.1" in host.check_output("systemd-analyze cat-config systemd/timesyncd.conf").splitlines()


def test_the_host_runs_without_a_failed_unit(host: Any) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
