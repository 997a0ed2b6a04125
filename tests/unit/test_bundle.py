"""What is staged for pip, over real directories and a git that has them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fleetctl.adapters import bundle
from fleetctl.spec.models import App


@pytest.fixture(autouse=True)
def own_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this computer's own settings of git out, and give its commits an author."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "trial")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "trial@example.com")


def git(repository: Path, *arguments: str) -> str:
    return subprocess.check_output(["git", "-C", str(repository), *arguments], text=True).strip()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A repository with one commit on `main`: an app, its secrets, and what git shall not see."""
    path = tmp_path / "app"
    (path / "nested").mkdir(parents=True)
    for name in ("pyproject.toml", "jobs.py", ".env", "nested/.env.local", "nested/data.txt", "notes.log"):
        (path / name).write_text(name)
    (path / ".gitignore").write_text("*.log\n")
    git(path, "init", "-q", "--initial-branch=main")
    git(path, "add", "--all", "--force", ".env", "nested", "pyproject.toml", "jobs.py", ".gitignore")
    git(path, "commit", "-q", "-m", "first")
    return path


@pytest.fixture
def without_git(app: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert app.is_dir(), "made with git"
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def staged(source: App, tmp_path: Path) -> tuple[bundle.Bundle, list[str]]:
    """Return the bundle and its requirements, those after the runtime's."""
    directory = tmp_path / "bundles"
    directory.mkdir(exist_ok=True)
    made = bundle.stage(source, directory)
    first, *others = (made.path / "requirements.txt").read_text().splitlines()
    assert first == "./runtime"
    return made, others


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_checkout_is_staged_with_what_git_knows_but_its_secrets(app: Path, tmp_path: Path) -> None:
    (app / "new.py").write_text("not added yet")
    made, lines = staged(App(path=str(app)), tmp_path)
    assert lines == ["./app"]
    assert names(made.path / "app") == {".gitignore", "pyproject.toml", "jobs.py", "new.py", "nested/data.txt"}


@pytest.mark.usefixtures("without_git")
def test_without_git_all_but_leftovers_and_secrets_is_staged(app: Path, tmp_path: Path) -> None:
    made, _ = staged(App(path=str(app)), tmp_path)
    assert names(made.path / "app") == {".gitignore", "pyproject.toml", "jobs.py", "notes.log", "nested/data.txt"}


def test_a_directory_that_git_ignores_is_staged_all_the_same(app: Path, tmp_path: Path) -> None:
    (app / ".gitignore").write_text("generated/\n")
    (app / "generated").mkdir()
    (app / "generated" / "jobs.py").write_text("")
    (app / "generated" / ".env").write_text("")
    made, _ = staged(App(path=str(app / "generated")), tmp_path)
    assert names(made.path / "source") == {"jobs.py"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a checkout away")
def test_root_stages_the_checkout_of_another_user_and_runs_nothing_of_its_settings(app: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    git(app, "config", "core.fsmonitor", str(hook))
    for path in (app, *app.rglob("*")):
        os.chown(path, 65534, 65534)
    made, _ = staged(App(path=str(app)), tmp_path)
    assert "notes.log" not in names(made.path / "app"), "git was asked"
    assert not ran.exists()


@pytest.mark.parametrize("prefix", ["", "git+"])
@pytest.mark.parametrize("suffix", ["", "#subdirectory=nested"])
@pytest.mark.parametrize("ref", ["", "@main", "@feature/x", "@v1", "@light"])
def test_a_branch_or_tag_is_staged_as_the_commit_it_names(
    app: Path, tmp_path: Path, prefix: str, ref: str, suffix: str
) -> None:
    git(app, "branch", "feature/x")
    git(app, "branch", "other/main")  # ends like `main`, and is another
    git(app, "tag", "-a", "-m", "annotated", "v1")
    git(app, "tag", "light")
    commit = git(app, "rev-parse", "HEAD")
    _, lines = staged(App(git=f"{prefix}file://{app}{ref}{suffix}"), tmp_path)
    assert lines == [f"git+file://{app}@{commit}{suffix}"]


def test_a_push_makes_another_bundle_of_a_branch_and_none_of_a_tag(app: Path, tmp_path: Path) -> None:
    git(app, "tag", "-a", "-m", "annotated", "v1")
    branch, tag = App(git=f"file://{app}@main"), App(git=f"file://{app}@v1")
    first, fixed = staged(branch, tmp_path)[0], staged(tag, tmp_path)[0]
    assert staged(branch, tmp_path)[0] == first
    git(app, "commit", "-q", "--allow-empty", "-m", "second")
    assert staged(branch, tmp_path)[0].digest != first.digest
    assert staged(tag, tmp_path)[0] == fixed


@pytest.mark.parametrize("ref", ["", "@main", "@no-such-branch", f"@{'a' * 40}"])
def test_what_cannot_be_asked_stays_as_it_was_written(tmp_path: Path, ref: str) -> None:
    _, lines = staged(App(git=f"file://{tmp_path}/none{ref}"), tmp_path)
    assert lines == [f"git+file://{tmp_path}/none{ref}"]


@pytest.mark.parametrize("ref", ["@no-such-branch", f"@{'a' * 40}"])
def test_a_commit_and_an_unknown_branch_stay_as_they_were_written(app: Path, tmp_path: Path, ref: str) -> None:
    _, lines = staged(App(git=f"file://{app}{ref}"), tmp_path)
    assert lines == [f"git+file://{app}{ref}"]


@pytest.mark.usefixtures("without_git")
def test_without_git_a_branch_stays_as_it_was_written(app: Path, tmp_path: Path) -> None:
    _, lines = staged(App(git=f"file://{app}@main"), tmp_path)
    assert lines == [f"git+file://{app}@main"]
