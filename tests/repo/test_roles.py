"""Every role is built in the same way; anything written twice is the same twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo import role_docs

ROLES = role_docs.roles()
NAMES = {role.name for role in ROLES}
JOIN_NEEDED = NAMES - {"base"}  # base says in its tasks/main.yml why it has none
TASK_KEYS = {"name", "when", "loop", "loop_control", "register", "notify", "tags", "vars", "environment", "no_log",
             "changed_when", "failed_when", "check_mode", "become", "become_user", "run_once", "delegate_to", "diff",
             "block", "rescue", "always", "until", "retries", "delay", "args", "async", "poll", "throttle", "timeout",
             "ignore_errors", "ignore_unreachable", "any_errors_fatal", "listen", "delegate_facts",
             "connection"}  # fmt: skip

per_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def defaults(role: Path) -> dict[str, Any]:
    return load(role / "defaults" / "main.yml") or {}


def own_files(role: Path) -> list[Path]:
    """What the role is made of, its scenario and README left out."""
    return [
        path
        for path in sorted(role.rglob("*"))
        if path.is_file() and not {"molecule", "__pycache__"}.intersection(path.relative_to(role).parts)
        and path.name != "README.md"
    ]  # fmt: skip


def tasks_of(role: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every task and handler with its file, those inside blocks too."""
    for path in sorted([*(role / "tasks").glob("*.yml"), *(role / "handlers").glob("*.yml")]):
        waiting = list(load(path) or [])
        while waiting:
            task = waiting.pop(0)
            yield path, task
            for part in ("block", "rescue", "always"):
                waiting += task.get(part, [])


@per_role
def test_a_role_has_all_its_parts(role: Path) -> None:
    wanted = ["README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml",
              "tasks/preflight.yml", "tasks/install.yml"]  # fmt: skip
    wanted += ["tasks/join.yml"] if role.name in JOIN_NEEDED else []
    assert [name for name in wanted if not (role / name).is_file()] == []
    assert load(role / "meta" / "main.yml")["dependencies"] == []


@per_role
def test_the_argument_spec_has_the_defaults_and_what_is_required_and_nothing_else(role: Path) -> None:
    options = role_docs.options(role)
    required = {name for name, option in options.items() if option.get("required")}
    assert set(options) == set(defaults(role)) | required
    assert not required & set(defaults(role)), "required means absent: no default"


@per_role
def test_the_argument_spec_states_the_defaults_of_the_defaults_file(role: Path) -> None:
    stated = {
        name: option.get("default") for name, option in role_docs.options(role).items() if not option.get("required")
    }
    assert stated == defaults(role)


@per_role
def test_every_option_has_a_type_and_a_description(role: Path) -> None:
    bare = [name for name, option in role_docs.options(role).items() if not {"type", "description"} <= set(option)]
    assert bare == []


@per_role
def test_a_secret_is_a_plain_string_without_choices(role: Path) -> None:
    # core 2.19 prints a refused value, even with no_log in the argument spec
    for name, option in role_docs.options(role).items():
        if _is_secret(name):
            assert option["type"] in ("str", "dict"), name
            assert "choices" not in option, name


@per_role
def test_every_default_has_a_comment_above(role: Path) -> None:
    lines = ["", *(role / "defaults" / "main.yml").read_text().splitlines()]
    bare = [line for above, line in pairwise(lines) if re.match(r"[a-z]\w*:", line) and not above.startswith("#")]
    assert bare == []


@per_role
def test_variables_carry_the_roles_prefix(role: Path) -> None:
    for name in (*defaults(role), *role_docs.options(role)):
        assert name.startswith(f"{role.name}_")
    internal = load(role / "vars" / "main.yml") if (role / "vars" / "main.yml").is_file() else {}
    registered = [task["register"] for _, task in tasks_of(role) if "register" in task]
    for name in (*internal, *registered):
        assert name.startswith(f"__{role.name}_")


@per_role
def test_a_role_knows_neither_the_fleet_nor_another_roles_variables(role: Path) -> None:
    foreign = [f"{name}_" for name in NAMES - {role.name} if not role.name.startswith(name)]
    words = re.compile(rf"\b(fleet_\w+|_*(?:{'|'.join(foreign)})\w+)")
    found = {
        (str(path.relative_to(role)), match)
        for path in own_files(role)
        if path.suffix in {".yml", ".j2"}
        for match in words.findall(re.sub(r"(?m)^\s*(?:#|- name:).*$", "", path.read_text()))
    }
    assert found == set()


@per_role
def test_the_table_of_contents_tags_each_phase(role: Path) -> None:
    contents = {task["ansible.builtin.import_tasks"]: task for task in load(role / "tasks" / "main.yml")}
    assert contents["preflight.yml"]["tags"] == ["always"]
    for phase in ("install", *(["join"] if role.name in JOIN_NEEDED else [])):
        assert contents[f"{phase}.yml"]["tags"] == [role.name, f"{role.name}_{phase}", phase]


@per_role
def test_task_names_say_their_file_and_modules_their_collection(role: Path) -> None:
    for path, task in tasks_of(role):
        name = task.get("name", "")
        assert name, f"{path}: a task without a name"
        if path.parent.name == "tasks" and path.name != "main.yml":
            assert name.startswith(f"{path.stem.capitalize()} | "), f"{path}: {name}"
        modules = [key for key in task if key not in TASK_KEYS]
        assert all(module.startswith("ansible.builtin.") for module in modules), f"{path}: {modules}"


@per_role
def test_loops_carry_a_label_or_loop_over_words(role: Path) -> None:
    for path, task in tasks_of(role):
        loop = task.get("loop")
        if isinstance(loop, list) and any(isinstance(item, dict) for item in loop):
            assert "label" in task.get("loop_control", {}), f"{path}: {task['name']}"


@per_role
def test_tasks_that_touch_a_secret_show_nothing(role: Path) -> None:
    secrets = {name for name in role_docs.options(role) if _is_secret(name)}
    if not secrets:
        return
    # a variable made of secrets, or a template that holds one, is as secret as they are
    internal = load(role / "vars" / "main.yml") if (role / "vars" / "main.yml").is_file() else {}
    tainted = secrets | {name for name, value in internal.items() if _mentions(str(value), secrets)}
    tainted |= {file.name for file in (role / "templates").glob("*") if _mentions(file.read_text(), tainted)}
    touching = [(path, task) for path, task in tasks_of(role) if _mentions(str(task), tainted)]
    assert touching, "the role has secrets that no task uses"
    for path, task in touching:
        assert task.get("no_log") is True, f"{path}: {task['name']}"


@per_role
def test_no_secret_goes_by_the_environment_of_a_task(role: Path) -> None:
    # Ansible writes it in front of the command: into the arguments of ssh here and of sh there
    secrets = {name for name in role_docs.options(role) if _is_secret(name)}
    for path, task in tasks_of(role):
        assert not _mentions(str(task.get("environment", "")), secrets), f"{path}: {task['name']}"


@per_role
def test_templates_are_headed_or_say_why_not(role: Path) -> None:
    for template in sorted((role / "templates").glob("*.j2")):
        head = template.read_text().splitlines()[0]
        assert head == "{{ ansible_managed | comment }}" or head.startswith("{#- Without the header"), template


@per_role
def test_files_are_whole_and_their_modes_quoted(role: Path) -> None:
    for path, task in tasks_of(role):
        assert "ansible.builtin.lineinfile" not in task, f"{path}: {task['name']}"
        for arguments in task.values():
            if isinstance(arguments, dict) and "mode" in arguments:
                assert isinstance(arguments["mode"], str), f"{path}: {task['name']}"


@per_role
def test_commands_say_whether_they_change_something(role: Path) -> None:
    for path, task in tasks_of(role):
        if {"ansible.builtin.command", "ansible.builtin.shell"} & set(task):
            arguments = task.get("ansible.builtin.command") or task.get("ansible.builtin.shell")
            claims = "changed_when" in task or (isinstance(arguments, dict) and {"creates", "removes"} & set(arguments))
            assert claims, f"{path}: {task['name']}"


@per_role
def test_the_readme_has_the_table_of_the_argument_spec(role: Path) -> None:
    assert (role / "README.md").read_text() == role_docs.render_readme(role), (
        "run: python tests/repo/role_docs.py --write"
    )


def test_group_vars_give_roles_only_variables_that_they_have() -> None:
    # An argument spec accepts an unknown name in silence. Names of group_vars' own begin with __fleet_.
    known = {name for role in ROLES for name in role_docs.options(role)}
    given = {
        name
        for path in sorted((role_docs.ROLES.parent / "inventory" / "group_vars").glob("*.yml"))
        for name in load(path)
        if not name.startswith("__fleet_")
    }
    assert given <= known


def test_what_retire_looks_for_is_in_what_the_roles_write() -> None:
    (play,) = load(role_docs.ROLES.parent / "playbooks" / "retire.yml")
    finds = [task["ansible.builtin.find"] for task in play["tasks"] if "ansible.builtin.find" in task]
    wanted = [find["contains"] for find in finds if "contains" in find]
    written = [line for role in ROLES for file in role.glob("templates/*") for line in file.read_text().splitlines()]
    assert wanted
    assert [one for one in wanted if not any(re.match(one, line) for line in written)] == []


def _is_secret(name: str) -> bool:
    return re.search(r"password|secret|credential|token", name) is not None


def _mentions(text: str, names: set[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)
