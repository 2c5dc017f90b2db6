"""supervise.conf, whatever is in it: files built from a known meaning, and files without any."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervise.config import BOM, GSM_LIMIT, MAX_INT, Config, Problems, parse, section_names

STEADY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NUMBERS = ("alarm_interval", "max_tries", "max_tries_if_coredumped")
LISTS = ("alarm_mail", "alarm_gsm")
KEYS = (*NUMBERS, *LISTS)

# Files without a meaning: any bytes, or pieces of a configuration in any order.
PIECES = (
    *(key.encode() for key in KEYS),
    *(b"[global]", b"[app]", b"[other]", b"[", b"]", b"[ app ]", b"[]"),
    *(b"\n", b"\r\n", b"\r", b" ", b"\t", b":", b"=", b" : ", b"#", b";", b"\0", b"\xff", b"\xe2\x80\xa8", BOM),
    *(b"0", b"1", b"59", b"60", b"-1", b"2147483648", b"9" * 30, b"a@x", b"-x", b"+49", b"x" * 2048, b" " * 2047),
)
File = tuple[bytes, list[tuple[str, dict[str, Any]]], list[int]]  # as `files` draws it

junk = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))

values = {
    **{key: st.one_of(st.integers(0, 70), st.integers(0, MAX_INT)) for key in NUMBERS},
    **{key: st.lists(st.sampled_from("abcdefgh"), max_size=6) for key in LISTS},
}
meanings = st.fixed_dictionaries({}, optional=values)  # of one section: some of the keys, each with a good value
configs = st.tuples(*(st.integers(0, 99) if key in NUMBERS else st.just(("old",)) for key in Config.__slots__)).map(
    lambda fields: made(dict(zip(Config.__slots__, fields)))
)
spaces = st.sampled_from(["", " ", "\t", "  "])


def made(fields: dict[str, Any]) -> Config:
    config = Config()
    for key, value in fields.items():
        setattr(config, key, value)
    return config


def expected(sections: list[tuple[str, dict[str, Any]]], name: str) -> Config:
    """What sections mean, said in another way than config.py says it."""
    named = [title for title, _ in sections]
    alone = name in named and "global" in named and named.index(name) < named.index("global")
    config = Config()
    for title, said in sections:
        if title == name or (title == "global" and not alone):
            for key, value in said.items():
                if key in LISTS:
                    setattr(config, key, tuple(dict.fromkeys([*getattr(config, key), *value])))
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
            lines.append(draw(st.sampled_from([" max_tries : 1", "\t[app]", "  [global]", "typo : 1", "nonsense"])))
            bad.append(len(lines))

    noise()
    for name, said in sections:
        lines.append(f"[{name}]{draw(spaces)}")
        noise()
        for key, value in said.items():
            text = str(value) if key in NUMBERS else draw(st.sampled_from([" ", "\t", "  "])).join(value)
            if text == "0":
                text = draw(st.sampled_from(["0", "", "00"]))
            sign = draw(st.sampled_from(":="))
            lines.append(f"{key}{draw(spaces)}{sign}{draw(spaces)}{text}{draw(spaces)}")
            noise()
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return draw(st.sampled_from([b"", BOM])) + text.encode(), sections, bad


def numbers(problems: Problems) -> list[int]:
    return sorted(problem.line for problem in problems.kept)


@STEADY
@given(files(), st.sampled_from(["app", "other", "none"]))
def test_a_file_means_what_it_was_built_from(file: File, name: str) -> None:
    data, sections, bad = file
    config, problems = parse(data, name, strict=True)
    assert config == expected(sections, name)
    assert numbers(problems) == bad
    assert section_names(data) == [title for title, _ in sections]


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
@example(BOM, None, True, True)
def test_no_bytes_are_too_much(data: bytes, previous: Config | None, cut: bool, strict: bool) -> None:
    """Nothing raises, what comes out is usable, and every problem is a line of the file."""
    config, problems = parse(data, "app", previous, cut, strict)
    assert config.alarm_interval >= 60 or config.alarm_interval in (0, previous.alarm_interval if previous else 0)
    assert all(0 <= getattr(config, key) <= MAX_INT for key in NUMBERS)
    assert len(config.alarm_gsm) <= GSM_LIMIT
    for key in LISTS:
        words = getattr(config, key)
        assert len(set(words)) == len(words)
        assert all(word and word.isascii() and not word.startswith("-") and word.split() == [word] for word in words)
    assert all(0 <= problem.line <= data.count(b"\n") + 1 for problem in problems.kept)
    assert cut or all(problem.line for problem in problems.kept)


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
    config, _ = parse(data, "app", previous, cut)
    assert parse(data, "app", config, cut)[0] == config


@STEADY
@given(junk)
def test_whether_problems_of_others_are_told_does_not_change_the_meaning(data: bytes) -> None:
    config, problems = parse(data, "app")
    strict, all_problems = parse(data, "app", strict=True)
    assert config == strict
    assert bool(all_problems) or not problems
