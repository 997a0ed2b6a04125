"""The shapes of single values in fleet.yml: sizes, durations, names, references; and how to say what is wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

SIZE = r"^[0-9]+([.][0-9]+)?\s*(MiB|GiB)$"
DURATION = r"^[0-9]+\s*(s|m|h)$"
NAME = r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"
SECRET_REF = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"  # noqa: S105  a pattern, not a secret
QUEUE = r"^[A-Za-z0-9._-]{1,100}$"
TASK_PATTERN = r"^[A-Za-z_*][A-Za-z0-9_.*-]*$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
ENV_VALUE = r"^[^\x00-\x08\x0a-\x1f\x7f]*$"
ABSOLUTE_PATH = r"^/[A-Za-z0-9._/-]*$"
DEVICE = r"^/dev(/[A-Za-z0-9_][A-Za-z0-9._:+=@-]*)+$"
RELATIVE_PATH = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"
MODULE = r"^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)*(:[A-Za-z_][A-Za-z0-9_]*)?$"
USER = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$"
JUMP = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}@[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
HOST_KEY = r"^(ssh-[a-z0-9]+|ecdsa-sha2-[a-z0-9]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,3}( [^\n]*)?$"
DATABASE = r"^[a-z_][a-z0-9_]{0,62}$"
LINE = r"^[^\s\x00-\x1f-][^\x00-\x1f\x7f]*$"

NFS_VERSIONS = ("4.2", "4.1")

# What is wrong with a text that does not match, and what to write in its place.
WANTED: Mapping[str, tuple[str, str]] = {
    NAME: ("not a usable name", "use lower-case letters, digits and dashes, 20 characters at most, such as light-2"),
    SECRET_REF: (
        "not a reference to a secret",
        "write env:NAME or file:PATH; the secret itself never stands in this file",
    ),
    QUEUE: ("not a usable queue name", "use letters, digits, dots, dashes and underscores, 100 characters at most"),
    TASK_PATTERN: (
        "not the name of a task",
        "write a name such as reports.make, where * stands for any part: reports.*",
    ),
    ENV_NAME: ("not the name of a variable", "use letters, digits and underscores, such as LOG_LEVEL"),
    ENV_VALUE: ("holds a line break or another control character", "keep it on one line, or make it a file of the app"),
    ABSOLUTE_PATH: ("not an absolute path", "use letters, digits, dots, dashes and slashes, such as /shared/fleet"),
    DEVICE: ("not a block device", "write its path, such as /dev/nvme1n1 or /dev/disk/by-id/..."),
    RELATIVE_PATH: ("not a relative path", "name a directory below storage.path, such as jobs"),
    MODULE: ("not a Python module", "write module or module:attribute, such as workers.app:celery"),
    USER: ("not a user name", "use letters, digits, dots, dashes and underscores, such as admin"),
    JUMP: ("not a bastion", "write user@address or user@address:port"),
    HOST_KEY: (
        "not a public host key",
        "copy a line of `ssh-keyscan ADDRESS` without its first word, after checking it on the host",
    ),
    DATABASE: ("not a usable database name", "use lower-case letters, digits and underscores, such as fleet"),
    LINE: ("empty, or more than one plain line", "write it on one line that starts with neither a space nor a dash"),
}

_SIZES = {"MiB": 1, "GiB": 1024}
_DURATIONS = {"s": 1, "m": 60, "h": 3600}


def wrong(message: str, fix: str) -> PydanticCustomError:
    """Make the error of a refused value: what is wrong and what to write. Neither repeats the value."""
    return PydanticCustomError("refused", "{message}", {"message": message, "fix": fix})


def _parse_size(value: Any) -> int:
    match = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)\s*(MiB|GiB)", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise wrong("not a size", "write a number with its unit, such as 512MiB or 2GiB")
    mib = int(float(match[1]) * _SIZES[match[2]])
    if mib < 1:
        raise wrong("less than 1 MiB", "write 1MiB or more")
    return mib


def _parse_duration(value: Any) -> int:
    match = re.fullmatch(r"([0-9]{1,9})\s*(s|m|h)", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise wrong("not a duration", "write a whole number with its unit, such as 90s, 15m or 1h")
    seconds = int(match[1]) * _DURATIONS[match[2]]
    if seconds < 1:
        raise wrong("no time at all", "write 1s or more")
    return seconds


def _parse_nfs_version(value: Any) -> str:
    text = str(value) if isinstance(value, float) else value  # YAML reads 4.2 as a number
    if text not in NFS_VERSIONS:
        raise wrong("not a version that clients speak", "write 4.2, or 4.1 where the server has no 4.2")
    return str(text)


def _check_address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        fix = "write the address by which the fleet's other hosts reach it, such as 10.0.0.11"
        raise wrong("not an IPv4 address", fix) from None


def _check_network(value: str) -> str:
    try:
        return str(IPv4Network(value))
    except ValueError:
        fix = "write the first address and the length of the prefix, such as 10.99.0.0/24"
        raise wrong("not an IPv4 network", fix) from None


def show_duration(seconds: int) -> str:
    """Write seconds as fleet.yml does: 90s, 15m, 1h."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def show_size(mib: int) -> str:
    """Write MiB as fleet.yml does: 512MiB, 2GiB."""
    return f"{mib // 1024}GiB" if mib % 1024 == 0 else f"{mib}MiB"


_SizeText = Annotated[str, Field(pattern=SIZE, examples=["2GiB"])]
_DurationText = Annotated[str, Field(pattern=DURATION, examples=["15m"])]
_NfsVersionInput = Annotated[Any, Field(json_schema_extra={"enum": ["4.2", "4.1", 4.2, 4.1]})]

MiB = Annotated[int, BeforeValidator(_parse_size, json_schema_input_type=_SizeText)]
Seconds = Annotated[int, BeforeValidator(_parse_duration, json_schema_input_type=_DurationText)]
NfsVersion = Annotated[
    Literal["4.2", "4.1"], BeforeValidator(_parse_nfs_version, json_schema_input_type=_NfsVersionInput)
]
Whole = Annotated[int, Field(strict=True)]  # `yes` is not 1, and "10" is text
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=NAME)]
SecretRef = Annotated[str, Field(pattern=SECRET_REF)]
Queue = Annotated[str, Field(pattern=QUEUE)]
TaskPattern = Annotated[str, Field(pattern=TASK_PATTERN)]
EnvName = Annotated[str, Field(pattern=ENV_NAME)]
EnvValue = Annotated[str, Field(pattern=ENV_VALUE)]
AbsolutePath = Annotated[str, Field(pattern=ABSOLUTE_PATH)]
Device = Annotated[str, Field(pattern=DEVICE)]
RelativePath = Annotated[str, Field(pattern=RELATIVE_PATH)]
Module = Annotated[str, Field(pattern=MODULE)]
User = Annotated[str, Field(pattern=USER)]
Jump = Annotated[str, Field(pattern=JUMP)]
HostKey = Annotated[str, Field(pattern=HOST_KEY)]
Database = Annotated[str, Field(pattern=DATABASE)]
Line = Annotated[str, Field(pattern=LINE)]
Address = Annotated[str, AfterValidator(_check_address), Field(json_schema_extra={"format": "ipv4"})]
Network = Annotated[str, AfterValidator(_check_network), Field(examples=["10.99.0.0/24"])]
