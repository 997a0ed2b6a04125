"""Pydantic's errors in the words of fleet.yml: what is wrong with a key, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.schema import describe, homes
from fleetctl.spec.shapes import WANTED

_TYPES = {
    "int_type": "not a whole number",
    "int_from_float": "not a whole number",
    "float_type": "not a number",
    "finite_number": "not a finite number",
    "bool_type": "neither true nor false",
    "string_type": "not text",
    "tuple_type": "not a list",
    "dict_type": "not a mapping of keys",
    "model_type": "not a mapping of keys",
    "model_attributes_type": "not a mapping of keys",
    "too_short": "empty",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "less than", "{} or more"),
    "less_than_equal": ("le", "more than", "{} or less"),
    "greater_than": ("gt", "not more than", "more than {}"),
}


def place(error: ErrorDetails) -> Loc:
    """Find where in the data an error is: pydantic's place without the words that it adds for unions and keys."""
    loc = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "union_tag_invalid":
        return (*loc, "kind")
    return (loc[0], *loc[2:]) if loc[:1] == ("provider",) and len(loc) > 1 else loc


def meant(error: ErrorDetails) -> Loc | None:
    """Find the key that an unknown one was probably meant to be."""
    if error["type"] != "extra_forbidden":
        return None
    loc = place(error)
    close = _close(str(loc[-1]), tuple(describe(error["loc"][:-1]).get("properties", {})))
    return (*loc[:-1], close) if close else None


def dig(data: Any, loc: Loc) -> Any:
    """Get what stands at a place; None when nothing does."""
    for step in loc:
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def example(part: Mapping[str, Any]) -> Any:
    """Choose a value that the schema accepts for a key; None when it names none."""
    if part.get("examples"):
        return part["examples"][0]
    if part.get("required"):
        return {key: example(part["properties"][key]) for key in part["required"]}
    return part.get("const", part.get("default"))


@dataclass(frozen=True)
class _Case:
    """One error of pydantic's, with its place in the data and what the schema says of it."""

    error: ErrorDetails
    loc: Loc

    @property
    def part(self) -> dict[str, Any]:
        return describe(self.error["loc"])

    @property
    def given(self) -> Any:
        return self.error["input"]


def translate(errors: Iterable[ErrorDetails], data: Any) -> Iterator[Finding]:
    """Word each error. The values at fault are not repeated. What only follows from another error is left out."""
    errors = tuple(errors)
    misspelt = {meant(error) for error in errors}
    for error in errors:
        loc, kind = place(error), error["type"]
        if (kind == "too_short" and dig(data, loc)) or (kind == "missing" and loc in misspelt):
            continue  # its items are wrong, or it is there under a misspelt name
        message, fix = _WORDS.get(kind, _other)(_Case(error, loc))
        yield Finding(loc, message, fix)


def _line(loc: Loc, value: Any) -> str:
    """Write a key with a value as a line of YAML."""
    shown = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
    return f"{loc[-1]}: {shown}" if loc and isinstance(loc[-1], str) else shown


def _missing(case: _Case) -> tuple[str, str]:
    return "missing", f"add `{_line(case.loc, example(case.part))}`"


def _unknown(case: _Case) -> tuple[str, str]:
    if key := meant(case.error):
        return "unknown key", f"did you mean `{key[-1]}`?"
    if places := homes(str(case.loc[-1])):
        return "unknown key", f"it belongs to {' or '.join(places)}"
    known = describe(case.error["loc"][:-1])["properties"]
    return "unknown key", f"remove it; the keys here are {', '.join(known)}"


def _close(word: str, known: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(word.replace("-", "_").lower(), known, n=1, cutoff=0.6)), None)


def _choice(case: _Case) -> tuple[str, str]:
    choices = case.part.get("enum") or [case.part["const"]]
    return _choose(case.loc, choices, case.given)


def _tag(case: _Case) -> tuple[str, str]:
    return _choose(case.loc, list(case.part["discriminator"]["mapping"]), dig(case.given, ("kind",)))


def _choose(loc: Loc, choices: Sequence[str], given: Any) -> tuple[str, str]:
    close = _close(given, choices) if isinstance(given, str) else None
    return f"not one of {', '.join(choices)}", f"write `{_line(loc, close or choices[0])}`"


def _tagless(case: _Case) -> tuple[str, str]:
    kinds = list(case.part["discriminator"]["mapping"])
    return "no kind is given", f"add `kind: {kinds[0]}` (one of {', '.join(kinds)})"


def _pattern(case: _Case) -> tuple[str, str]:
    return WANTED[case.error["ctx"]["pattern"]]


def _refused(case: _Case) -> tuple[str, str]:
    if case.given is None:
        return _type(case)
    return str(case.error["ctx"]["message"]), str(case.error["ctx"]["fix"])


def _bound(case: _Case) -> tuple[str, str]:
    name, message, fix = _BOUNDS[case.error["type"]]
    bound = f"{case.error['ctx'][name]:g}"
    return f"{message} {bound}", f"write {fix.format(bound)}"


def _type(case: _Case) -> tuple[str, str]:
    kind, loc = case.error["type"], case.loc
    message = "empty" if case.given is None else _TYPES.get(kind, "empty")
    if kind == "string_type" and case.given is not None:
        return message, "write one value" if isinstance(case.given, dict | list) else "put it in quotes"
    if len(loc) == 2 and loc[0] == "pools" and loc[1] in describe(("pools", "any"))["properties"]:
        return message, "a pool needs a name: put its keys one level deeper, below `worker:`"
    if kind == "tuple_type" and isinstance(case.given, str):
        return message, f"put it in brackets: `{loc[-1]}: [...]`"
    return message, _suggest(case)


def _suggest(case: _Case) -> str:
    value = example(case.part)
    return "write a value, or remove it" if value is None else f"write `{_line(case.loc, value)}`"


def _other(case: _Case) -> tuple[str, str]:
    message = case.error["msg"]
    return message[:1].lower() + message[1:], _suggest(case)


_WORDS: Mapping[str, Callable[[_Case], tuple[str, str]]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "literal_error": _choice,
    "union_tag_invalid": _tag,
    "union_tag_not_found": _tagless,
    "string_pattern_mismatch": _pattern,
    "refused": _refused,
    **dict.fromkeys(_BOUNDS, _bound),
    **dict.fromkeys(_TYPES, _type),
}
