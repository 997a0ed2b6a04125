"""Debian's own package sources in an apt configuration. Pure: texts in, lines out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

SUITE = "bookworm"  # the guests' Debian release: 12

_POCKETS = r"(?P<pocket>(?:-updates|-security|/updates)?)"
_SUITE = re.compile(rf"(?P<name>[a-z]+){_POCKETS}")
_RELEASES = {"bullseye", "bookworm", "trixie", "forky", "stable", "oldstable", "testing", "sid", "unstable"}
_KEPT_OPTIONS = ("signed-by", "trusted", "check-valid-until")


@dataclass(frozen=True)
class Source:
    """One archive and suite. `options` are apt's, lower case, in the order of their names."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        options = " ".join(f"{name}={value}" for name, value in self.options)
        return " ".join(["deb", *([f"[{options}]"] if options else []), self.uri, self.suite, *self.components])

    @property
    def keyring(self) -> str | None:
        return dict(self.options).get("signed-by")


def parse_list(text: str) -> tuple[Source, ...]:
    """Sources of the one-line style (sources.list)."""
    found = []
    for raw in text.splitlines():
        match = re.fullmatch(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+(.+)", raw.split("#", 1)[0].strip())
        if match:
            options = dict(part.split("=", 1) for part in (match[1] or "").split() if "=" in part)
            found.append(Source(match[2], match[3], tuple(match[4].split()), _kept(options)))
    return tuple(found)


def parse_deb822(text: str) -> tuple[Source, ...]:
    """Sources of the deb822 style (*.sources)."""
    found = []
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        found += [
            Source(uri, suite, tuple(fields.get("components", "").split()), _kept(fields))
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return tuple(found)


def mirror_file(source: Source) -> PurePosixPath | None:
    """Return the file that lists the mirrors of a `mirror+file:` source, as Debian's cloud images have it."""
    scheme, _, rest = source.uri.partition(":")
    return PurePosixPath("/" + rest.lstrip("/")) if scheme == "mirror+file" else None


def first_mirror(source: Source, listed: str) -> Source | None:
    """Return a `mirror+file:` source with the first http(s) mirror of its file's text (apt-transport-mirror(1))."""
    words = [line.split()[0] for line in listed.splitlines() if line.strip()]
    uri = next((word for word in words if word.startswith(("http://", "https://"))), None)
    return replace(source, uri=uri) if uri else None


def choose_debian(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Those that carry Debian itself, for the guests' release; third-party archives are left out.

    An archive is Debian's when it offers a Debian suite with `main`, and is signed by Debian's archive keys, or, where
    the source names no key, has "debian" in its path. Only its component `main` is kept.
    """
    chosen: dict[tuple[str, str], Source] = {}
    for source in sources:
        match = _SUITE.fullmatch(source.suite)
        if not match or match["name"] not in _RELEASES or "main" not in source.components:
            continue
        if not source.uri.startswith(("http://", "https://")):
            continue
        if source.keyring is not None:
            if not PurePosixPath(source.keyring).name.startswith("debian-archive"):
                continue
        elif "debian" not in source.uri.split("://", 1)[1].partition("/")[2]:
            continue
        pocket = "-security" if match["pocket"] == "/updates" else match["pocket"]
        mine = replace(source, suite=SUITE + pocket, components=("main",))
        chosen.setdefault((mine.uri.rstrip("/"), mine.suite), mine)
    return tuple(chosen.values())


def _kept(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    lowered = {name.lower(): value.strip() for name, value in options.items()}
    return tuple((name, lowered[name]) for name in _KEPT_OPTIONS if " " not in lowered.get(name, " "))
