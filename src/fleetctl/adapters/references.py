"""Values that fleet.yml names without holding them: env:NAME and file:PATH."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class UnresolvedError(Exception):
    """A reference leads nowhere. Never carries the value."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


def resolve(reference: str, environ: Mapping[str, str], *, one_line: bool) -> str:
    """Get the value that a reference names; a file's without the line breaks at its end. Raises UnresolvedError."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        value, what, fix = environ.get(name), f"{name} in the environment", f"export {name}=..., or write file:PATH"
        if value is None:
            raise UnresolvedError(f"there is no {what}", fix)
    else:
        what, fix = name, "write the secret into that file, or mend the path"
        try:
            value = Path(name).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as exc:
            raise UnresolvedError(f"cannot read {name}: {exc.strerror}", fix) from None
        except UnicodeDecodeError:
            raise UnresolvedError(f"{name} is not UTF-8 text", fix) from None
    if not value:
        raise UnresolvedError(f"{what} is empty", fix)
    if "\0" in value or (one_line and not value.isprintable()):
        raise UnresolvedError(f"{what} holds a line break or another control character", fix)
    return value
