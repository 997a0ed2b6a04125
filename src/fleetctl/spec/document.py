"""YAML text as plain data, with the place of every key. Keys are text, and one written twice is a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from fleetctl.errors import Problem
from fleetctl.spec.finding import Loc, dotted

_MOST_KEYS = 50_000
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_QUOTE = "put values that hold ': ', '#', '{', '[' or '*' in quotes, and line keys of one mapping up"


@dataclass(frozen=True)
class Document:
    """What a file says, and where. `data` is None when the text is no YAML."""

    file: str
    data: Any
    marks: Mapping[Loc, tuple[int, int]] = field(default_factory=dict)  # line and column, from 1
    problems: tuple[Problem, ...] = ()

    def mark(self, loc: Loc) -> tuple[int, int]:
        """Line and column of a key, or of the nearest one above it that is there."""
        for length in range(len(loc), 0, -1):
            if loc[:length] in self.marks:
                return self.marks[loc[:length]]
        return 1, 1


class _Loader(yaml.SafeLoader):
    """Plain data only; dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Survey:
    """Walks the nodes of a document: places of keys, and keys written twice."""

    def __init__(self, file: str) -> None:
        self.marks: dict[Loc, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._file = file
        self._open: set[int] = set()

    def walk(self, node: yaml.Node, loc: Loc) -> None:
        if id(node) in self._open:
            raise yaml.MarkedYAMLError(problem="a value that contains itself", problem_mark=node.start_mark)
        if len(self.marks) > _MOST_KEYS:
            raise yaml.MarkedYAMLError(problem="more keys than a fleet could have", problem_mark=node.start_mark)
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._walk_mapping(node, loc)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.marks[(*loc, index)] = _mark(item)
                self.walk(item, (*loc, index))
        self._open.discard(id(node))

    def _walk_mapping(self, node: yaml.MappingNode, loc: Loc) -> None:
        for key_node, value in node.value:
            if key_node.tag == _MERGE:  # first, so that the mapping's own keys overrule the places of merged ones
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self.walk(merged, loc)
        seen: dict[str, int] = {}
        for key_node, value in node.value:
            if key_node.tag == _MERGE or not isinstance(key_node, yaml.ScalarNode):
                continue
            key, (line, column) = key_node.value, _mark(key_node)
            key_node.tag = _TEXT  # `1`, `on` and `yes` are names as well
            if key in seen:
                self.problems.append(_twice(self._file, line, (*loc, key), seen[key]))
            seen[key] = line
            self.marks[(*loc, key)] = line, column
            self.walk(value, (*loc, key))


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _twice(file: str, line: int, loc: Loc, first: int) -> Problem:
    what = "two pools on one name" if len(loc) == 2 and loc[0] == "pools" else "written twice"
    return Problem(file, line, dotted(loc), f"{what}, first on line {first}", "rename one of the two, or merge them")


def read_document(text: str, file: str) -> Document:
    """Parse the text of `file`; what is wrong with it as YAML is among the problems, nothing is raised."""
    try:
        loader = _Loader(text)  # raises on control characters
        try:
            return _read(loader, file)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        message = (exc.problem or exc.context or "not valid YAML").replace("\t", "\\t")
        return _refused(file, mark.line + 1 if mark else 1, *_explain(message))
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        return _refused(
            file, line, "holds a character that YAML does not allow", "remove it, or save the file as UTF-8"
        )
    except RecursionError:
        return _refused(file, 1, "nested too deeply", "see `fleetctl schema` for the keys")
    except (ValueError, OverflowError):
        return _refused(file, 1, "holds a number that cannot be read", "put it in quotes if it is text")


def _read(loader: _Loader, file: str) -> Document:
    root = loader.get_single_node()
    if root is None:
        return _refused(file, 1, "empty", "start from the output of `fleetctl init`")
    survey = _Survey(file)
    survey.walk(root, ())
    data = loader.construct_document(root)
    if not isinstance(data, dict):
        return _refused(file, root.start_mark.line + 1, "not a mapping of keys", "start with `name: fleet`")
    return Document(file, data, survey.marks, tuple(survey.problems))


def _explain(message: str) -> tuple[str, str]:
    if "\\t" in message:
        return "a tab where YAML allows only spaces", "indent with spaces"
    if "another document" in message:
        return "more than one document", "remove the line with ---, and keep each fleet in a file of its own"
    if "unhashable" in message:
        return "a key that is not text", "give it a plain name"
    if "could not determine a constructor" in message:
        return "a tag that is not known here", "remove the word that starts with !"
    return message, _QUOTE


def _refused(file: str, line: int, message: str, fix: str) -> Document:
    return Document(file, None, problems=(Problem(file, line, "yaml", message, fix),))
