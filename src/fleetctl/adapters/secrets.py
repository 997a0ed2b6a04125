"""A fleet's secrets: one file of Ansible variables, 0600, outside the checkout.

Passwords of the fleet's own services are generated on first use and never change by themselves; each may be given as
FLEETCTL_SECRET_<NAME> (FLEETCTL_SECRET_POSTGRES_PASSWORD) before the first deploy. Secrets that fleet.yml refers to
(env:NAME, file:PATH) are fetched anew at each deploy. A file that is encrypted by ansible-vault is left alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import SecretStr

from fleetctl.adapters.privatefile import make_private, read_private, write_private
from fleetctl.adapters.references import UnresolvedError, resolve
from fleetctl.errors import Problem, SpecError, UsageError
from fleetctl.spec.load import positions
from fleetctl.spec.models import FleetSpec

Fetch = Literal["all", "can", "none"]

FILE = "secrets.yml"
_PREFIX = "fleet_secret_"
_APP = "fleet_secret_app"
_SALT = "fleet_secret_salt"  # makes the digest safe to publish, whatever the other values are
_EXTERNAL = "fleet_secret_external"  # names of passwords that fleet.yml refers to: not ours to keep
_REDIS_USERS = ("worker", "producer", "monitor", "admin")
_HEAD = (
    "# Secrets of fleet {name}, written by fleetctl. Ansible reads the same file. Keep it: the services know these.\n"
)


class _Loader(yaml.SafeLoader):
    """Reads what _Dumper writes."""


class _Dumper(yaml.SafeDumper):
    """Marks text that Ansible would take for a template."""


def _untagged(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("!unsafe" if "{" in value else "tag:yaml.org,2002:str", value)


_Loader.add_constructor("!unsafe", _untagged)
_Dumper.add_representer(str, _text)


@dataclass(frozen=True)
class SecretsFile:
    """Where a fleet's secrets are. `digest` changes when one of them does, and tells nothing about them."""

    path: Path
    digest: str
    is_vaulted: bool = False
    generated: tuple[str, ...] = ()  # names that are new in this call
    ignored: tuple[str, ...] = ()  # FLEETCTL_SECRET_* variables that differ from what the fleet has


def ensure(
    spec: FleetSpec, state_dir: Path, *, environ: Mapping[str, str], spec_file: Path, fetch: Fetch = "all"
) -> SecretsFile:
    """Make the secrets file hold what the spec needs, and return where it is.

    `fetch`: "all" references anew, for a deploy; those that "can" be resolved here, for its plan; "none" that the last
    deploy has fetched, for other commands. Raises SpecError with every reference that is missing then, UsageError when
    the file is not private.
    The caller holds the fleet's lock when it deploys.
    """
    path = state_dir / FILE
    make_private(state_dir)
    text = read_private(path)
    if text is not None and _is_vaulted(text):
        return SecretsFile(path, hashlib.sha256(text.encode()).hexdigest(), is_vaulted=True)
    old = _parse(text, path) if text is not None else {}
    values, generated, ignored = _own(spec, old, environ)
    _fetch_all(spec, old, values, environ, spec_file, fetch=fetch)
    if values != old:
        write_private(path, _HEAD.format(name=spec.name) + yaml.dump(values, Dumper=_Dumper, sort_keys=True))
    return SecretsFile(path, _digest(values), generated=tuple(generated), ignored=tuple(ignored))


def read(path: Path) -> dict[str, SecretStr]:
    """Read the secrets by variable name; those of the app as fleet_secret_app.NAME.

    Raises UsageError when there is no such file, when it is not private or when it is encrypted.
    """
    text = read_private(path)
    if text is None:
        raise UsageError(f"there is no {path}", hint="`fleetctl deploy` writes it")
    if _is_vaulted(text):
        raise UsageError(
            f"{path} is encrypted, so this command cannot use the passwords in it",
            hint=f"ansible-vault decrypt {path}",
        )
    values = _parse(text, path)
    app = {f"{_APP}.{name}": SecretStr(value) for name, value in values.get(_APP, {}).items()}
    plain = {name: value for name, value in values.items() if name.startswith(_PREFIX) and isinstance(value, str)}
    return {name: SecretStr(value) for name, value in plain.items() if name != _SALT} | app


def _own(
    spec: FleetSpec, old: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return the values with those of the fleet's own services in them, and what was generated and ignored."""
    foreign = old.get(_EXTERNAL, [])
    values = {name: value for name, value in old.items() if name not in (*foreign, _EXTERNAL, _APP)}
    generated, ignored = [], []
    values.setdefault(_SALT, secrets.token_urlsafe(32))
    for name in _own_names(spec):
        variable = f"FLEETCTL_SECRET_{name.removeprefix(_PREFIX).upper()}"
        given = environ.get(variable)
        if name not in values:
            values[name] = _usable(given, variable) if given is not None else secrets.token_urlsafe(32)
            generated.append(name)
        elif given is not None and given != values[name]:
            ignored.append(variable)
    return values, generated, ignored


def _own_names(spec: FleetSpec) -> list[str]:
    postgres = ["postgres_password"] if spec.services.postgres.host else []
    redis = [f"redis_{user}_password" for user in _REDIS_USERS] if spec.services.redis.host else []
    return [_PREFIX + name for name in (*postgres, *redis)]


def _fetch_all(
    spec: FleetSpec,
    old: Mapping[str, Any],
    values: dict[str, Any],
    environ: Mapping[str, str],
    spec_file: Path,
    *,
    fetch: Fetch,
) -> None:
    """Put what fleet.yml refers to into `values`. Raises SpecError with all that cannot be had."""
    failed: list[tuple[str, str, str]] = []

    def take(reference: str, key: str, kept: Any, *, one_line: bool) -> str:
        if isinstance(kept, str) and fetch == "none":
            return kept
        try:
            return resolve(reference, environ, one_line=one_line)
        except UnresolvedError as exc:
            if isinstance(kept, str) and fetch == "can":
                return kept
            failed.append((key, exc.message, exc.fix))
            return ""

    external = []
    services = spec.services
    for key, name, service in (
        ("postgres", f"{_PREFIX}postgres_password", services.postgres),
        ("redis", f"{_PREFIX}redis_worker_password", services.redis),
    ):
        if service.url is not None and service.password is not None:
            kept = old.get(name) if name in old.get(_EXTERNAL, []) else None
            values[name] = take(service.password, f"services.{key}.password", kept, one_line=True)
            external.append(name)
    if external:
        values[_EXTERNAL] = external
    values[_APP] = {
        name: take(reference, f"app.secrets.{name}", old.get(_APP, {}).get(name), one_line=False)
        for name, reference in spec.app.secrets.items()
    }
    if failed:
        lines = positions(spec_file)
        problems = [Problem(str(spec_file), lines.get(key, 1), key, message, fix) for key, message, fix in failed]
        raise SpecError(sorted(problems, key=lambda problem: problem.line))


def _usable(value: str, variable: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._~-]{16,}", value):
        return value
    raise UsageError(
        f"{variable} is not usable as a password: 16 or more letters, digits, dots, dashes, underscores and tildes",
        hint=f"unset {variable}, and one is generated",
    )


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_vaulted(text: str) -> bool:
    return text.startswith("$ANSIBLE_VAULT;") or re.search(r"^\w+:\s*!vault\b", text, re.MULTILINE) is not None


def _parse(text: str, path: Path) -> dict[str, Any]:
    """Parse the file. The parser's own messages are not passed on: they quote the text."""
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, ValueError):
        values = text
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(_is_well_formed(name, value) for name, value in values.items()):
        raise UsageError(f"{path} is not what fleetctl wrote", hint="restore it, or put its values in quotes")
    return dict(values)


def _is_well_formed(name: object, value: object) -> bool:
    if not isinstance(name, str):
        return False
    if name == _APP:
        return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    if name == _EXTERNAL:
        return isinstance(value, list)
    return isinstance(value, str) or not name.startswith(_PREFIX)
