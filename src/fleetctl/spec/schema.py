"""The JSON Schema of fleet.yml, and the part of it that describes one key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from fleetctl.spec.finding import Loc
from fleetctl.spec.models import FleetSpec


class _InOrder(GenerateJsonSchema):
    """Keys as models.py has them."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        del parent_key
        return value


def schema() -> dict[str, Any]:
    """Make the JSON Schema of what fleet.yml may hold: every key with its description, unit and default."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **FleetSpec.model_json_schema(mode="validation", schema_generator=_InOrder),
        "title": "fleet.yml",
    }


@cache
def _schema() -> dict[str, Any]:
    return schema()


def _resolve(part: Mapping[str, Any]) -> dict[str, Any]:
    """Follow a reference; what stands beside it overrules what it leads to."""
    target = _schema()["$defs"][part["$ref"].rsplit("/", 1)[-1]] if "$ref" in part else {}
    return {**target, **part}


def describe(loc: Loc) -> dict[str, Any]:
    """Find what the schema says of a place; in a union the tag that pydantic names stands in `loc`. {} when unknown."""
    part = _resolve(_schema())
    for step in loc:
        mapping = part.get("discriminator", {}).get("mapping", {})
        if step in mapping:
            part = _resolve({"$ref": mapping[step]})
        elif isinstance(step, int) and "items" in part:
            part = _resolve(part["items"])
        elif step in part.get("properties", {}):
            part = _resolve(part["properties"][step])
        elif "patternProperties" in part:
            part = _resolve(next(iter(part["patternProperties"].values())))
        else:
            return {}
    return part


def homes(key: str) -> tuple[str, ...]:
    """Find where a key may stand: the places that have it, as a user reads them."""
    return tuple(where for where, keys in _places(_resolve(_schema()), "") if key in keys)


def _places(part: dict[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    properties = part.get("properties", {})
    yield where or "the top level", properties
    for key, child in properties.items():
        yield from _places(_resolve(child), f"{where}.{key}".removeprefix("."))
    for child in part.get("patternProperties", {}).values():
        yield from _places(_resolve(child), f"{where}.<name>")
    if "items" in part:
        yield from _places(_resolve(part["items"]), f"{where}[]")
    for kind, reference in part.get("discriminator", {}).get("mapping", {}).items():
        yield from _places(_resolve({"$ref": reference}), f"{where} (kind: {kind})")
