"""The words by which the command line reaches the daemon: whatever was typed arrives as it was typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervise.protocol.options import Options, set_apart

STEADY = settings(max_examples=rounds(60, 120), deadline=None, suppress_health_check=[HealthCheck.too_slow])

# What execve(2) can hand over: any bytes but NUL.  Some of them look like our own words.
ours = st.sampled_from(
    [
        *("--", "conf=x", "script=x", "reset=1", "foreground", "resume", "exit_with_service", "trial", "handover=x"),
        *("advice=x", "=", ""),
    ]
)
words = st.one_of(ours, st.binary(max_size=12).map(lambda data: os.fsdecode(data.replace(b"\0", b""))))

options = st.builds(
    Options,
    words,
    st.lists(words, max_size=4),
    conf=words,
    conf_named=st.booleans(),
    script=st.lists(words, max_size=3),
    reset=st.none() | st.integers(0, 2**40),
    foreground=st.booleans(),
    exit_with_service=st.booleans(),
    resume=st.booleans(),
    trial=st.booleans(),
    handover=words,
    advice=st.lists(words, max_size=2),
)


def fields(found: Options) -> dict[str, object]:
    return {name: getattr(found, name) for name in Options.__slots__}


@STEADY
@given(options)
@example(Options("--", ["--", "--"], conf="--", script=["--"]))
@example(Options("status/app", ["", ""], conf=""))
def test_options_arrive_as_they_were_typed(sent: Options) -> None:
    assert fields(Options.decode(sent.encode())) == fields(sent)


def test_bytes_that_are_no_text_arrive() -> None:
    command = [os.fsdecode(b"\xff\xfe"), "caf\u00e9\n"]
    assert Options.decode(Options("status/app", command).encode()).command == command


@pytest.mark.parametrize("reset", [None, 0, 1])
def test_a_reset_of_0_seconds_is_not_the_same_as_none(reset: int | None) -> None:
    assert Options.decode(Options("status/app", ["true"], reset=reset).encode()).reset == reset


def test_what_holds_when_nothing_else_is_typed() -> None:
    found = Options.decode(Options("status/app", ["true"]).encode())
    assert fields(found) == {
        "path": "status/app",
        "command": ["true"],
        "conf": "supervise.conf",
        "conf_named": False,
        "conf_text": None,
        "script": [],
        "reset": None,
        "foreground": False,
        "exit_with_service": False,
        "resume": False,
        "trial": False,
        "handover": "",
        "variables": {},
        "advice": [],
        "defined": False,
        "inherits": False,
    }


def test_what_a_descriptor_said_arrives_byte_for_byte() -> None:
    for text in (b"", b"[app]\na = \xff\n"):
        first = Options("status/app", ["true"], conf="/dev/fd/3", conf_text=text)
        assert Options.decode(first.encode()).conf_text == text
        assert Options.decode(first.with_handover({}, trial=True).encode()).conf_text == text


def test_what_was_set_apart_arrives_byte_for_byte_and_is_handed_over() -> None:
    env = {b"PYTHONPATH": b"/a=\xff\n", b"PYTHONOPTIMIZE": b"", b"__PYVENV_LAUNCHER__": b"x", b"PATH": b"/bin"}
    rest, apart = set_apart(env)
    assert rest == {b"PATH": b"/bin"} and rest | apart == env
    first = Options("status/app", ["true"], variables=apart)
    assert Options.decode(first.encode()).variables == apart
    assert Options.decode(first.with_handover({}, trial=True).encode()).variables == apart


def test_what_was_known_is_handed_over_whole() -> None:
    known = {"command": ["a\n--\0"], "wanted": "up", "pid": 1}
    first = Options("status/app", ["true"], script=["a", "b"], reset=5, foreground=True)
    second = Options.decode(first.with_handover(known, trial=True).encode())
    assert json.loads(second.handover) == known
    assert second.trial
    third = second.without_handover()
    assert fields(third) == fields(first)


def test_two_services_do_not_share_their_lists() -> None:
    first = Options.decode(Options("status/app", ["true"], script=["a"]).encode())
    second = Options.decode(Options("status/app", ["true"]).encode())
    assert (first.script, second.script) == (["a"], [])


@pytest.mark.parametrize(
    "given_env",
    [
        {b"A": b"1", b"LC_ALL": b"C"},
        {b"EMPTY": b"", b"EQUALS": b"a=b=c"},
        {b"NOT_TEXT": b"\xff\xfe", b"LINES": b"a\nb\n"},
        {},
    ],
)
def test_the_environment_is_the_callers_and_nothing_but_his(given_env: dict[bytes, bytes]) -> None:
    imported = "from supervise.protocol import options; print(options.environment())"
    code = f"import sys; sys.path[:0] = sys.argv[1:]; {imported}"
    where = [entry for entry in sys.path if entry]
    run = subprocess.run([sys.executable, "-c", code, *where], env=given_env, capture_output=True, check=True)
    assert eval(run.stdout) == given_env
