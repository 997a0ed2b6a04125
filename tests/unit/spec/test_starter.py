"""What `fleetctl init` writes: it loads, shows every key, and every key in it works when its # is taken away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetctl.spec.load import parse
from fleetctl.spec.models import FleetSpec
from fleetctl.spec.schema import describe
from fleetctl.spec.starter import STARTER

LINES = STARTER.splitlines()
OPTION = re.compile(r"^( *)#(?! \S|$)")  # a # with no space, or inside of a block two; prose has one
OPTIONS = {number for number, line in enumerate(LINES) if OPTION.match(line)}
WHEEL = "dist/reports-2.1-py3-none-any.whl"


def _block(first: str) -> set[int]:
    """Find the lines of a commented-out block."""
    start = end = LINES.index(first)
    while end + 1 < len(LINES) and LINES[end + 1].startswith("#  "):
        end += 1
    return set(range(start, end + 1))


def _lines(pattern: str) -> set[int]:
    found = {number for number, line in enumerate(LINES) if re.search(pattern, line)}
    assert found, pattern
    return found


STATIC, APP = _block("#provider:"), _block("#app:")
EXTERNAL, MOUNTED = _lines("^    #(url|version|password):|^  #ca:"), _lines("^    #mounted:")
UML = _lines("^  #(machines: uml|memory:)|^    #(device|threads|lease_seconds):")
OWN_ONLY = _lines("^    #(database|reserve|max_connections|appendfsync|max_memory):")
SOURCES = _lines("^#  (path|wheel|requirement|git):")
LOCAL = OPTIONS - STATIC - EXTERNAL - MOUNTED - SOURCES - UML
# What is taken into the fleet, and what is taken out of it.
VARIANTS: dict[str, tuple[set[int], set[int]]] = {
    "as it is": (set(), set()),
    "all options, app from a directory": (LOCAL | _lines("^#  path:"), set()),
    "all options, app from a wheel": (LOCAL | _lines("^#  wheel:"), set()),
    "all options, app from an index": (LOCAL | _lines("^#  requirement:"), set()),
    "all options, app from a repository": (LOCAL | _lines("^#  git:"), set()),
    "user-mode Linux": (UML, set()),
    "static": (STATIC, _lines("^provider:$|^  kind: local$")),
    "storage that is there": (MOUNTED | STATIC, _lines("^    host: nfs|^provider:$|^  kind: local$")),
    "external services": (EXTERNAL | STATIC, _lines("^    host: |^provider:$|^  kind: local$")),
}


def _variant(name: str) -> str:
    take, drop = VARIANTS[name]
    kept = [(number, line) for number, line in enumerate(LINES) if number not in drop]
    return "\n".join(OPTION.sub(r"\1", line) if number in take else line for number, line in kept) + "\n"


@pytest.mark.parametrize("name", VARIANTS)
def test_the_starter_loads_in_every_variant(name: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "pyproject.toml").touch()
    (tmp_path / WHEEL).parent.mkdir()
    (tmp_path / WHEEL).touch()
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    is_static = VARIANTS[name][0] >= STATIC
    spec = parse(_variant(name), file=str(tmp_path / "fleet.yml"), workers=2 if is_static else None)
    assert spec.slots == (120 if is_static else 600)


def test_every_option_is_in_a_variant() -> None:
    assert set().union(*(take for take, _ in VARIANTS.values())) == OPTIONS


def _keys(value: Any, where: str = "") -> Iterator[str]:
    """Name the places of the keys in a fleet; * stands for names that its author chooses."""
    for key, child in value.items() if isinstance(value, dict) else ():
        place = f"{where}.*" if re.search(r"pools$|environment$|secrets$|routes$", where) else f"{where}.{key}"
        yield place
        yield from _keys(child, place)
    for child in value if isinstance(value, list) else ():
        yield from _keys(child, f"{where}[]")


def _places(loc: tuple[str | int, ...], where: str = "") -> Iterator[str]:
    """Name the places of the keys in the schema."""
    part = describe(loc)
    for key in part.get("properties", {}):
        yield f"{where}.{key}"
        yield from _places((*loc, key), f"{where}.{key}")
    if "patternProperties" in part:
        yield f"{where}.*"
        yield from _places((*loc, "any"), f"{where}.*")
    if "items" in part:
        yield from _places((*loc, 0), f"{where}[]")
    for kind in part.get("discriminator", {}).get("mapping", {}):
        yield from _places((*loc, kind), where)


def test_every_key_of_the_schema_stands_in_the_starter() -> None:
    shown = {key for name in VARIANTS for key in _keys(yaml.safe_load(_variant(name)))}
    pool_host = {".provider.hosts[].pool", ".provider.hosts[].become"}
    assert pool_host <= shown
    assert set(_places(())) - shown == set()


def test_what_is_shown_as_a_default_is_the_default() -> None:
    shown = yaml.safe_load(_variant("all options, app from a directory"))
    least = {"name": "fleet", "provider": {"kind": "local"}, "pools": {"worker": {"count": 10, "concurrency": 60}}}
    defaults, all_shown = (FleetSpec.model_validate(value).model_dump() for value in (least, shown))
    for key in ("per_host", "celery_pool", "slot_memory", "queues", "time_limit"):
        assert all_shown["pools"]["worker"][key] == defaults["pools"]["worker"][key]
    for service, key in (("postgres", "database"), ("postgres", "reserve"), ("redis", "appendfsync")):
        assert all_shown["services"][service][key] == defaults["services"][service][key]
    assert all_shown["storage"] == defaults["storage"]
    assert all_shown["provider"]["machines"] == defaults["provider"]["machines"]
    uml = FleetSpec.model_validate(yaml.safe_load(_variant("user-mode Linux"))).model_dump()
    external = FleetSpec.model_validate(yaml.safe_load(_variant("external services"))).model_dump()
    assert uml["provider"]["memory"] == defaults["provider"]["memory"]
    assert uml["services"]["nfs"]["lease_seconds"] == defaults["services"]["nfs"]["lease_seconds"]
    assert external["services"]["nfs"]["version"] == defaults["services"]["nfs"]["version"]


def test_every_option_is_explained_by_a_comment_above_it() -> None:
    unexplained = [
        LINES[number]
        for number in sorted(OPTIONS)
        if number - 1 not in OPTIONS and not LINES[number - 1].strip().startswith("# ")
    ]
    follows_its_pair = ["    #slot_memory: 24MiB", "    #per_host: 1", "    #soft_time_limit: 14m"]
    assert sorted(unexplained) == sorted(follows_its_pair)
