"""What makes a machine itself: its name, its keys, its place in the network. Made by us, before it first boots."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from fleetctl.adapters.providers.local.paths import read_json, write_whole

_FILE = "machine.json"
_HOST_KEY = "ssh_host_key"
_WRITTEN = "identity-written"

File = tuple[str, int]  # text and mode


@dataclass(frozen=True)
class Identity:
    """One machine of a fleet. `number` gives its address, its cable's name and its hardware address."""

    name: str
    number: int
    base: str  # digest of the base image
    image: str | None = None  # key of the sealed image on top of it
    storage: bool = False
    machines: str = "nspawn"  # kind of machine
    has_data_disk: bool = False
    draft: bool = False
    machine_id: str = ""
    host_key: str = ""  # public


def create(directory: Path, identity: Identity) -> Identity:
    """Make a machine's directory, key pair and id; its identity file comes last and makes it exist."""
    directory.mkdir(parents=True, exist_ok=True)
    public = make_key(directory / _HOST_KEY, comment=identity.name)
    identity = replace(identity, machine_id=uuid.uuid4().hex, host_key=public)
    write_whole(directory / _FILE, json.dumps(asdict(identity), indent=1) + "\n")
    return identity


def load(directory: Path) -> Identity | None:
    """Return the identity of the machine of that directory; None where there is none."""
    content = read_json(directory / _FILE)
    known = {field.name for field in fields(Identity)}  # a newer fleetctl may have written more
    return Identity(**{key: value for key, value in content.items() if key in known}) if content else None


def load_all(machines: Path) -> dict[str, Identity]:
    """Return the identities of all machines by name, sorted."""
    if not machines.is_dir():
        return {}
    found = (load(directory) for directory in sorted(machines.iterdir()))
    return {identity.name: identity for identity in found if identity}


def make_key(path: Path, *, comment: str) -> str:
    """Make an ed25519 key pair unless it is there; return its public half, "ssh-ed25519 AAAA..."."""
    public_path = path.with_name(f"{path.name}.pub")
    if not public_path.exists():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        encoding, encryption = serialization.Encoding, serialization.NoEncryption()
        private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption)
        public = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        write_whole(path, private.decode(), mode=0o600)
        write_whole(public_path, f"{public.decode()} {comment}\n")
    return " ".join(public_path.read_text(encoding="utf-8").split()[:2])


def files(directory: Path, identity: Identity, *, address: str, client_key: str) -> dict[str, File]:
    """Return the files, by their paths without the first slash, that make a disk this machine's."""
    return {
        "etc/machine-id": (f"{identity.machine_id}\n", 0o444),
        "etc/hostname": (f"{identity.name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost\n{address} {identity.name}\n", 0o644),
        "etc/ssh/ssh_host_ed25519_key": ((directory / _HOST_KEY).read_text(encoding="ascii"), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (f"{identity.host_key} {identity.name}\n", 0o644),
        "root/.ssh/authorized_keys": (f"{client_key} fleetctl\n", 0o600),
    }


def write(directory: Path, files: Mapping[str, File]) -> None:
    """Write an identity into a machine's mounted disk: once, before its first boot."""
    if (directory / _WRITTEN).exists():
        return
    root = directory / "root"
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    for name, (text, mode) in files.items():
        write_whole(root / name, text, mode=mode)
    (directory / _WRITTEN).touch()


def forget(directory: Path) -> None:
    """Note that the machine's disk no longer carries its identity."""
    (directory / _WRITTEN).unlink(missing_ok=True)
