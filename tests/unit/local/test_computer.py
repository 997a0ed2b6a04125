"""What guests take over from this computer, out of its files' texts."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from fleetctl.adapters.providers.local.aptsources import Source, choose_debian
from fleetctl.adapters.providers.local.computer import (
    CA_BUNDLE,
    apt_sources,
    choose_settings,
    name_servers,
    pip_configuration,
)

ALWAYS = f"[global]\ncert = {CA_BUNDLE}\ndisable-pip-version-check = true\n"


def test_pip_in_guests_trusts_the_system_s_certificates() -> None:
    assert pip_configuration([], {}) == ALWAYS


def test_only_indexes_that_guests_can_reach_are_taken_over() -> None:
    texts = [
        "[global]\nindex-url = https://old.example/simple\nextra-index-url = file:///srv/pypi https://extra.example/simple\n",
        "[install]\nindex-url = https://new.example/simple\ntrusted-host = new.example\n",
        "not an ini file",
    ]
    environment = {"PIP_EXTRA_INDEX_URL": "https://more.example/simple", "PIP_FIND_LINKS": "/srv/wheels"}
    assert pip_configuration(texts, environment) == (
        f"{ALWAYS}index-url = https://new.example/simple\n"
        "extra-index-url = https://extra.example/simple https://more.example/simple\n"
        "trusted-host = new.example\n"
    )


def test_apt_settings_without_which_guests_get_nothing_are_taken_over() -> None:
    dump = """\
APT::Architecture "amd64";
Acquire::Check-Date "false";
Acquire::http::Proxy "http://127.0.0.1:3142";
Acquire::https::Proxy "http://proxy.example:3128";
Acquire::Check-Valid-Until "";
"""
    assert choose_settings(dump) == ('Acquire::Check-Date "false"', 'Acquire::https::Proxy "http://proxy.example:3128"')


def test_name_servers_are_those_that_guests_reach() -> None:
    servers = ("127.0.0.53", "192.0.2.53", "2001:db8::53", "")
    text = "".join(f"nameserver {server}\n" for server in servers) + "search example\n# by hand\n"
    assert name_servers(text) == (IPv4Address("192.0.2.53"),)


def test_a_list_of_mirrors_counts_as_its_first(tmp_path: Path) -> None:
    listed = tmp_path / "mirrors" / "debian.list"
    listed.parent.mkdir()
    listed.write_text(
        "# by the cloud\nfile:/srv/debian\n\nhttps://mirror.example/debian\tpriority:1\nhttp://b.example/debian\n"
    )
    (tmp_path / "sources.list.d").mkdir()
    stanza = "Types: deb\nURIs: mirror+file://{}\nSuites: bookworm\nComponents: main\n\n"
    sources = stanza.format(listed) + stanza.format(tmp_path / "nowhere.list")
    (tmp_path / "sources.list.d" / "debian.sources").write_text(sources)
    assert choose_debian(apt_sources(tmp_path)) == (Source("https://mirror.example/debian", "bookworm", ("main",)),)
