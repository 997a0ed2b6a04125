"""The OpenSSH command line for a host, with its pinned keys."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from fleetctl.core import ssh
from fleetctl.model import Host


def command_line(host: Host, known_hosts: Path, command: Sequence[str]) -> list[str]:
    """Return the argv of ssh for a shell on `host`, or for `command` there (as root where the fleet becomes root)."""
    argv = ["ssh", *ssh.options(host, str(known_hosts)), "-o", "LogLevel=ERROR"]
    argv += ["-p", str(host.port)]
    argv += ["-i", str(host.key_file), "-o", "IdentitiesOnly=yes"] if host.key_file else []
    argv.append(f"{host.user}@{host.address}")
    if not command:
        return argv
    remote = " ".join(command)
    return [*argv, f"sudo -n sh -c {shlex.quote(remote)}" if host.become else remote]
