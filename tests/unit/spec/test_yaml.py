"""The text itself: what is no YAML, and keys that are written twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetctl.errors import SpecError, UsageError
from fleetctl.spec.load import load, parse, positions
from tests.unit.spec.examples import LOCAL, changed, complaints

QUOTE = "put values that hold ': ', '#', '{', '[' or '*' in quotes, and line keys of one mapping up"

TEXTS = {
    "nothing": ("", "1: yaml: empty -> start from the output of `fleetctl init`"),
    "comments alone": ("# a\n# b\n", "1: yaml: empty -> start from the output of `fleetctl init`"),
    "a list": ("# a\n- a\n", "2: yaml: not a mapping of keys -> start with `name: fleet`"),
    "a tab": ("name: demo\npools:\n\tworker:\n", "3: yaml: a tab where YAML allows only spaces -> indent with spaces"),
    "two documents": (
        "name: a\n---\nname: b\n",
        "2: yaml: more than one document -> remove the line with ---, and keep each fleet in a file of its own",
    ),
    "a colon in a value": ("name: a\nprovider: b: c\n", f"2: yaml: mapping values are not allowed here -> {QUOTE}"),
    "an open bracket": (
        "name: demo\npools: [a\n",
        f"3: yaml: expected ',' or ']', but got '<stream end>' -> {QUOTE}",
    ),
    "a tag of Python's": (
        "name: !!python/object:os.system x\n",
        "1: yaml: a tag that is not known here -> remove the word that starts with !",
    ),
    "a list for a key": ("name: a\n[a, b]: c\n", "2: yaml: a key that is not text -> give it a plain name"),
    "an unknown alias": ("name: *x\n", f"1: yaml: found undefined alias 'x' -> {QUOTE}"),
    "a control character": (
        "name: demo\nprovider: \x07\n",
        "2: yaml: holds a character that YAML does not allow -> remove it, or save the file as UTF-8",
    ),
    "a value in itself": ("name: &a\n  b: *a\n", f"1: yaml: a value that contains itself -> {QUOTE}"),
    "a huge number": (
        f"name: {'9' * 5000}\n",
        "1: yaml: holds a number that cannot be read -> put it in quotes if it is text",
    ),
    "a deep nest": (f"name: {'[' * 500}\n", "1: yaml: nested too deeply -> see `fleetctl schema` for the keys"),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_yaml_is_refused_at_its_line(text: str, expected: str) -> None:
    assert complaints(text) == [expected]


def test_aliases_that_grow_without_end_are_refused() -> None:
    bomb = "name: &a0 [x]\n" + "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    assert [line.split(" -> ")[0] for line in complaints(bomb)] == ["1: yaml: more keys than a fleet could have"]


def test_two_pools_on_one_name_are_refused_beside_other_mistakes() -> None:
    text = changed(LOCAL, "    count: 2", "    count: 0") + "  worker: {count: 0, concurrency: 1}\n"
    assert complaints(text) == [
        "15: pools.worker: two pools on one name, first on line 9 -> rename one of the two, or merge them",
        "15: pools.worker.count: less than 1 -> write 1 or more",
    ]


def test_each_further_writing_of_a_key_is_named() -> None:
    text = LOCAL + "name: a\nname: b\n"
    assert complaints(text) == [
        "15: name: written twice, first on line 1 -> rename one of the two, or merge them",
        "16: name: written twice, first on line 15 -> rename one of the two, or merge them",
    ]


def test_merged_keys_are_found_where_they_are_written() -> None:
    text = """\
name: demo
provider: {kind: local}
pools:
  light: &common
    count: 1
    concurrency: 0
  heavy:
    <<: *common
    count: 2
"""
    assert complaints(text) == [
        "6: pools.light.concurrency: less than 1 -> write 1 or more",
        "6: pools.heavy.concurrency: less than 1 -> write 1 or more",
    ]
    spec = parse(changed(text, "concurrency: 0", "concurrency: 3"), file="fleet.yml")
    assert (spec.pools["heavy"].count, spec.pools["heavy"].concurrency) == (2, 3)


def test_a_list_of_mappings_may_be_merged() -> None:
    text = (
        LOCAL
        + """\
  heavy:
    <<: [{count: 1}, {concurrency: 0}]
"""
    )
    assert complaints(text) == ["16: pools.heavy.concurrency: less than 1 -> write 1 or more"]


def test_names_that_yaml_takes_for_something_else_stay_names() -> None:
    text = changed(LOCAL, "memory: 2GiB", "environment: {NO: '1', y: '2', on: 2026-01-31}")
    spec = parse(text, file="fleet.yml")
    assert spec.pools["worker"].environment == {"NO": "1", "y": "2", "on": "2026-01-31"}


def test_positions_give_the_line_of_every_key(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text(LOCAL)
    lines = positions(path)
    assert lines["name"] == 1
    assert lines["services.redis.host"] == 7
    assert lines["pools.worker.queues[0]"] == 12
    assert set(lines.values()) == set(range(1, 15))


def test_positions_of_no_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("- a\n")
    with pytest.raises(SpecError, match="not a mapping"):
        positions(path)


def test_a_missing_file_hints_at_init(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*fleet\.yml") as caught:
        load(tmp_path / "fleet.yml")
    assert "fleetctl init" in (caught.value.hint or "")


def test_a_directory_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path)


def test_a_file_in_another_encoding_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yml"
    path.write_bytes(b"# a\nname: caf\xe9\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert [(problem.line, problem.message) for problem in caught.value.problems] == [(2, "not UTF-8")]
