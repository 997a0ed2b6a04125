"""OpenSSH's options for a host: the same in the inventory and in `fleetctl ssh`. Pure."""

from __future__ import annotations

import shlex

from fleetctl.model import Host


def options(host: Host, known_hosts: str) -> list[str]:
    """Return the options that pin the host's key, and go through its jump host.

    A host without a pinned key of its own is looked up in the operator's known_hosts too. The jump host is entered with
    the same key file, and must be known as well: unknown keys are refused everywhere.
    """
    argv = _pinned(known_hosts, is_pinned=bool(host.host_keys))
    if host.jump:
        user_and_address, _, port = host.jump.partition(":")
        through = ["ssh", "-q", "-W", "%h:%p", *_pinned(known_hosts, is_pinned=False), "-p", port or "22"]
        through += ["-i", str(host.key_file)] if host.key_file else []
        argv += ["-o", f"ProxyCommand={shlex.join([*through, user_and_address])}"]
    return argv


def _pinned(known_hosts: str, *, is_pinned: bool) -> list[str]:
    second = "/dev/null" if is_pinned else "~/.ssh/known_hosts"
    return [
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known_hosts}"),
        *("-o", f"GlobalKnownHostsFile={second}"),
    ]
