"""%-expansion and the syntax of `environment`: what it means, and that no message tells a secret."""

from __future__ import annotations

import pytest
from conftest import rounds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervise.config.expand import (
    BadText,
    Names,
    expand,
    split_environment,
    usable,
    without_names,
)
from supervise.config.written import unexpanded, written_environment

STEADY = settings(max_examples=rounds(50, 200), deadline=None)

NAMES = Names("/etc/app", "web", "host7", {b"HOME": b"/root", b"EMPTY": b"", b"ODD": b"%(here)s,\"'\xff"})

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
syntax = st.lists(st.sampled_from([*"%()s=,\"'\\ \tAB1_", "%(here)s", "%(ENV_HOME)s", "%%", "é"]), max_size=30).map(
    "".join
)


# %-expansion.


@pytest.mark.parametrize(
    "text, meant",
    [
        ("", ""),
        ("plain", "plain"),
        ("%(here)s", "/etc/app"),
        ("%(here)s/%(program_name)s.pid", "/etc/app/web.pid"),
        ("%(host_node_name)s", "host7"),
        ("a%(ENV_HOME)sb%(ENV_HOME)s", "a/rootb/root"),
        ("%(ENV_EMPTY)s", ""),
        ("100%%", "100%"),
        ("%%%%", "%%"),
        ("%%(here)s", "%(here)s"),
        ("%%%(program_name)s", "%web"),
    ],
)
def test_what_is_expanded(text: str, meant: str) -> None:
    assert expand(text, NAMES) == meant


def test_what_was_expanded_is_not_looked_at_again() -> None:
    assert expand("%(ENV_ODD)s", NAMES) == "%(here)s,\"'\udcff"


@pytest.mark.parametrize(
    "text",
    ["%", "100%", "100% sure", "%d", "%s", "%%%", "%(", "%(here", "%(here)", "%(here)d", "%(here)02d", "%(here)r s"],
)
def test_a_broken_percent_sign_is_a_mistake(text: str) -> None:
    with pytest.raises(BadText):
        expand(text, NAMES)


@pytest.mark.parametrize("name", ["", "nosuch", "Here", " here", "here ", "ENV_", "ENV_NOSUCH", "env_HOME", "HOME"])
def test_an_unknown_name_is_a_mistake(name: str) -> None:
    with pytest.raises(BadText):
        expand(f"%({name})s", NAMES)


def test_a_variable_that_does_not_exist_is_told() -> None:
    with pytest.raises(BadText, match=r"^no variable NOSUCH in supervise's environment$"):
        expand("%(ENV_NOSUCH)s", NAMES)


@pytest.mark.parametrize("name", ["here", "host_node_name"])
def test_what_nobody_knows_is_not_nothing(name: str) -> None:
    """An empty directory would make a path in it one in the root."""
    with pytest.raises(BadText, match=f"^{name} is not known$"):
        expand(f"%({name})s/bin", Names(program="web"))


@STEADY
@given(texts)
def test_a_text_in_which_percent_signs_are_doubled_stays_as_it_was(text: str) -> None:
    assert expand(unexpanded(text), NAMES) == text


@STEADY
@given(texts | syntax)
def test_expansion_says_what_the_percent_operator_says_or_that_it_is_a_mistake(text: str) -> None:
    """What supervisor expands with is that operator."""
    known = {"here": "/etc/app", "program_name": "web", "host_node_name": "host7", "ENV_HOME": "/root", "ENV_EMPTY": ""}
    try:
        found = expand(text, Names("/etc/app", "web", "host7", {b"HOME": b"/root", b"EMPTY": b""}))
    except BadText:
        return
    assert found == text % known


# The syntax of `environment`.


@pytest.mark.parametrize(
    "text, pairs",
    [
        ("", []),
        ("  ", []),
        ("A=1", [("A", "1")]),
        ('KEY="val",KEY2=\'val 2\',K3=v', [("KEY", "val"), ("KEY2", "val 2"), ("K3", "v")]),
        (' A = "1" , B\t=\t2 ', [("A", "1"), ("B", "2")]),
        ("A=1,", [("A", "1")]),
        (",A=1,,B=2", [("A", "1"), ("B", "2")]),
        ('A="",B=', [("A", ""), ("B", "")]),
        ("A=,B=1", [("A", ""), ("B", "1")]),
        ('A="a,b"', [("A", "a,b")]),
        ("A='a,b'", [("A", "a,b")]),
        ("A=\"it's\",B='\"'", [("A", "it's"), ("B", '"')]),
        ('A=" , "', [("A", " , ")]),
        ("PATH=/usr/bin:/bin,B=a@b.c", [("PATH", "/usr/bin:/bin"), ("B", "a@b.c")]),
        ("A=b64==", [("A", "b64==")]),
        ("A=~/x;#!*?[]{}$|&<>", [("A", "~/x;#!*?[]{}$|&<>")]),
        (r'A="a\"b"', [("A", 'a"b')]),
        (r'A="a\\",B=1', [("A", "a\\"), ("B", "1")]),
        (r'A="a\nb\x\%"', [("A", r"a\nb\x\%")]),
        (r"A='a\\b\',B=1", [("A", r"a\\b" + "\\"), ("B", "1")]),
        (r"A=C:\x", [("A", r"C:\x")]),
        ("A=1,A=2", [("A", "1"), ("A", "2")]),
        ("A=%(here)s/bin", [("A", "%(here)s/bin")]),
        ("A=é", [("A", "é")]),
        ("a b=1", [("a b", "1")]),
        ("=1", [("", "1")]),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str]]) -> None:
    assert split_environment(text) == pairs


@pytest.mark.parametrize(
    "text, why",
    [
        ("hunter2", "no = in the first pair"),
        ("A=1,hunter2", "no = in the second pair"),
        ("A=1,hunter2,B=2", "no = in the second pair"),
        ("A=1,B=2,C=3,hunter2", "no = in the 4th pair"),
        ('A="hunter2', 'A: no closing "'),
        ("A='hunter2\"", "A: no closing '"),
        (r'A="hunter2\"', 'A: no closing "'),
        ('A="hunter2"B="x"', 'A: no comma behind the closing "'),
        ("A='x' hunter2", "A: no comma behind the closing '"),
        ('A="x" ; hunter2', 'A: no comma behind the closing "'),
        ("A=hunter2 B=2", "A: a value with a blank or a quote in it must be in quotes"),
        ("A=1,B=hunter2's", "B: a value with a blank or a quote in it must be in quotes"),
        ('A=hunter2"x,y"', "A: a value with a blank or a quote in it must be in quotes"),
        ('hunter2 x="', 'the first pair: no closing "'),
    ],
)
def test_what_cannot_be_pairs(text: str, why: str) -> None:
    with pytest.raises(BadText) as caught:
        split_environment(text)
    assert str(caught.value) == why


@STEADY
@given(syntax, st.sampled_from(["hunter$2", "%(hunter$2)s", "%(hunter$2", "%hunter$2", "%(ENV_hunter$2)s"]), syntax)
@example("", "%(ENV_hunter$2)s", "")
@example('" ', "hunter$2", "")
@example('",', "hunter$2", "=' x")
def test_no_message_tells_a_secret(before: str, secret: str, after: str) -> None:
    """Neither when the pairs cannot be told apart, nor when a value cannot be expanded.

    But for what could be the name of a variable; this secret could not.
    """
    text = f'A="{before}{secret}{after}",B=1'
    try:
        pairs = split_environment(text)
        for _, value in pairs:
            expand(value, NAMES)
    except BadText as why:
        assert "hunter" not in str(why)
        assert str(why).isprintable()


@STEADY
@given(st.lists(st.tuples(st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True), texts | syntax), max_size=5).map(tuple))
@example((("A", '\\"'), ("B", "\\"), ("C", "%(here)s, ")))
def test_what_is_written_is_read_as_the_same(pairs: tuple[tuple[str, str], ...]) -> None:
    read = split_environment(written_environment(pairs))
    assert [(name, expand(value, NAMES)) for name, value in read] == [*pairs]


@STEADY
@given(syntax | texts)
def test_nothing_else_is_raised(text: str) -> None:
    try:
        pairs = split_environment(text)
    except BadText:
        return
    assert all("=" not in name and name == name.strip(" \t") for name, _ in pairs)


@pytest.mark.parametrize("name", ["A", "a_b", "_", "1A", "spring.profile", "A-B"])
def test_names_that_a_variable_can_have(name: str) -> None:
    assert usable(name)


@pytest.mark.parametrize("name", ["", "A B", '"A"', "A%", "%(here)s", "é", "A\x1b", "A$", "(A)"])
def test_names_that_are_something_gone_astray(name: str) -> None:
    assert not usable(name)


@pytest.mark.parametrize(
    "text, bare",
    [("%(here)s/check", "x/check"), ("100%% (%(ENV_A)s)", "100% (x)"), ("plain", "plain"), ("%(a)s%(b)s", "xx")],
)
def test_what_stands_there_without_its_names(text: str, bare: str) -> None:
    assert without_names(text) == bare


@given(st.text("%()s a", max_size=20))
def test_any_text_has_something_without_its_names(text: str) -> None:
    without_names(text)
