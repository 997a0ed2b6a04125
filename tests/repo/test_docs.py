"""The documents name what exists, and all of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fleetctl.cli.app import main
from fleetctl.core.health_checks import CHECKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEPLOYMENT = (ROOT / "DEPLOYMENT.md").read_text()
CHORES = {"lint", "test", "unit", "drills", "bench"}


def task_names() -> set[str]:
    tree = ast.parse((ROOT / "tasks.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {
        function.name
        for function in functions
        for mark in function.decorator_list
        if (isinstance(mark, ast.Name) and mark.id == "task")
        or (isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "task")
    }


@pytest.mark.parametrize("name", sorted(main.commands))
def test_the_readme_has_a_row_for_every_command(name: str) -> None:
    assert re.search(rf"^\| `fleetctl {name}\b", README, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(CHORES))
def test_the_readme_has_a_row_for_every_chore(name: str) -> None:
    assert re.search(rf"^\| `\./invoke {name}\b", README, re.MULTILINE)


def test_the_checks_of_health_are_listed_as_they_are() -> None:
    assert dict(re.findall(r"^\| `([a-z.]+\.[a-z.]+)` \| (.*) \|$", DEPLOYMENT, re.MULTILINE)) == CHECKS


def test_every_task_is_a_command_or_a_chore() -> None:
    assert task_names() - CHORES <= set(main.commands)


@pytest.mark.parametrize("text", [README, DEPLOYMENT], ids=["README", "DEPLOYMENT"])
def test_every_command_that_a_document_names_exists(text: str) -> None:
    for name in re.findall(r"(?:^    |[`|] ?)fleetctl ([a-z][a-z-]*)", text, re.MULTILINE):
        assert name in main.commands
    for name in re.findall(r"\./invoke ([a-z]+)", text):
        assert name in task_names()


@pytest.mark.parametrize("text", [README, DEPLOYMENT], ids=["README", "DEPLOYMENT"])
def test_every_option_that_a_document_gives_a_command_exists(text: str) -> None:
    for name, rest in re.findall(r"(?:^    |[`|] ?)fleetctl ([a-z][a-z-]*)([^`|\n]*)", text, re.MULTILINE):
        if name == "ssh":  # what follows is another program's
            continue
        known = {option for parameter in main.commands[name].params for option in parameter.opts} | {"--help"}
        for option in re.findall(r"(?<= )--[a-z-]+", rest):
            assert option in known, f"fleetctl {name} {option}"


@pytest.mark.parametrize("text", [README, DEPLOYMENT], ids=["README", "DEPLOYMENT"])
def test_every_path_that_a_document_links_exists(text: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
