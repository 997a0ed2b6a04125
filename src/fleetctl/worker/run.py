"""Runs a command as the app would be run: by the fleet's user, with the fleet's environment, secrets and release.

    python -m fleetctl.worker.run COMMAND [ARGUMENT...]

The interpreter's own directory comes first on the PATH, so `python` and the app's programs are those of the release.
Exit status: the command's own; 127 when there is no such command, 126 when it cannot be run, 1 when the host's files
cannot be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fleetctl.worker import host
from fleetctl.worker.credentials import ConfigurationError

NOT_FOUND = 127
NOT_RUNNABLE = 126


def main(argv: list[str] | None = None) -> int:
    """Become the command; return an exit status only where that fails."""
    parser = argparse.ArgumentParser(prog="fleet-app")
    host.add_options(parser)
    parser.add_argument("command")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    try:
        host.enter(options)
    except (ConfigurationError, OSError, KeyError, ValueError) as exc:
        return _fail(f"{exc}", 1)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        os.execvp(options.command, [options.command, *options.arguments])  # noqa: S606  as wanted: it becomes the command
    except (FileNotFoundError, NotADirectoryError):
        return _fail(f"{options.command}: no such command", NOT_FOUND)
    except OSError as exc:
        return _fail(f"{options.command}: {exc.strerror}", NOT_RUNNABLE)


def _fail(message: str, code: int) -> int:
    print(f"fleet-app: {message}", file=sys.stderr)  # noqa: T201  a program's own message
    return code


if __name__ == "__main__":
    sys.exit(main())
