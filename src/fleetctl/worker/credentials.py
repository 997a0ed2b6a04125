"""Secrets of a unit: a JSON object that systemd hands over by LoadCredential=, made environment variables.

Not EnvironmentFile=: systemd reads that before credentials exist. Not Environment=: `systemctl show` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path

FILE = "fleet.json"


class ConfigurationError(RuntimeError):
    """The environment does not say what is needed; the message names the variable or file."""


def parse(text: str, *, source: str) -> dict[str, str]:
    """Return the variables of a credentials file; ConfigurationError without any value when it is not one."""
    try:
        values = json.loads(text)
    except ValueError:
        raise ConfigurationError(f"{source}: not JSON") from None  # the cause would carry the text
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ConfigurationError(f"{source}: not a JSON object of strings")
    return values


def load(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """Set the variables of $CREDENTIALS_DIRECTORY/fleet.json in `environ`; return their names.

    Without that directory or file nothing happens. They take the place of variables that are already there.
    """
    path = credentials_file(environ)
    if path is None:
        return ()
    values = parse(path.read_text(encoding="utf-8"), source=str(path))
    environ.update(values)
    return tuple(sorted(values))


def credentials_file(environ: Mapping[str, str]) -> Path | None:
    """Return the credentials file of this service, None where there is none."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, FILE) if directory else None
    return path if path is not None and path.exists() else None
