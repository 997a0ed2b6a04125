"""The variable tables of the roles' READMEs, made from the argument specs: `python tests/repo/role_docs.py --write`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[2] / "roles"
BEGIN = "<!-- variables: made from meta/argument_specs.yml by tests/repo/role_docs.py -->"
END = "<!-- end of variables -->"


def roles() -> list[Path]:
    """Return the directories of all roles, by name."""
    return sorted(path.parent.parent for path in ROLES.glob("*/tasks/main.yml"))


def options(role: Path) -> dict[str, dict[str, Any]]:
    """Return the options of a role's entry point `main`."""
    spec = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    found: dict[str, dict[str, Any]] = spec["argument_specs"]["main"]["options"]
    return found


def render_table(role: Path) -> str:
    """Return a role's variables as a Markdown table: the required ones first, then in the order of the spec."""
    lines = ["| Variable | Type | Default | What it is |", "|---|---|---|---|"]
    ordered = sorted(options(role).items(), key=lambda item: not item[1].get("required", False))
    for name, option in ordered:
        lines.append(f"| `{name}` | {_type(option)} | {_default(option)} | {_description(option)} |")
    return "\n".join(lines)


def render_readme(role: Path) -> str:
    """Return the role's README with the table of its spec. Raise ValueError when it has no place for one."""
    text = (role / "README.md").read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{role.name}/README.md lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{render_table(role)}\n{END}{after}"


def _type(option: dict[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    if "elements" in option:
        kind += f" of {option['elements']}"
    if "choices" in option:
        kind += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    return kind


def _default(option: dict[str, Any]) -> str:
    if option.get("required", False):
        return "**required**"
    default = option.get("default")
    if isinstance(default, dict) and default:
        return "see `defaults/main.yml`"
    return f"`{default if isinstance(default, str) and default else json.dumps(default)}`"


def _description(option: dict[str, Any]) -> str:
    description = option["description"]
    text = " ".join(description) if isinstance(description, list) else str(description)
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the tables, or say which are not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the READMEs; without it, only say which differ")
    write = parser.parse_args().write
    is_current = True
    for role in roles():
        readme = role / "README.md"
        if not readme.is_file():
            print(f"missing: roles/{role.name}/README.md")  # noqa: T201  a program's answer
            is_current = False
        elif readme.read_text() != (wanted := render_readme(role)):
            print(f"{'wrote' if write else 'stale'}: roles/{role.name}/README.md")  # noqa: T201  a program's answer
            if write:
                readme.write_text(wanted)
            is_current = is_current and write
    return 0 if is_current else 1


if __name__ == "__main__":
    sys.exit(main())
