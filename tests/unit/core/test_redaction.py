"""Secrets leave no trace in a text, whatever form they have, and what is no secret stays."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetctl.core.redaction import MARK, redaction

VALUE = """p@ss/w"o'r\\d+Ü 1"""
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7canaryline\nsecondcanaryline\n-----END RSA PRIVATE KEY-----"


def clean(text: str, *values: str) -> str:
    return redaction(values).redact(text)[0]


FORMS = {
    "as it is": VALUE,
    "in a URL": f"redis://worker:{quote(VALUE, safe='')}@10.0.0.1:6379/0",
    "in a URL that keeps slashes": f"at {quote(VALUE)} it stood",
    "in a form": f"a=1&b={quote_plus(VALUE)}&c=2",
    "in a URL of lower case": quote(VALUE, safe="").lower().replace("ü", "%c3%bc"),
    "in JSON": json.dumps({"x": VALUE}),
    "in JSON of letters": json.dumps({"x": VALUE}, ensure_ascii=False),
    "in JSON in JSON": json.dumps({"x": json.dumps({"y": VALUE})}),
    "in Python": repr([VALUE]),
    "in a shell": shlex.join(["echo", VALUE]),
    "in hexadecimal": VALUE.encode().hex(),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_value_is_taken_out_in_each_form(text: str) -> None:
    found = clean(text, VALUE)
    assert MARK in found
    for part in (VALUE, "p@ss", "p%40ss", "r\\\\d", "o'r", "%2Bw", VALUE.encode().hex()[4:20]):
        assert part not in found


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=12, max_size=40),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_a_value_is_taken_out_of_any_base64_that_holds_it(value: str, before: bytes, after: bytes) -> None:
    for encode in (b64encode, urlsafe_b64encode):
        text = encode(before + value.encode() + after).decode()
        found = clean(text, value)
        assert MARK in found
        # What is left are the letters at its edges, which hold at most eleven bits of it.
        left = len(found) - len(MARK)
        assert left <= len(text) - (len(value) * 8 - 10) // 6


LETTERS = st.text("xyz019_%+\"\\' \n", max_size=30)


@given(LETTERS.filter(lambda value: len(value.strip()) >= 4), LETTERS, LETTERS)
def test_no_text_keeps_a_value(value: str, before: str, after: str) -> None:
    assert value.strip() not in clean(f"{before}{value.strip()}{after}", value)


def test_the_longer_of_two_values_goes_first() -> None:
    assert clean("abcdefgh abcd", "abcd", "abcdefgh") == f"{MARK} {MARK}"


def test_a_value_of_several_lines_goes_line_by_line_too() -> None:
    key = "first line of it\nsecond line of it\n"
    assert clean("10:00 first line of it\n10:01 second line of it\nx", key) == f"10:00 {MARK}\n10:01 {MARK}\nx"


def test_a_short_value_is_looked_for_as_a_word() -> None:
    assert clean("no, nobody knows", "no") == f"{MARK}, nobody knows"


SHAPES = {
    "a URL": ("postgresql://fleet:CANARY@db:5432/x", f"postgresql://fleet:{MARK}@db:5432/x"),
    "a URL without a user": ("redis://:CANARY@cache:6379/0", f"redis://:{MARK}@cache:6379/0"),
    "a URL whose password is not quoted": ("amqp://a:p@CANARY/x@h/y", f"amqp://a:{MARK}@h/y"),
    "a URL with a token": ("https://CANARYCANARYCANARY@git.example.com/x", f"https://{MARK}@git.example.com/x"),
    "a variable": ("PGPASSWORD=CANARY psql", f"PGPASSWORD={MARK} psql"),
    "a variable in quotes": ("DB_PASSWORD='CAN ARY' x", f"DB_PASSWORD={MARK} x"),
    "a variable of systemd": ('Environment="API_TOKEN=CAN ARY" "B=1"', f'Environment="API_TOKEN={MARK}" "B=1"'),
    "a key of JSON": ('{"password": "CAN\\"ARY", "a": 1}', f'{{"password": {MARK}, "a": 1}}'),
    "a key of JSON in JSON": (r'"{\"api_key\": \"CANARY\", \"a\": 1}"', rf'"{{\"api_key\": {MARK}, \"a\": 1}}"'),
    "a key of Python": ("{'secret': 'CANARY'}", f"{{'secret': {MARK}}}"),
    "a key of YAML": ("  client_secret: CANARY\n", f"  client_secret: {MARK}\n"),
    "an option": ("run --password CANARY --x 1", f"run --password {MARK} --x 1"),
    "an option with a sign": ("run --auth-token=CANARY --x 1", f"run --auth-token={MARK} --x 1"),
    "a header": ("Authorization: Basic Q0FOQVJZ", f"Authorization: Basic {MARK}"),
    "a header in JSON": ('{"authorization": "Bearer CANARY"}', f'{{"authorization": "Bearer {MARK}"}}'),
    "a bearer alone": ("sent Bearer CANARYCANARYCANARY to x", f"sent Bearer {MARK} to x"),
    "a key of a service": ("X-Api-Key: CANARY", f"X-Api-Key: {MARK}"),
    "a cookie": ("Set-Cookie: session=CANARY; Path=/", f"Set-Cookie: {MARK}"),
    "SQL": ("ALTER ROLE fleet PASSWORD 'CANARY'", f"ALTER ROLE fleet PASSWORD {MARK}"),
    "redis.conf": ("requirepass CANARY", f"requirepass {MARK}"),
    "a command of Redis": ('"AUTH" x "auth" "worker" "CANARY"', f'"AUTH" x "auth" {MARK}'),
    "an access key of AWS": ("key AKIAIOSFODNN7EXAMPLE used", f"key {MARK} used"),
    "a secret key of AWS": ("x wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY y", f"x {MARK} y"),
    "a token of GitHub": ("ghp_abcdefghijklmnopqrst0123456789 x", f"{MARK} x"),
    "a key of a model": ("sk-ant-api03-abcdefghijkl_mnop x", f"{MARK} x"),
    "a JWT": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.c2lnbmF0dXJl x", f"{MARK} x"),
    "a private key": (f"a\n{PEM}\nb", f"a\n{MARK} (a private key)\nb"),
    "a private key in JSON": (json.dumps({"k": PEM}), f'{{"k": "{MARK} (a private key)"}}'),
    "a private key without an end": (PEM[:70], f"{MARK} (a private key)"),
}


@pytest.mark.parametrize(("text", "wanted"), SHAPES.values(), ids=SHAPES)
def test_what_looks_like_a_secret_is_taken_out(text: str, wanted: str) -> None:
    found, count = redaction(()).redact(text)
    assert found == wanted
    assert count == 1


@pytest.mark.parametrize("text", [text for text, _ in SHAPES.values()], ids=SHAPES)
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = clean(text)
    assert clean(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "Nov 23 06:00:01 one celery[812]: Task plain.value[0b1c2d3e-0000-4000-8000-1234567890ab] succeeded in 2.0s",
        "prompt_tokens: 1234, max_tokens=100",
        "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "http://10.0.0.1:8080/jobs?at=1 mail ann@example.com",
        "ssh://git@example.com/team/app.git",
        "device 10.0.0.2:/srv/fleet mounted on /shared/fleet with fstype nfs4 statvers=1.1",
        "worker-1@worker-1 is at 60 of 60 slots, 12 MiB",
        '{"environment": {"GREETING": "good evening"}}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redaction(["s3cr3t-value"]).redact(text) == (text, 0)


def test_a_long_line_takes_no_long_time() -> None:
    for text in ("a" * 300_000, "a+b." * 75_000, "https://" + "a:" * 100_000, "token" * 50_000, '\\"' * 100_000):
        clean(text, "s3cr3t-value")
