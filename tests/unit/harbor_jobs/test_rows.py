"""What the database's absence does."""

from __future__ import annotations

import socket
import time

import pytest

from harbor_jobs.errors import DatabaseError
from harbor_jobs.rows import Database, failed, published


def test_a_database_that_stays_away_is_an_error_within_bounds() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://fleet:secret-of-the-trial@127.0.0.1:{closed.getsockname()[1]}/fleet"
        begun = time.monotonic()
        with pytest.raises(DatabaseError, match="Postgres does not take the work") as caught:
            Database(url, 0.5).jobs()
    assert time.monotonic() - begun < 3
    assert "secret-of-the-trial" not in str(caught.value)


def test_rows_have_the_same_columns_with_and_without_a_result() -> None:
    assert failed("job-1", 1, "why").keys() == published({}, "path").keys()
