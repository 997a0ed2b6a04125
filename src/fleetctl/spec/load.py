"""fleet.yml as a FleetSpec, or every mistake in it at once, in the file's order."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fleetctl.errors import Problem, SpecError, UsageError
from fleetctl.spec.document import Document, read_document
from fleetctl.spec.finding import Finding, Loc, dotted
from fleetctl.spec.models import FleetSpec, StaticProvider
from fleetctl.spec.rules import check
from fleetctl.spec.salvage import judged, salvage
from fleetctl.spec.schema import schema as schema
from fleetctl.spec.translate import translate

_INIT = "`fleetctl init` writes a commented one"


def load(path: Path, *, workers: int | None = None) -> FleetSpec:
    """Read a fleet.yml; `workers` overrides the count of its only pool.

    Relative paths in it become absolute, from its directory. Raises SpecError with every mistake, UsageError when
    there is no such file or `workers` is ambiguous.
    """
    return parse(_read(path), file=str(path), workers=workers)


def positions(path: Path) -> dict[str, int]:
    """Map every key of a fleet.yml, dotted, to its line. Raises as `load` does when it is no YAML."""
    document = read_document(_read(path), str(path))
    if document.data is None:
        raise SpecError(document.problems)
    return {dotted(loc): line for loc, (line, _) in document.marks.items()}


def parse(text: str, *, file: str, workers: int | None = None) -> FleetSpec:
    """Do what `load` does, for the text of a file."""
    document = read_document(text, file)
    if document.data is None:
        raise SpecError(document.problems)
    target = _only_pool(document.data) if workers is not None else None
    data = _with_count(document.data, target, workers) if target else document.data
    directory = Path(file).parent.resolve()

    spec, broken = salvage(data)
    findings = _validate(document.data)
    overridden = [finding for finding in _validate(data) if finding.loc == target] if target else []
    for finding in judged(check(spec, directory), broken) if spec else ():
        (overridden if finding.loc == target else findings).append(finding)

    if target and spec and workers and spec.pools[str(target[1])].per_host > 1:
        # The hosts alone tell later commands how many units there are, and a host that is not full does not.
        overridden.append(Finding(target, "not with per_host above 1", "change count in fleet.yml", ()))

    several = _refuse_workers(document.data) if workers is not None and target is None else None
    if several and (findings or document.problems):
        message = several.message.removeprefix("--workers ")
        overridden.append(Finding(("pools",), message, several.hint or ""))
    problems = [((problem.line, 0), problem) for problem in document.problems]
    problems += [_problem(document, finding, dotted(finding.loc)) for finding in findings]
    problems += [_problem(document, finding, "--workers") for finding in overridden]
    if problems or spec is None:
        raise SpecError([problem for _, problem in sorted(problems, key=lambda marked: marked[0])])
    if several:
        raise several
    return _absolute(spec, directory)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise UsageError(f"there is no {path}", hint=_INIT) from None
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise SpecError([Problem(str(path), line, "yaml", "not UTF-8", "save the file as UTF-8")]) from None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", hint=_INIT) from exc


def _validate(data: Mapping[Any, Any]) -> list[Finding]:
    try:
        FleetSpec.model_validate(data)
    except ValidationError as exc:
        return list(translate(exc.errors(include_url=False), data))
    return []


def _problem(document: Document, finding: Finding, key: str) -> tuple[tuple[int, int], Problem]:
    mark = document.mark(finding.loc)
    return mark, Problem(document.file, mark[0], key, finding.message, finding.fix)


def _pools(data: Mapping[Any, Any]) -> list[str]:
    pools = data.get("pools")
    return [str(name) for name in pools] if isinstance(pools, dict) else []


def _only_pool(data: Mapping[Any, Any]) -> Loc | None:
    """Find the count that --workers sets."""
    names = _pools(data)
    return ("pools", names[0], "count") if len(names) == 1 and isinstance(data["pools"].get(names[0]), dict) else None


def _with_count(data: Mapping[Any, Any], target: Loc, workers: int | None) -> Mapping[Any, Any]:
    changed = copy.deepcopy(dict(data))
    changed["pools"][target[1]]["count"] = workers
    return changed


def _refuse_workers(data: Mapping[Any, Any]) -> UsageError | None:
    names = _pools(data)
    if len(names) < 2:
        return None  # what is wrong with pools is reported as such
    return UsageError(
        f"--workers sets the count of the only pool, and this fleet has {len(names)}: {', '.join(names)}",
        hint=f"set {' or '.join(f'pools.{name}.count' for name in names)} in fleet.yml",
    )


def _absolute(spec: FleetSpec, directory: Path) -> FleetSpec:
    """Resolve the paths in a spec that are relative to its file."""

    def resolve(path: str | None) -> str | None:
        return None if path is None else str(directory / Path(path).expanduser())

    def resolve_reference(reference: str | None) -> str | None:
        path = reference.removeprefix("file:") if reference and reference.startswith("file:") else None
        return reference if path is None else f"file:{resolve(path)}"

    app = spec.app.model_copy(
        update={
            "path": resolve(spec.app.path),
            "wheel": resolve(spec.app.wheel),
            "secrets": {name: resolve_reference(reference) for name, reference in spec.app.secrets.items()},
        }
    )
    postgres, redis = spec.services.postgres, spec.services.redis
    services = spec.services.model_copy(
        update={
            "ca": resolve(spec.services.ca),
            "postgres": postgres.model_copy(update={"password": resolve_reference(postgres.password)}),
            "redis": redis.model_copy(update={"password": resolve_reference(redis.password)}),
        }
    )
    provider = spec.provider
    if isinstance(provider, StaticProvider):
        hosts = tuple(host.model_copy(update={"key": resolve(host.key)}) for host in provider.hosts)
        provider = provider.model_copy(update={"hosts": hosts})
    return spec.model_copy(update={"app": app, "services": services, "provider": provider})
