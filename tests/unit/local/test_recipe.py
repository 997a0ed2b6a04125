"""The base image's recipe: its digest says whether two images are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.adapters.providers.local.recipe import INIT_SCRIPT, SSHD, Recipe

RECIPE = Recipe(
    architecture="amd64",
    sources=("deb http://mirror.example/debian bookworm main",),
    apt_options=(),
    files={"/etc/a": ("0644", "a"), "/etc/b": ("link", "/dev/null")},
)


def test_the_same_recipe_has_the_same_digest_in_any_order_of_files() -> None:
    assert RECIPE.digest == replace(RECIPE, files=dict(reversed(list(RECIPE.files.items())))).digest
    assert len(RECIPE.digest) == 16


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, architecture="arm64"),
        replace(RECIPE, sources=("deb http://other.example/debian bookworm main",)),
        replace(RECIPE, apt_options=('Acquire::Check-Date "false"',)),
        replace(RECIPE, files={**RECIPE.files, "/etc/a": ("0600", "a")}),
        replace(RECIPE, files={"/etc/a": ("0644", "a")}),
        replace(RECIPE, packages=(*RECIPE.packages, "less")),
        replace(RECIPE, removed=()),
        replace(RECIPE, dpkg_options=()),
    ],
)
def test_whatever_changes_the_image_changes_the_digest(other: Recipe) -> None:
    assert other.digest != RECIPE.digest


def test_sshd_takes_keys_alone_and_offers_the_cheap_key_exchange_first() -> None:
    settings = dict(line.split(" ", 1) for line in SSHD.splitlines())
    assert settings["KexAlgorithms"].startswith("curve25519-sha256,")
    assert settings["PasswordAuthentication"] == settings["KbdInteractiveAuthentication"] == settings["UseDNS"] == "no"


def test_the_first_process_becomes_systemd() -> None:
    assert INIT_SCRIPT.splitlines()[-1] == 'exec /lib/systemd/systemd "$@"'
