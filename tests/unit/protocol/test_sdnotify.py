"""The datagrams of sd_notify(3): what they say, and what is complained about."""

from __future__ import annotations

import pytest
from conftest import rounds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervise.protocol import states
from supervise.protocol.sdnotify import (
    EXTEND,
    KICK,
    LIMIT,
    LONGEST,
    MAIN,
    READY,
    RELOADING,
    STOPPING,
    TEXT,
    TEXT_LIMIT,
    TRIGGER,
    WATCHDOG,
    kinds,
    parse,
    printable,
)

ORDER = (MAIN, WATCHDOG, EXTEND, RELOADING, READY, STOPPING, TEXT, KICK, TRIGGER)
FOR_EVER = b"18446744073709551615"

# Datagrams in the making: what is known and what is not, with good values and others.
names = st.sampled_from(
    [b"MAINPID", b"READY", b"RELOADING", b"STOPPING", b"STATUS", b"WATCHDOG", b"WATCHDOG_USEC", b"EXTEND_TIMEOUT_USEC"]
    + [b"MONOTONIC_USEC", b"BARRIER", b"FDSTORE", b"X_A", b"", b"ready", b" READY"]
)
values = st.one_of(
    st.sampled_from([b"1", b"0", b"", b"trigger", b"-1", b"+1", b" 1", b"1.5", b"4294967296", FOR_EVER, b"9" * 30]),
    st.integers(0, 2**65).map(lambda number: b"%d" % number),
    st.binary(max_size=20),
    st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
lines = st.one_of(st.tuples(names, values).map(b"=".join), st.binary(max_size=10))
datagrams = st.one_of(st.binary(max_size=5000), st.lists(lines, max_size=12).map(b"\n".join))


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"READY=1", [(READY, None)]),
        (b"READY=1\n", [(READY, None)]),
        (b"READY=1\0", [(READY, None)]),
        (b"\n\nREADY=1\r\nX=2\n", [(READY, None)]),
        (b"STOPPING=1", [(STOPPING, None)]),
        (b"RELOADING=1\nMONOTONIC_USEC=8123456", [(RELOADING, None)]),
        (b"STATUS=42 clients", [(TEXT, "42 clients")]),
        (b"STATUS=", [(TEXT, "")]),
        (b"STATUS=a=b=c", [(TEXT, "a=b=c")]),
        (b"MAINPID=4711", [(MAIN, 4711)]),
        (b"MAINPID=0004711", [(MAIN, 4711)]),
        (b"WATCHDOG=1", [(KICK, None)]),
        (b"WATCHDOG=trigger", [(TRIGGER, None)]),
        (b"WATCHDOG_USEC=1500000", [(WATCHDOG, 1.5)]),
        (b"WATCHDOG_USEC=0", [(WATCHDOG, 0.0)]),
        (b"WATCHDOG_USEC=" + FOR_EVER, [(WATCHDOG, 0.0)]),
        (b"WATCHDOG_USEC=9999999999999999999", [(WATCHDOG, LONGEST)]),
        (b"EXTEND_TIMEOUT_USEC=30000000", [(EXTEND, 30.0)]),
        (b"EXTEND_TIMEOUT_USEC=1", [(EXTEND, 1e-06)]),
        (b"EXTEND_TIMEOUT_USEC=0", []),
        (b"EXTEND_TIMEOUT_USEC=" + FOR_EVER, []),
        # No more than 1 says anything here.
        (b"READY=0", []),
        (b"READY=yes", []),
        (b"READY=", []),
        (b"READY", []),
        (b"STOPPING=0\nRELOADING=2", []),
        # What is not known.
        (b"", []),
        (b"\0", []),
        (b"BARRIER=1", []),
        (b"FDSTORE=1\nFDNAME=a\nERRNO=2\nBUSERROR=x.y\nX_MINE=1\nready=1\n=\n=1", []),
        (b" READY=1", []),
    ],
)
def test_what_a_datagram_says(data: bytes, events: list[object]) -> None:
    assert parse(data) == (events, [])


def test_the_order_is_always_the_same() -> None:
    said = [b"WATCHDOG=1", b"STATUS=hello", b"STOPPING=1", b"READY=1", b"RELOADING=1"]
    said += [b"EXTEND_TIMEOUT_USEC=5000000", b"WATCHDOG_USEC=3000000", b"MAINPID=7"]
    events = [(MAIN, 7), (WATCHDOG, 3.0), (EXTEND, 5.0), (RELOADING, None), (READY, None), (STOPPING, None)]
    events += [(TEXT, "hello"), (KICK, None)]
    assert parse(b"\n".join(said)) == (events, [])
    assert parse(b"\n".join(reversed(said))) == (events, [])


def test_of_a_name_that_is_assigned_twice_the_first_counts() -> None:
    assert parse(b"STATUS=first\nSTATUS=second\nMAINPID=1x\nMAINPID=2") == (
        [(TEXT, "first")],
        ["MAINPID=1x: not a pid"],
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"MAINPID=", "MAINPID=: not a pid"),
        (b"MAINPID=0", "MAINPID=0: not a pid"),
        (b"MAINPID=-1", "MAINPID=-1: not a pid"),
        (b"MAINPID= 5", "MAINPID= 5: not a pid"),
        (b"MAINPID=0x10", "MAINPID=0x10: not a pid"),
        (b"MAINPID=2147483648", "MAINPID=2147483648: not a pid"),
        ("MAINPID=٣".encode(), "MAINPID=٣: not a pid"),
        (b"MAINPID=\x1b[31m", "MAINPID=?[31m: not a pid"),
        (b"MAINPID=" + b"9" * 4000, f"MAINPID={'9' * 37}...: not a pid"),
        (b"WATCHDOG=0", "WATCHDOG=0: neither 1 nor trigger"),
        (b"WATCHDOG=TRIGGER", "WATCHDOG=TRIGGER: neither 1 nor trigger"),
        (b"WATCHDOG_USEC=5s", "WATCHDOG_USEC=5s: not a number of microseconds"),
        (b"WATCHDOG_USEC=-1", "WATCHDOG_USEC=-1: not a number of microseconds"),
        (b"WATCHDOG_USEC=18446744073709551616", "WATCHDOG_USEC=18446744073709551616: not a number of microseconds"),
        (b"EXTEND_TIMEOUT_USEC=", "EXTEND_TIMEOUT_USEC=: not a number of microseconds"),
    ],
)
def test_a_malformed_value_is_complained_about_and_the_rest_counts(data: bytes, complaint: str) -> None:
    assert parse(data + b"\nREADY=1") == ([(READY, None)], [complaint])


def test_a_datagram_with_a_nul_byte_says_nothing() -> None:
    assert parse(b"READY=1\0STATUS=x") == ([], ["holds a NUL byte: ignored"])
    assert parse(b"READY=1\0\0") == ([], ["holds a NUL byte: ignored"])


def test_a_datagram_that_is_too_long_says_nothing() -> None:
    padding = b"\nX=" + b"a" * (LIMIT - len(b"READY=1\nX="))
    assert parse(b"READY=1" + padding) == ([(READY, None)], [])
    assert parse(b"READY=1" + padding + b"a") == ([], [f"longer than {LIMIT} bytes: ignored"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("grüße, 世界 🙂".encode(), "grüße, 世界 🙂"),
        (b"\x1b]0;title\x07red", "?]0;title?red"),
        (b"tab\there", "tab here"),
        ("ideographic\u3000blank, to the \u202e left".encode(), "ideographic blank, to the ? left"),
        (b"latin-1 \xe9", "latin-1 ?"),
        (b"\xed\xa0\x80", "???"),
        (b"  trimmed  ", "trimmed"),
    ],
)
def test_status_text_can_be_shown(value: bytes, text: str) -> None:
    assert parse(b"STATUS=" + value) == ([(TEXT, text)], [])


def test_status_text_is_cut() -> None:
    assert parse(b"STATUS=" + b"x" * TEXT_LIMIT) == ([(TEXT, "x" * TEXT_LIMIT)], [])
    assert parse(b"STATUS=" + b"x" * (TEXT_LIMIT + 1)) == ([(TEXT, "x" * (TEXT_LIMIT - 3) + "...")], [])
    assert parse(b"STATUS=" + "世".encode() * 1000)[0] == [(TEXT, "世" * (TEXT_LIMIT - 3) + "...")]


def test_the_names_of_the_events_are_those_of_the_state_machine() -> None:
    named = (states.MAIN, states.WATCHDOG, states.EXTEND, states.SAYS_RELOADING, states.SAYS_READY)
    assert (*named, states.SAYS_STOPPING, states.SAYS_TEXT, states.KICK, states.TRIGGER) == ORDER


@settings(max_examples=rounds(100, 400), deadline=None)
@given(datagrams)
@example(b"=" * LIMIT)
@example(b"\n" * LIMIT)
@example(b"STATUS=" + b"\xff" * (LIMIT - 7))
def test_whatever_comes_is_understood_or_dropped(data: bytes) -> None:
    events, complaints = parse(data)
    places = [ORDER.index(name) for name, _ in events]
    assert places == sorted(set(places))
    assert len(events) + len(complaints) <= len(ORDER)
    for name, value in events:
        if name == MAIN:
            assert isinstance(value, int) and 0 < value < 2**31
        elif name == WATCHDOG:
            assert isinstance(value, float) and 0 <= value <= LONGEST
        elif name == EXTEND:
            assert isinstance(value, float) and 0 < value <= LONGEST
        elif name == TEXT:
            assert value.isprintable() and len(value) <= TEXT_LIMIT
            value.encode()
        else:
            assert value is None
    for complaint in complaints:
        assert complaint.isprintable() and len(complaint) < 120


@given(st.binary(max_size=300), st.integers(3, 300))
def test_printable_is_printable(value: bytes, limit: int) -> None:
    text = printable(value, limit)
    assert text.isprintable() and len(text) <= limit
    text.encode()


@settings(deadline=None)
@given(st.permutations([b"MAINPID=12", b"READY=1", b"STATUS=x", b"WATCHDOG=1", b"nonsense", b"WATCHDOG_USEC=x"]))
def test_order_within_a_datagram_means_nothing(said: list[bytes]) -> None:
    assert parse(b"\n".join(said)) == (
        [(MAIN, 12), (READY, None), (TEXT, "x"), (KICK, None)],
        ["WATCHDOG_USEC=x: not a number of microseconds"],
    )


def test_what_a_datagram_is_about() -> None:
    assert kinds(b"X=1\nSTATUS=busy\rREADY=1\nREADY=0") == ["READY", "STATUS"]
    assert kinds(b"WATCHDOG=nonsense") == ["WATCHDOG"]
    assert kinds(b"") == kinds(b"X_READY=1\n READY=1") == ["nothing known"]
