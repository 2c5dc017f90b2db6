"""supervise.conf, whatever is in it: files built from a known meaning, and files without any."""

from __future__ import annotations

from typing import Any

import limit_values
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervise.config.config import Config
from supervise.config.expand import Names, usable
from supervise.config.parser import parse
from supervise.config.sections import BOM, Problems, split
from supervise.config.values import GSM_LIMIT, MAX_INT, MAX_SECONDS, RESERVED
from supervise.config.written import written

STEADY = settings(max_examples=rounds(30, 150), deadline=None, suppress_health_check=[HealthCheck.too_slow])

NUMBERS = ("alarm_interval", "max_tries", "max_tries_if_coredumped")
LISTS = ("alarm_mail", "alarm_gsm")
SECONDS = (
    *("restart_delay", "restart_delay_max", "startsecs", "stopwaitsecs", "starttimeoutsecs", "watchdog_secs"),
    *("check_interval", "check_timeout", "check_delay"),
)
FLAGS = ("stopasgroup", "killasgroup", "redirect_stderr", "notify")
KEYS = Config.__slots__
NAMES = Names("/etc/app", "app", "host7", {b"HOME": b"/root", b"ODD": b"'%(here)s\",\xff\n"})

# Files without a meaning: any bytes, or pieces of a configuration in any order.
PIECES = (
    *(key.encode() for key in KEYS),
    *(b"[global]", b"[app]", b"[other]", b"[", b"]", b"[ app ]", b"[]"),
    *(b"\n", b"\r\n", b"\r", b" ", b"\t", b":", b"=", b" : ", b"#", b";", b"\0", b"\xff", b"\xe2\x80\xa8", BOM),
    *(b'"', b"'", b"\\", b",", b"A", b"A=1", b'B="2 3"', b"%", b"%%", b"%(here)s", b"%(ENV_ODD)s", b"%(ENV_NO)s"),
    *(b"yes", b"TERM", b"022", b"always", b"root", b"NOTIFY_SOCKET"),
    *(b"0", b"1", b"59", b"60", b"-1", b"2147483648", b"9" * 30, b"a@x", b"-x", b"+49", b"x" * 2048, b" " * 2047),
)
File = tuple[bytes, list[tuple[str, dict[str, Any]]], list[int]]  # as `files` draws it

pieces = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
settings_of_anything = st.lists(
    st.builds(lambda key, text: key.encode() + b":" + text, st.sampled_from(KEYS), pieces | st.binary(max_size=30)),
    max_size=8,
).map(lambda lines: b"\n".join([b"[app]", *lines]))
junk = st.one_of(st.binary(max_size=200), pieces, settings_of_anything)

plain = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
values = {
    **{key: st.one_of(st.integers(0, 70), st.integers(0, MAX_INT)) for key in NUMBERS},
    **{key: st.lists(st.sampled_from("abcdefgh"), max_size=6) for key in LISTS},
    **{key: st.integers(1, MAX_SECONDS) for key in SECONDS},
    **{key: st.booleans() for key in FLAGS},
    **{key: st.sampled_from(["TERM", "ABRT", "HUP", "SYS"]) for key in ("stopsignal", "watchdog_signal")},
    **{key: plain for key in ("directory", "pidfile")},
    "autorestart": st.sampled_from(["always", "unexpected", "never"]),
    "exitcodes": st.lists(st.integers(0, 255), max_size=3, unique=True).map(tuple),
    "user": st.sampled_from(["", "root", "0", "www-data", "www-data:adm"]),
    "group": st.sampled_from(["", "adm"]),
    "umask": st.none() | st.integers(0, 0o777),
    "environment": st.dictionaries(st.sampled_from("ABCD"), plain | st.just(' "\\, %')).map(lambda d: tuple(d.items())),
    **{key: st.sampled_from(["", "INHERIT"]) for key in ("stdout_logfile", "stderr_logfile")},
    **limit_values.values,
    "notification_fd": st.just(0) | st.integers(3, 1023),
    "check_command": st.just(()) | st.lists(plain | st.just(" '"), min_size=1, max_size=3).map(tuple),
    "check_failures": st.integers(1, MAX_INT),
}
meanings = st.fixed_dictionaries({}, optional=values)  # of one section: some of the keys, each with a good value
configs = st.fixed_dictionaries(values).map(
    lambda fields: made({key: tuple(dict.fromkeys(value)) if key in LISTS else value for key, value in fields.items()})
)
spaces = st.sampled_from(["", " ", "\t", "  "])


def made(fields: dict[str, Any]) -> Config:
    config = Config()
    for key, value in fields.items():
        setattr(config, key, value)
    return config


def expected(sections: list[tuple[str, dict[str, Any]]], name: str) -> Config:
    """What sections mean, said in another way than parser.py says it."""
    named = [title for title, _ in sections]
    alone = name in named and "global" in named and named.index(name) < named.index("global")
    config = Config()
    for title, said in sections:
        if title == name or (title == "global" and not alone):
            for key, value in said.items():
                if key in LISTS:
                    setattr(config, key, tuple(dict.fromkeys([*getattr(config, key), *value])))
                elif key == "environment":
                    config.environment = tuple({**dict(config.environment), **dict(value)}.items())
                else:
                    setattr(config, key, 60 if key == "alarm_interval" and 1 <= value <= 59 else value)
    return config


@st.composite
def files(draw: st.DrawFn) -> File:
    """A file, its sections, and the numbers of the lines in it that are to be complained about."""
    names = draw(st.lists(st.sampled_from(["global", "app", "other"]), unique=True))
    sections = [(name, draw(meanings)) for name in names]
    lines: list[str] = []
    bad: list[int] = []

    def noise() -> None:
        kind = draw(st.integers(0, 11))
        if kind == 0:
            lines.append(draw(st.sampled_from(["# max_tries : 1", "; [app]", "", "  ", "\t# [global]"])))
        elif kind == 1 and len(bad) < 15:
            lines.append(draw(st.sampled_from([" max_tries : 1", "typo : 1", "nonsense"])))
            bad.append(len(lines))

    noise()
    for name, said in sections:
        lines.append(f"[{name}]{draw(spaces)}")
        noise()
        for key, value in said.items():
            text = draw(st.sampled_from([" ", "\t", "  "])).join(value) if key in LISTS else written(key, value)
            if key in NUMBERS and text == "0":
                text = draw(st.sampled_from(["0", "", "00"]))
            sign = draw(st.sampled_from(":="))
            lines.append(f"{key}{draw(spaces)}{sign}{draw(spaces)}{text}{draw(spaces)}")
            noise()
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return draw(st.sampled_from([b"", BOM])) + text.encode(), sections, bad


def numbers(problems: Problems) -> list[int]:
    """The lines of what does not count; what only a shell would understand does."""
    return sorted(problem.line for problem in problems.kept if ": no shell " not in problem.text)


@STEADY
@given(files(), st.sampled_from(["app", "other", "none"]))
def test_a_file_means_what_it_was_built_from(file: File, name: str) -> None:
    data, sections, bad = file
    config, problems = parse(data, name, strict=True)
    assert config == expected(sections, name)
    assert numbers(problems) == bad
    assert list(split(data, Problems(), set()).keys) == [title for title, _ in sections]


@STEADY
@given(files(), configs)
def test_a_file_without_a_broken_value_does_not_depend_on_what_was_before(file: File, previous: Config) -> None:
    data, sections, _ = file
    assert parse(data, "app", previous)[0] == expected(sections, "app")


@STEADY
@given(files(), configs, st.sampled_from([b"[glob\nx : 1", b"\0", b"[ app ]"]))
def test_a_broken_end_leaves_in_force_what_the_file_does_not_set(file: File, previous: Config, end: bytes) -> None:
    data, sections, _ = file
    config, _ = parse(data + b"\n" + end, "app", previous)
    named = [title for title, _ in sections]
    alone = "app" in named and "global" in named and named.index("app") < named.index("global")
    said = {key for title, keys in sections if title == "app" or (title == "global" and not alone) for key in keys}
    for key in KEYS:
        source = expected(sections, "app") if key in said else previous
        assert getattr(config, key) == getattr(source, key)


@STEADY
@given(
    files(),
    configs,
    st.sampled_from(NUMBERS),
    st.sampled_from(["x", "-1", "1.5", "2147483648", "1 2", "\u0663", "0x1", "--"]),
)
def test_a_bad_value_costs_nothing_but_itself(file: File, previous: Config, key: str, value: str) -> None:
    _, sections, _ = file
    good = [(title, {k: v for k, v in said.items() if k in NUMBERS}) for title, said in sections if title != "app"]
    lines = [line for title, said in good for line in (f"[{title}]", *(f"{k} : {v}" for k, v in said.items()))]
    text = "\n".join([*lines, "[app]", f"{key} : {value}", ""])
    first, problems = parse(text.encode(), "app")
    assert first == expected(good, "app")
    assert numbers(problems) == [text.count("\n")]
    again, _ = parse(text.encode(), "app", previous)
    for other in KEYS:
        assert getattr(again, other) == getattr(previous if other == key else first, other)


@STEADY
@given(junk, st.none() | configs, st.booleans(), st.booleans())
@example(b"[app]\n" + b"alarm_mail:" + b"x" * 4096, None, False, True)
@example(b"[app]\nenvironment:A=" + b"x" * 4096, None, False, True)
@example(BOM, None, True, True)
def test_no_bytes_are_too_much(data: bytes, previous: Config | None, cut: bool, strict: bool) -> None:
    """Nothing raises, what comes out is usable, and every problem is a line of the file."""
    config, problems = parse(data, "app", previous, cut, strict, NAMES)
    assert config.alarm_interval >= 60 or config.alarm_interval in (0, previous.alarm_interval if previous else 0)
    assert all(0 <= getattr(config, key) <= MAX_INT for key in NUMBERS)
    assert all(0 <= (getattr(config, key) or 0) <= MAX_SECONDS for key in SECONDS)
    assert all(type(getattr(config, key)) is bool for key in FLAGS)
    assert config.autorestart in ("always", "unexpected", "never")
    assert all(type(code) is int and 0 <= code <= 255 for code in config.exitcodes)
    assert config.umask is None or 0 <= config.umask <= 0o777
    assert config.notification_fd == 0 or 3 <= config.notification_fd <= 1023
    assert min(config.restart_delay, config.check_interval, config.check_timeout, config.check_failures) >= 1
    assert all(usable(name) and name not in RESERVED for name, _ in config.environment)
    assert len(dict(config.environment)) == len(config.environment)
    assert not config.check_command or config.check_command[0]
    for text in (config.directory, config.pidfile, *config.check_command, *dict(config.environment).values()):
        assert b"\0" not in text.encode("utf-8", "surrogateescape")
    assert len(config.alarm_gsm) <= GSM_LIMIT
    for key in LISTS:
        words = getattr(config, key)
        assert len(set(words)) == len(words)
        assert all(word and word.isascii() and not word.startswith("-") and word.split() == [word] for word in words)
    assert all(0 <= problem.line <= data.count(b"\n") + 1 for problem in problems.kept)
    assert cut or all(problem.line for problem in problems.kept)
    assert str(config) and hash(config) == hash(config)


@STEADY
@given(junk)
@example(b"[\xff]\n[\xff]\n")
@example(b"[\x1b[2J]\n[\x1b[2J]\n")
def test_a_problem_is_fit_for_a_log_and_a_terminal(data: bytes) -> None:
    _, problems = parse(data, "app", strict=True)
    for line in problems.lines("conf"):
        assert line.startswith("conf:")
        assert line.isprintable()
        assert len(line) < 300


@STEADY
@given(junk, configs, st.booleans())
def test_reading_the_same_file_again_changes_nothing(data: bytes, previous: Config, cut: bool) -> None:
    config, _ = parse(data, "app", previous, cut, names=NAMES)
    assert parse(data, "app", config, cut, names=NAMES)[0] == config


@STEADY
@given(junk)
def test_whether_problems_of_others_are_told_does_not_change_the_meaning(data: bytes) -> None:
    config, problems = parse(data, "app", names=NAMES)
    strict, all_problems = parse(data, "app", strict=True, names=NAMES)
    assert config == strict
    assert bool(all_problems) or not problems


@STEADY
@given(configs)
def test_what_a_configuration_shows_is_read_as_the_same(config: Config) -> None:
    config.alarm_interval = max(config.alarm_interval, 60)
    text = "[app]\n" + "".join(f"{key} : {value}\n" for key, value in config.items())
    read, problems = parse(text.encode(), "app")
    said = [line for line in problems.lines("conf") if ": no shell " not in line]  # advice, on a program called A=1
    assert (read, said) == (config, [])


@STEADY
@given(configs)
def test_the_log_is_not_told_what_may_be_secret(config: Config) -> None:
    config.environment = (("A", "hunter2"), ("B", "1 hunter2"))
    config.check_command = ("curl", "hunter2")
    assert "hunter2" not in str(config)
    assert "environment A B" in str(config)
