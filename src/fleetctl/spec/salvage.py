"""The part of a broken fleet.yml that can still be judged, so that one mistake does not hide another."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fleetctl.spec.finding import Finding, Loc
from fleetctl.spec.models import FleetSpec
from fleetctl.spec.schema import describe
from fleetctl.spec.translate import dig, example, meant, place

_PASSES = 20


def salvage(data: Mapping[Any, Any]) -> tuple[FleetSpec | None, frozenset[Loc]]:
    """Mend `data` until it validates: drop what is wrong, stand the least value in for what must be there.

    Returns the spec and the places that were mended: nothing may be concluded from those.
    """
    mended, broken = copy.deepcopy(dict(data)), set[Loc]()
    for _ in range(_PASSES):
        try:
            return FleetSpec.model_validate(mended), frozenset(broken)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                broken.add(_mend(mended, error))
                if misspelt := meant(error):
                    broken.add(misspelt)
    return None, frozenset(broken)


def judged(findings: Iterable[Finding], broken: frozenset[Loc]) -> list[Finding]:
    """Keep the findings that rest on nothing broken."""
    return [finding for finding in findings if not any(_touches(loc, broken) for loc in (finding.loc, *finding.reads))]


def _touches(loc: Loc, broken: frozenset[Loc]) -> bool:
    return any(loc[:length] in broken for length in range(1, len(loc) + 1))


def _mend(data: Any, error: ErrorDetails) -> Loc:
    """Mend one place and return it; in a list that is the whole list, since its items have no names."""
    loc = place(error)
    while loc and isinstance(loc[-1], int):
        loc = loc[:-1]  # keys of mappings are text, so this was a list
    parent = dig(data, loc[:-1])
    if not isinstance(parent, dict) or not loc:
        return loc
    needed = error["type"] in ("missing", "union_tag_not_found")
    if needed and loc == place(error):
        parent[loc[-1]] = _least(describe(error["loc"]))
    else:
        parent.pop(loc[-1], None)
    return loc


def _least(part: Mapping[str, Any]) -> Any:
    return copy.deepcopy(part.get("minimum", example(part)))
