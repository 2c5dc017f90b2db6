"""Each kind of value in supervise.conf: what can be written, what it means, and what is said of anything else."""

from __future__ import annotations

import pytest
from conftest import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

from supervise.config.config import Config
from supervise.config.expand import Names, expand
from supervise.config.values import (
    LISTS,
    MAX_INT,
    MAX_SECONDS,
    SCALARS,
    BadValue,
    show,
)
from supervise.config.written import EXPANDED, logged, written
from supervise.protocol.exitstatus import signal_name

SECONDS = (
    *("restart_delay_max", "startsecs", "stopwaitsecs", "starttimeoutsecs", "watchdog_secs", "check_delay"),
    *("restart_delay", "check_interval", "check_timeout"),
)
AT_LEAST_1 = ("restart_delay", "check_interval", "check_timeout", "check_failures")
FLAGS = ("stopasgroup", "killasgroup", "redirect_stderr", "notify")
SIGNALS = ("stopsignal", "watchdog_signal")

STEADY = settings(max_examples=rounds(150, 300), deadline=None)


def refused(key: str, text: str) -> str:
    """Why a value is of no use."""
    with pytest.raises(BadValue) as caught:
        SCALARS[key](text)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_every_key_has_a_kind() -> None:
    assert {*SCALARS, *LISTS, "environment"} == set(Config.__slots__)
    assert {*SCALARS}.isdisjoint(LISTS)


@pytest.mark.parametrize("key", SECONDS)
def test_seconds_are_what_poll_can_count(key: str) -> None:
    assert SCALARS[key]("7") == SCALARS[key]("007") == 7
    assert SCALARS[key](str(MAX_SECONDS)) == MAX_SECONDS == 2147483
    assert MAX_SECONDS * 1000 <= MAX_INT
    assert refused(key, str(MAX_SECONDS + 1)) == "'2147484' is out of range (0 to 2147483)"
    for text in ("1.5", "-1", "5s", "1m", "x", "1 2", "\u0663", "0x10", "5 ; five", "+1"):
        assert refused(key, text) == f"{text!r} is not a whole number"


@pytest.mark.parametrize("key", [*SECONDS, "check_failures"])
def test_where_0_makes_no_sense_it_counts_as_1(key: str) -> None:
    assert SCALARS[key]("0") == (1 if key in AT_LEAST_1 else 0)


@pytest.mark.parametrize("key", FLAGS)
def test_yes_and_no(key: str) -> None:
    for text in ("yes", "true", "on", "1", "YES", "True", "oN"):
        assert SCALARS[key](text) is True
    for text in ("no", "false", "off", "0", "NO", "False"):
        assert SCALARS[key](text) is False
    for text in ("y", "2", "maybe", "yes no", "\u212a"):
        assert refused(key, text) == f"{text!r} is neither yes nor no" + " nor all" * (key == "killasgroup")


def test_killasgroup_may_be_all() -> None:
    for text in ("all", "ALL"):
        assert SCALARS["killasgroup"](text) == "all"
    assert written("killasgroup", "all") == "all"


@pytest.mark.parametrize(
    "text, meant",
    [
        *((text, "always") for text in ("always", "ALWAYS", "yes", "true", "True", "on", "1")),
        *((text, "never") for text in ("never", "no", "false", "OFF", "0")),
        *((text, "unexpected") for text in ("unexpected", "Unexpected", "UNEXPECTED")),
    ],
)
def test_autorestart(text: str, meant: str) -> None:
    assert SCALARS["autorestart"](text) == meant


@pytest.mark.parametrize("text", ["sometimes", "2", "unexpected 1"])
def test_autorestart_is_nothing_else(text: str) -> None:
    assert refused("autorestart", text) == f"{text!r} is neither always nor unexpected nor never"


@pytest.mark.parametrize(
    "text, codes",
    [
        ("", ()),
        ("0", (0,)),
        ("0,2", (0, 2)),
        ("0 2", (0, 2)),
        (" 0 , 2,,255\t7 ", (0, 2, 255, 7)),
        ("2,0,2", (2, 0)),
        (",", ()),
    ],
)
def test_exit_codes(text: str, codes: tuple[int, ...]) -> None:
    assert SCALARS["exitcodes"](text) == codes


@pytest.mark.parametrize(
    "text, why",
    [
        ("256", "'256' is out of range (0 to 255)"),
        ("0,-1", "'-1' is not a whole number"),
        ("0;1", "'0;1' is not a whole number"),
        ("0-3", "'0-3' is not a whole number"),
    ],
)
def test_exit_codes_that_are_none(text: str, why: str) -> None:
    assert refused("exitcodes", text) == why


@pytest.mark.parametrize("key", SIGNALS)
def test_signals_by_name_and_number(key: str) -> None:
    for number in range(1, 32):
        name = signal_name(number)
        for text in (name, name.lower(), f"SIG{name}", f"sig{name.lower()}", str(number), f"{number:02}"):
            assert SCALARS[key](text) == name, text


@pytest.mark.parametrize("key", SIGNALS)
@pytest.mark.parametrize(
    "text", ["0", "32", "64", "-9", "SIG", "SIG9", "SIGSIGTERM", "NOSUCH", "RTMIN", "TERM KILL", "\u0661", "9" * 50]
)
def test_signals_that_are_none(key: str, text: str) -> None:
    assert refused(key, text) == f"{text!r} is not a signal"


@pytest.mark.parametrize("text, mask", [("022", 0o22), ("22", 0o22), ("0", 0), ("000", 0), ("0777", 0o777), ("7", 7)])
def test_umask(text: str, mask: int) -> None:
    assert SCALARS["umask"](text) == mask


@pytest.mark.parametrize(
    "text, why",
    [
        ("8", "'8' is not an octal number"),
        ("0o22", "'0o22' is not an octal number"),
        ("-22", "'-22' is not an octal number"),
        ("u=rwx", "'u=rwx' is not an octal number"),
        ("1777", "'1777' is out of range (000 to 777)"),
        ("7" * 100, f"{show('7' * 100)} is out of range (000 to 777)"),
        ("2 2", "'2 2' is not an octal number"),
    ],
)
def test_umasks_that_are_none(text: str, why: str) -> None:
    assert refused("umask", text) == why


NAMED = ["www-data", "_apt", "0", "1000", "4294967294", "j.doe", "DOM\\joe", "joe@dom", "host$"]


@pytest.mark.parametrize("text", NAMED)
def test_users(text: str) -> None:
    for value in (text, f"{text}:adm", f"{text}:4", f"adm:{text}"):
        assert SCALARS["user"](value) == value
    assert SCALARS["group"](text) == text


NOBODY = ["a b", "a/b", "a=b", "-x", "+x", "~joe", "%(ENV_USER)s", '"www"', "www ; it", "www # it", "a\x1bb", "a,b"]


@pytest.mark.parametrize("text", NOBODY)
def test_users_and_groups_that_there_cannot_be(text: str) -> None:
    for value in (text, f"{text}:adm"):
        assert refused("user", value) == f"{text!r} is neither the name nor the number of a user"
    for key, value in (("group", text), ("user", f"www:{text}")):
        assert refused(key, value) == f"{text!r} is neither the name nor the number of a group"


@pytest.mark.parametrize("text, what", [(":", "user"), (":www", "user"), ("www:", "group"), ("a:b:c", "group")])
def test_users_of_which_a_part_is_missing_or_too_much(text: str, what: str) -> None:
    assert f"is neither the name nor the number of a {what}" in refused("user", text)


@pytest.mark.parametrize("text", ["4294967295", "99999999999"])
def test_users_beyond_the_last_number(text: str) -> None:
    """The number above the last stands for "no change" in setuid(2)."""
    for key, value in (("user", text), ("user", f"www:{text}"), ("group", text)):
        assert "is out of range" in refused(key, value)


@pytest.mark.parametrize("text, number", [("0", 0), ("3", 3), ("1023", 1023)])
def test_descriptors(text: str, number: int) -> None:
    assert SCALARS["notification_fd"](text) == number


@pytest.mark.parametrize("text", ["1", "2", "1024", "2147483647"])
def test_descriptors_that_are_none_of_the_services(text: str) -> None:
    assert refused("notification_fd", text) == f"{text!r} is neither 0 nor a descriptor from 3 to 1023"


@pytest.mark.parametrize(
    "text, words",
    [
        ("true", ("true",)),
        ("curl -fsS 'http://x/a b'", ("curl", "-fsS", "http://x/a b")),
        ("", ()),
        (r"a\ b ''", ("a b", "")),
    ],
)
def test_commands(text: str, words: tuple[str, ...]) -> None:
    assert SCALARS["check_command"](text) == words


@pytest.mark.parametrize(
    "text, why",
    [("a 'b", "no closing '"), ("a\\", "a backslash with nothing behind it"), ("'' a", "the program has no name")],
)
def test_commands_that_are_none(text: str, why: str) -> None:
    assert refused("check_command", text) == why


@STEADY
@given(st.sampled_from(sorted(SCALARS)), st.text(min_size=1, max_size=30))
def test_any_text_is_good_or_bad(key: str, text: str) -> None:
    try:
        SCALARS[key](text)
    except BadValue as why:
        assert str(why).isprintable()


# And back.


@STEADY
@given(
    st.one_of(
        st.tuples(st.sampled_from(FLAGS), st.booleans()),
        st.tuples(st.just("umask"), st.integers(0, 0o777)),
        st.tuples(st.just("exitcodes"), st.lists(st.integers(0, 255), unique=True).map(tuple)),
        st.tuples(st.just("check_command"), st.lists(st.text(), max_size=4).map(lambda words: ("x", *words))),
        st.tuples(st.just("check_command"), st.just(())),
        st.tuples(st.sampled_from(("directory", "pidfile")), st.text()),
        st.tuples(st.just("autorestart"), st.sampled_from(("always", "unexpected", "never"))),
        st.tuples(st.sampled_from(SECONDS), st.integers(1, MAX_SECONDS)),
    )
)
def test_what_is_written_is_read_as_the_same(pair: tuple[str, object]) -> None:
    key, value = pair
    text = written(key, value)
    assert SCALARS[key](expand(text, Names()) if key in EXPANDED else text) == value


def test_how_values_are_written() -> None:
    assert written("umask", None) == ""
    assert written("umask", 0o2) == "002"
    assert written("notify", True) == "yes"
    assert written("exitcodes", (0, 2)) == "0,2"
    assert written("alarm_mail", ("a@x", "b@x")) == "a@x b@x"
    assert written("environment", (("A", 'x "y"'), ("B", "5%"))) == r'A="x \"y\"",B="5%%"'
    assert written("check_command", ("a", "b c", "it's", "", "50%")) == r"a 'b c' 'it'\''s' '' 50%%"
    assert written("directory", "/srv/%x") == "/srv/%%x"


def test_what_the_log_is_told() -> None:
    assert logged("environment", (("A", "secret"), ("B", "secret"))) == "A B"
    assert logged("check_command", ("curl", "-H", "Token: secret")) == "curl ..."
    assert logged("check_command", ("true",)) == "true"
    assert logged("notify", True) == "yes"
