"""The JSON Schema describes every key, and says the same as the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from fleetctl.spec import models
from fleetctl.spec.load import schema
from fleetctl.spec.models import FleetSpec

ROOT = Path(__file__).parents[3]


def _properties() -> Iterator[tuple[str, dict[str, Any]]]:
    whole = schema()
    for owner, part in (("", whole), *whole["$defs"].items()):
        for key, value in part["properties"].items():
            yield f"{owner}.{key}", value


PROPERTIES = dict(_properties())


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_key_has_a_description(name: str) -> None:
    description = PROPERTIES[name].get("description", "")
    assert description
    assert not description.endswith(".")


@pytest.mark.parametrize("name", [name for name, value in PROPERTIES.items() if "default" not in value])
def test_every_required_key_has_an_example(name: str) -> None:
    assert PROPERTIES[name].get("examples") or "const" in PROPERTIES[name]


MODELS = {
    model.__name__: model
    for model in vars(models).values()
    if isinstance(model, type) and issubclass(model, models.Model)
}


@pytest.mark.parametrize("name", [name for name, value in PROPERTIES.items() if "examples" in value])
def test_every_example_is_accepted(name: str) -> None:
    owner, key = name.split(".")
    model = MODELS[owner or "FleetSpec"]
    for example in PROPERTIES[name]["examples"]:
        with pytest.raises(ValidationError) as caught:  # a key too much, so that it always fails
            model.model_validate({key: example, "too_much": 1})
        assert [error["loc"] for error in caught.value.errors() if error["loc"][0] == key] == []


def test_sizes_and_durations_are_text_with_a_pattern() -> None:
    assert PROPERTIES["Pool.time_limit"]["type"] == "string"
    assert PROPERTIES["Pool.time_limit"]["default"] == "15m"
    assert "(s|m|h)" in PROPERTIES["Pool.time_limit"]["pattern"]
    assert PROPERTIES["Pool.slot_memory"]["default"] == "24MiB"
    assert "(MiB|GiB)" in PROPERTIES["Pool.memory"]["anyOf"][0]["pattern"]


def test_a_version_is_a_number_or_text_for_the_schema_too() -> None:
    assert set(PROPERTIES["NfsService.version"]["enum"]) == {"4.2", "4.1", 4.2, 4.1}
    assert PROPERTIES["NfsService.version"]["default"] == "4.2"


def test_unknown_keys_are_refused_by_the_schema_too() -> None:
    whole = schema()
    assert whole["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in whole["$defs"].values())


def test_the_fleet_of_this_repository_obeys_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    fleet = yaml.safe_load((ROOT / "fleet.yml").read_text())
    jsonschema.validate(fleet, schema())
    fleet["pools"]["worker"]["time_limit"] = 900
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(fleet, schema())
    with pytest.raises(ValidationError):
        FleetSpec.model_validate(fleet)
