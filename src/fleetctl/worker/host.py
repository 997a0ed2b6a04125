"""A worker host as its files describe it: the fleet's environment, its credentials, its user."""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
from pathlib import Path

from fleetctl.worker import credentials


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the host's files are and who the fleet's user is."""
    parser.add_argument("--environment", type=Path, default=Path("/etc/fleet/environment"))
    parser.add_argument("--credentials", type=Path, default=Path("/etc/fleet/credentials.json"))
    parser.add_argument("--user", default="fleet")


def enter(options: argparse.Namespace) -> None:
    """Take over the host's environment and credentials, then become the fleet's user; OSError or ConfigurationError."""
    os.environ.update(parse_environment(options.environment.read_text()))
    os.environ.update(credentials.parse(options.credentials.read_text(), source=str(options.credentials)))
    become(options.user)


def parse_environment(text: str) -> dict[str, str]:
    """Return the variables of an environment file: lines KEY=VALUE, values quoted as for a shell."""
    return dict(word.partition("=")[::2] for word in shlex.split(text, comments=True))


def become(user: str) -> None:
    """Give up root for `user`; whoever is not root stays who they are."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir
    os.environ["USER"] = os.environ["LOGNAME"] = user
