"""A bundle for molecule: `bundle.py DIRECTORY APP` stages the app's as DIRECTORY/bundle, its digest beside it."""

from __future__ import annotations

import sys
from pathlib import Path

from fleetctl.adapters import bundle
from fleetctl.spec.models import App


def main() -> None:
    directory = Path(sys.argv[1])
    staged = bundle.stage(App(path=sys.argv[2]), directory)
    link = directory / "bundle"
    link.unlink(missing_ok=True)
    link.symlink_to(staged.path)
    (directory / "bundle.digest").write_text(staged.digest)


if __name__ == "__main__":
    main()
