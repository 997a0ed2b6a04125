"""The write-ahead record: each resource is written down before it is made, so that a crash leaves nothing unknown."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetctl.adapters.providers.local.paths import write_whole


@dataclass(frozen=True)
class Resource:
    """Something that was, or was about to be, made. `host` is None for what the whole fleet shares."""

    # sysctls, bridge, table, forward, directory, netns, link, mount, sockets, cgroup, machine (its processes)
    kind: str
    name: str
    host: str | None = None


class Record:
    """One line of JSON for each resource, in the order of making."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> tuple[Resource, ...]:
        """All that was recorded, each once; a last line that a crash cut short was never acted upon."""
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return ()
        found: dict[Resource, None] = {}
        for line in lines:
            try:
                found[Resource(**json.loads(line))] = None
            except ValueError:
                continue
        return tuple(found)

    def add(self, *resources: Resource) -> None:
        """Write down what is about to be made."""
        known = set(self.read())
        text = "".join(json.dumps(asdict(resource)) + "\n" for resource in resources if resource not in known)
        if text:
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                if file.tell() and not self._ends_whole():
                    text = "\n" + text
                file.write(text)

    def forget(self, hosts: Collection[str]) -> None:
        """Strike out what belonged to hosts that are gone."""
        with self._lock:
            kept = [resource for resource in self.read() if resource.host not in hosts]
            write_whole(self._path, "".join(json.dumps(asdict(resource)) + "\n" for resource in kept))

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
