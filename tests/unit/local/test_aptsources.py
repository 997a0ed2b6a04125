"""Which of a computer's package sources are Debian's own."""

from __future__ import annotations

import pytest

from fleetctl.adapters.providers.local.aptsources import Source, choose_debian, parse_deb822, parse_list

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

DEB822 = f"""\
# made by the installer
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Check-Valid-Until: no

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_gives_a_source_for_each_archive_and_suite() -> None:
    signed = (("signed-by", KEYRING),)
    assert parse_deb822(DEB822) == (
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib"), signed),
        Source("http://mirror.example/debian", "bookworm-updates", ("main", "contrib"), signed),
        Source("http://mirror.example/debian-security", "bookworm-security", ("main",), (("check-valid-until", "no"),)),
    )


def test_folded_fields_are_one_and_inline_keys_are_left_out() -> None:
    text = "Types: deb\nURIs: http://a.example/debian\n http://b.example/debian\nSuites: bookworm\nComponents: main\n"
    text += "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
    assert [(source.uri, source.keyring) for source in parse_deb822(text)] == [
        ("http://a.example/debian", None),
        ("http://b.example/debian", None),
    ]


def test_the_one_line_style_is_read_with_its_options() -> None:
    text = f"""
    # deb http://commented.example/debian bookworm main
    deb [arch=amd64 signed-by={KEYRING}] http://mirror.example/debian bookworm main non-free  # ours
    deb-src http://mirror.example/debian bookworm main
    deb http://old.example/debian-security bookworm/updates main
    """
    assert parse_list(text) == (
        Source("http://mirror.example/debian", "bookworm", ("main", "non-free"), (("signed-by", KEYRING),)),
        Source("http://old.example/debian-security", "bookworm/updates", ("main",)),
    )


def test_a_source_is_written_as_apt_reads_it() -> None:
    (source,) = parse_list(f"deb [signed-by={KEYRING}] http://mirror.example/debian bookworm main")
    assert parse_list(str(source)) == (source,)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("deb https://download.example/linux/debian bookworm stable", id="no main"),
        pytest.param("deb https://apt.example/pgdg bookworm-pgdg main", id="not a Debian suite"),
        pytest.param("deb https://apt.example/tools bookworm main", id="no debian in the path, no key named"),
        pytest.param(
            "deb [signed-by=/usr/share/keyrings/x.gpg] https://x.example/debian bookworm main", id="its own key"
        ),
        pytest.param("deb cdrom:[Debian_12]/ bookworm main", id="a disc"),
        pytest.param("deb file:/srv/debian bookworm main", id="out of a guest's reach"),
        pytest.param("deb http://ubuntu.example/ubuntu jammy main", id="another distribution"),
    ],
)
def test_third_party_archives_are_left_out(line: str) -> None:
    assert choose_debian(parse_list(line)) == ()


@pytest.mark.parametrize(
    ("suite", "wanted"),
    [
        ("bookworm", "bookworm"),
        ("bookworm-updates", "bookworm-updates"),
        ("trixie", "bookworm"),
        ("trixie-security", "bookworm-security"),
        ("stable/updates", "bookworm-security"),
    ],
)
def test_guests_get_their_own_release_from_this_computer_s_mirror(suite: str, wanted: str) -> None:
    (source,) = choose_debian([Source("http://mirror.example/debian", suite, ("contrib", "main"))])
    assert (source.suite, source.components) == (wanted, ("main",))


def test_each_archive_and_suite_is_kept_once() -> None:
    twice = [Source(f"http://mirror.example/debian{end}", "bookworm", ("main",)) for end in ("", "/")]
    assert choose_debian(twice) == (twice[0],)
