"""Sizes and durations: read and written back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fleetctl.spec.shapes import Device, MiB, Seconds, show_duration, show_size

SIZE: TypeAdapter[int] = TypeAdapter(MiB)
DURATION: TypeAdapter[int] = TypeAdapter(Seconds)


@given(st.integers(1, 10**9 - 1))
def test_a_duration_that_is_written_reads_as_itself(seconds: int) -> None:
    assert DURATION.validate_python(show_duration(seconds)) == seconds


@given(st.integers(1, 10**9 - 1))
def test_a_size_that_is_written_reads_as_itself(mib: int) -> None:
    assert SIZE.validate_python(show_size(mib)) == mib


def test_sizes_and_durations_are_written_in_the_largest_unit_that_fits() -> None:
    assert [show_size(mib) for mib in (2048, 1568)] == ["2GiB", "1568MiB"]
    assert [show_duration(seconds) for seconds in (7200, 900, 961)] == ["2h", "15m", "961s"]


@pytest.mark.parametrize(("text", "mib"), [("512MiB", 512), ("2GiB", 2048), ("1.5 GiB", 1536), (" 1MiB ", 1)])
def test_sizes_are_mib(text: str, mib: int) -> None:
    assert SIZE.validate_python(text) == mib


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1 h", 3600)])
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert DURATION.validate_python(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5MB", "-1GiB", "0.0001MiB", "1e3MiB", "٣MiB", None, 5, ["1MiB"]])
def test_no_size_is_guessed(text: object) -> None:
    with pytest.raises(ValidationError):
        SIZE.validate_python(text)


@pytest.mark.parametrize(
    "path",
    ["/dev/sdb", "/dev/nvme1n1", "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1", "/dev/mapper/vg-lv+1"],
)
def test_a_device_is_a_path_below_dev(path: str) -> None:
    assert TypeAdapter(Device).validate_python(path) == path


@pytest.mark.parametrize(
    "path", ["", "sdb", "/dev", "/dev/", "/dev//sdb", "/dev/./sdb", "/sys/x", "/dev/a b", "/dev/%i"]
)
def test_nothing_else_is_a_device(path: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Device).validate_python(path)


@pytest.mark.parametrize("text", ["", "5", "1d", "1.5h", "-1s", "0s", "1h30m", None, 900])
def test_no_duration_is_guessed(text: object) -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python(text)
