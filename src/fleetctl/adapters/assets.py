"""Where playbooks, roles, inventory and templates are: the checkout's own, else the wheel's. Never an editable
install's stale copies: the checkout is looked for first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import fleetctl

_PACKAGE = Path(fleetctl.__file__).parent
_NOT_THE_ROLE = frozenset({"molecule", "README.md"})
_NOT_SETUP = frozenset({"health.yml", "retire.yml"})


def root() -> Path:
    """Return the directory that holds playbooks/, roles/, inventory/, templates/, ansible.cfg."""
    checkout = _PACKAGE.parent.parent
    if (checkout / "playbooks" / "site.yml").is_file() and (checkout / "pyproject.toml").is_file():
        return checkout
    return _PACKAGE / "data"


def package() -> Path:
    """Return the directory of the fleetctl package."""
    return _PACKAGE


def probe() -> str:
    """Return the text of the probe that `health` sends to hosts."""
    return (_PACKAGE / "probe.py").read_text()


def role_digests() -> dict[str, str]:
    """Return a digest of each role's files, and under "playbooks" one of the playbooks and group_vars."""
    top = root()
    digests = {
        role.name: tree_digest([role], ignored=_NOT_THE_ROLE)
        for role in sorted((top / "roles").iterdir())
        if role.is_dir()
    }
    digests["playbooks"] = tree_digest([top / "playbooks", top / "inventory" / "group_vars"], ignored=_NOT_SETUP)
    return digests


def tree_digest(paths: Iterable[Path], *, ignored: frozenset[str] = frozenset()) -> str:
    """Return a digest of names, contents and the executable bit below the paths, without the names in `ignored`."""
    total = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            relative = file.relative_to(path.parent)
            if ignored.intersection(relative.parts) or "__pycache__" in relative.parts:
                continue
            total.update(f"{relative}\0{bool(file.stat().st_mode & 0o100)}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:32]
