"""Kernel settings that many machines on one computer need: raised while any fleet runs, put back after the last."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

from fleetctl.adapters.providers.local.paths import RUNTIME, locked, read_json, write_whole
from fleetctl.errors import ProviderError

# At least these values. Each systemd takes about 10 inotify instances; 600 jobs want process ids and keys.
IP_FORWARD = "net.ipv4.ip_forward"
MINIMA = {
    "fs.inotify.max_user_instances": 8192,
    "fs.inotify.max_user_watches": 1048576,
    "kernel.keys.maxbytes": 2000000,
    "kernel.keys.maxkeys": 20000,
    "kernel.pid_max": 4194304,
    IP_FORWARD: 1,
    "net.ipv4.neigh.default.gc_thresh3": 4096,
}

_REGISTRY = RUNTIME / "sysctls.json"


class Registry(TypedDict):
    """Old values of what was raised since this computer started, and the fleets on whose behalf."""

    boot: str
    before: dict[str, int]
    holders: list[str]


def hold(fleet: Path) -> None:
    """Raise the settings on behalf of the fleet of that directory. Old values are noted before the first write."""
    with locked("sysctls"):
        registry = _read()
        holders = [holder for holder in registry["holders"] if Path(holder).is_dir() and holder != str(fleet)]
        before = dict(registry["before"])
        for name, minimum in MINIMA.items():
            if (value := _get(name)) is not None and value < minimum:
                before.setdefault(name, value)
        write_whole(_REGISTRY, json.dumps(registry | {"holders": [*holders, str(fleet)], "before": before}))
        for name in before:
            value = _get(name)
            if value is not None and value < MINIMA[name]:
                _set(name, MINIMA[name])


def release(fleet: Path, *, keep: Collection[str] = ()) -> None:
    """Drop the fleet's claim; with the last one, put back what is still as we set it, but for the names in `keep`."""
    with locked("sysctls"):
        registry = _read()
        holders = [holder for holder in registry["holders"] if Path(holder).is_dir() and holder != str(fleet)]
        if holders:
            write_whole(_REGISTRY, json.dumps(registry | {"holders": holders}))
            return
        for name, value in registry["before"].items():
            if name not in keep and _get(name) == MINIMA.get(name):
                _set(name, value)
        _REGISTRY.unlink(missing_ok=True)


def _read() -> Registry:
    """Return what is held since this computer started; nothing after a restart, which undid it all."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    found = read_json(_REGISTRY)
    if found and found["boot"] == boot:
        return Registry(boot=boot, before=found["before"], holders=found["holders"])
    return Registry(boot=boot, before={}, holders=[])


def _path(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _get(name: str) -> int | None:
    try:
        return int(_path(name).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _set(name: str, value: int) -> None:
    try:
        _path(name).write_text(f"{value}\n", encoding="ascii")
    except OSError as exc:
        raise ProviderError(f"cannot set {name} to {value}: {exc.strerror}") from exc
