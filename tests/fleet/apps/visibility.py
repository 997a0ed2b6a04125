"""Whether a file that one host published is readable on another as soon as its row is seen: `write N` and `read N`.

The two halves run on two workers, each by `fleet-app python -c`.
"""

import contextlib
import json
import os
import pathlib
import sys
import time

import psycopg

DIRECTORY = pathlib.Path(os.environ["FLEET_STORAGE"], ".fleetctl", "visibility")
TABLE = "CREATE TABLE IF NOT EXISTS fleetctl_visibility (number integer PRIMARY KEY)"


def write(count):
    """Publish files one after the other, each by rename, and after each commit the row that tells of it."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        while not ready(database):
            time.sleep(0.1)
        for number in range(count):
            partial = DIRECTORY / f".{number}"
            with partial.open("w") as file:
                file.write(f"result {number}\n" * 100)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(DIRECTORY / str(number))
            database.execute("INSERT INTO fleetctl_visibility VALUES (%s)", (number,))


def ready(database):
    """Tell whether the reader has made the table, its last step before it reads."""
    return database.execute("SELECT to_regclass('fleetctl_visibility')").fetchone()[0] is not None


def read(count):
    """Look each name up before it exists, so that its absence may be remembered; open it when its row is seen."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    took, late, wrong = [], 0, 0
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        database.execute(TABLE)
        for number in range(count):
            path = DIRECTORY / str(number)
            path.exists()
            while not database.execute("SELECT 1 FROM fleetctl_visibility WHERE number = %s", (number,)).fetchone():
                path.exists()
            begun, text, tries = time.monotonic(), None, 0
            while text is None and time.monotonic() - begun < 60:
                with contextlib.suppress(FileNotFoundError):
                    text = path.read_text()
                tries += 1
            took.append(time.monotonic() - begun)
            late += tries > 1
            wrong += text != f"result {number}\n" * 100
        database.execute("DROP TABLE fleetctl_visibility")
    sys.stdout.write(json.dumps({"count": len(took), "slowest_seconds": max(took), "late": late, "wrong": wrong}))


{"write": write, "read": read}[sys.argv[1]](int(sys.argv[2]))
