"""Takes secrets out of text: by their values, in every form in which programs write them, and by their shape. Pure."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

MARK = "[redacted]"
_SHORT = 4  # a value below this many characters is looked for as a whole word
_LINE = 8  # a line of a value of several is looked for by itself from this many characters on
_BLOCK = 20_000  # characters that a block without an end may take

# Lengths are bounded, so that no line takes long.
_NAMES = (
    r"[\w.-]{0,60}(?:passw(?:or)?d|passphrase|secret|token(?!s)|api[_-]?key|access[_-]?key|private[_-]?key|credential"
    r"|redis(?:cli)?_auth)[\w.-]{0,60}"
)
# A quoted value, one in a JSON text inside of another, or a bare word.
_VALUE = (
    r"""(?:(?P<q>["'])(?:\\.|(?!(?P=q))[^\\\n])*(?P=q)"""
    r"""|\\(?P<e>["'])(?:\\{2,}.|(?!\\(?P=e))[^\n])*\\(?P=e)"""
    r"""|[^\s,;&"'\\]+)"""
)
# Each keeps its group 1, and what it is that was there stays readable.
_SHAPES = (
    # The mark is not taken for a password, so that a second pass changes nothing.
    r"(?<![\w+.-])([a-z][a-z0-9+.-]{0,30}://[^\s:/?#@\"'<>]{0,100}:)(?!\[redacted\]@)[^\s\"'<>]{1,500}(?=@)",
    r"(?<![\w+.-])([a-z][a-z0-9+.-]{0,30}://)[^\s:/?#@\"'<>\[]{16,300}(?=@)",
    r"((?:proxy-)?authorization\\*[\"']?\s*[:=]\s*+\\*+[\"']?+(?:[a-z]+\s+)?+)(?!\[redacted\])[^\"'\\\n]{4,}",
    r"((?:set-)?cookie:[ ]*)(?!\[redacted\])[^\s][^\n]*",
    r"\b(bearer\s+)(?!\[redacted\])[\w.~+/=-]{12,}",
    # "NAME=some words" as a whole in quotes, as systemctl show writes an environment.
    rf"([\"']{_NAMES}=)(?!\[redacted\])[^\"'\n\\]+(?=[\"'])",
    rf"(?<![\w.-])({_NAMES}\\*[\"']?\s*(?:=>|[=:])\s*)(?!\\*[\"']?\[redacted\]){_VALUE}",
    rf"(?<![\w-])(--?{_NAMES}\s+)(?!\[redacted\]){_VALUE}",
    r"\b((?:requirepass|masterauth|password|identified by)\s+)(?!\[redacted\])('[^'\n]*'|\"[^\"\n]*\")",
    r"\b((?:requirepass|masterauth)\s+)(?!\[redacted\]|[\"'])\S+",
    r"(\"auth\"\s+)\"[^\"\n]+\"(?:\s+\"[^\"\n]+\")?",
)
_TOKENS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    # A secret access key of AWS: forty of these letters, of all three kinds.
    r"(?<![\w/+=])(?=[^\s]{0,39}[a-z])(?=[^\s]{0,39}[A-Z])(?=[^\s]{0,39}[0-9])[A-Za-z0-9/+]{40}(?![\w/+=])",
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|AIza|hf_)[\w-]{16,}",
)
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")


@dataclass(frozen=True)
class Redaction:
    """What is to be taken out. `redact` returns the text without it, and how many places there were."""

    values: re.Pattern[str] | None

    def redact(self, text: str) -> tuple[str, int]:
        count = 0
        text, blocks = _without_blocks(text)
        count += blocks
        if self.values is not None:
            text, found = self.values.subn(MARK, text)
            count += found
        for pattern, keeps in _COMPILED:
            text, found = pattern.subn(keeps, text)
            count += found
        return text, count


def redaction(secrets: Iterable[str]) -> Redaction:
    """Return how to take out these values, and all that looks like a secret."""
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return Redaction(None)
    # The longest first: a value may be a part of another.
    texts = sorted(forms, key=lambda form: (-len(form), form))
    return Redaction(re.compile("|".join(map(_literal, texts))))


def _literal(form: str) -> str:
    escaped = re.escape(form)
    return rf"(?<!\w){escaped}(?!\w)" if len(form) < _SHORT else escaped


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways in which a value may stand in a text."""
    whole = secret.strip()
    lines = [line.strip() for line in whole.splitlines()]
    values = [whole, *(line for line in lines if len(line) >= _LINE)] if len(lines) > 1 else [whole]
    for value in filter(None, values):
        yield value
        for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
            yield quoted
            yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
        for is_ascii in (True, False):
            plain = json.dumps(value, ensure_ascii=is_ascii)[1:-1]
            yield plain
            yield json.dumps(plain, ensure_ascii=is_ascii)[1:-1]  # JSON in a text of JSON
        yield repr(value)[1:-1]
        yield value.replace("'", "'\"'\"'")  # as a shell has it
        yield value.replace("'", "''")
        if len(value) >= _SHORT:
            yield value.encode().hex()
            yield from _base64(value.encode())


def _base64(value: bytes) -> Iterator[str]:
    """Yield what stands for a value in the base64 of any text that holds it: it depends on where the value begins."""
    encoders: tuple[Callable[[bytes], bytes], ...] = (b64encode, urlsafe_b64encode)
    for encode in encoders:
        for before in range(3):
            bits = (before + len(value)) * 8
            first = -(-before * 8 // 6)
            form = encode(b"\0" * before + value).decode()[first : bits // 6]
            if len(form) >= _SHORT:
                yield form


def _without_blocks(text: str) -> tuple[str, int]:
    """Return the text without private keys, also those whose end is missing."""
    kept: list[str] = []
    at = count = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        end = _END.search(text, begin.end(), begin.end() + _BLOCK)
        kept += [text[at : begin.start()], f"{MARK} (a private key)"]
        at = end.end() if end is not None else min(len(text), begin.end() + _BLOCK)
        count += 1
    return "".join([*kept, text[at:]]), count


_COMPILED = tuple(
    [(re.compile(pattern, re.IGNORECASE), rf"\g<1>{MARK}") for pattern in _SHAPES]
    + [(re.compile(pattern), MARK) for pattern in _TOKENS]
)
