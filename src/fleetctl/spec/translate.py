"""Pydantic's errors in the words of fleet.yml: what is wrong with a key, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    return (loc[0], *loc[2:]) if loc[:1] == ("provider",) and len(loc) > 1 else loc


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
    if part.get("enum"):
        return part["enum"][0]
    return part.get("const", part.get("default"))


def translate(errors: Iterable[ErrorDetails], data: Any) -> Iterator[Finding]:
    """Word each error. The values at fault are not repeated, but for misspelt words of a fixed choice."""
    for error in errors:
        loc, kind = place(error), error["type"]
        if kind == "too_short" and dig(data, loc):
            continue  # its items are wrong, and are reported
        message, fix = _WORDS.get(kind, _other)(error, loc, data)
        yield Finding(loc, message, fix)


def _line(loc: Loc, value: Any) -> str:
    """Write a key with a value as a line of YAML."""
    shown = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
    return f"{loc[-1]}: {shown}" if loc and isinstance(loc[-1], str) else shown


def _missing(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = data
    return "missing", f"add `{_line(loc, example(describe(error['loc'])))}`"


def _unknown(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = data
    key, known = str(loc[-1]), tuple(describe(error["loc"][:-1]).get("properties", {}))
    if close := _close(key, known):
        return "unknown key", f"did you mean `{close}`?"
    if places := homes(key):
        return "unknown key", f"it belongs to {' or '.join(places)}"
    return "unknown key", f"remove it; the keys here are {', '.join(known)}"


def _close(word: str, known: Sequence[str]) -> str | None:
    return next(iter(get_close_matches(word.replace("-", "_").lower(), known, n=1, cutoff=0.6)), None)


def _choice(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = data
    part = describe(error["loc"])
    choices = [str(choice) for choice in part.get("enum", [part["const"]] if "const" in part else [])]
    return _choose(loc, choices, error["input"])


def _tag(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    kinds = list(describe(error["loc"])["discriminator"]["mapping"])
    return _choose((*loc, "kind"), kinds, dig(data, (*loc, "kind")))


def _choose(loc: Loc, choices: Sequence[str], given: Any) -> tuple[str, str]:
    close = _close(given, choices) if isinstance(given, str) else None
    return f"not one of {', '.join(choices)}", f"write `{_line(loc, close or choices[0])}`"


def _tagless(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = data
    kinds = list(describe(error["loc"])["discriminator"]["mapping"])
    return "no kind is given", f"add `{_line((*loc, 'kind'), kinds[0])}` (one of {', '.join(kinds)})"


def _pattern(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = loc, data
    return WANTED[error["ctx"]["pattern"]]


def _refused(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    if error["input"] is None:
        return _type(error, loc, data)
    return str(error["ctx"]["message"]), str(error["ctx"]["fix"])


def _bound(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = loc, data
    name, message, fix = _BOUNDS[error["type"]]
    bound = f"{error['ctx'][name]:g}"
    return f"{message} {bound}", f"write {fix.format(bound)}"


def _type(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = data
    message = "empty" if error["input"] is None else _TYPES.get(error["type"], "empty")
    if error["type"] == "string_type" and error["input"] is not None:
        return message, "put it in quotes" if not isinstance(error["input"], dict | list) else "write one value"
    if len(loc) == 2 and loc[0] == "pools" and loc[1] in describe(("pools", "any"))["properties"]:
        return message, "a pool needs a name: put its keys one level deeper, below `worker:`"
    if error["type"] == "tuple_type" and isinstance(error["input"], str) and "," not in error["input"]:
        return message, f"put it in brackets: `{loc[-1]}: [...]`"
    return message, f"write `{_line(loc, example(describe(error['loc'])))}`"


def _other(error: ErrorDetails, loc: Loc, data: Any) -> tuple[str, str]:
    _ = data
    message = error["msg"]
    return message[:1].lower() + message[1:], f"write `{_line(loc, example(describe(error['loc'])))}`"


_Wording = Callable[[ErrorDetails, Loc, Any], tuple[str, str]]
_WORDS: Mapping[str, _Wording] = {
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
