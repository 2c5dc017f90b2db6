"""Shell syntax that no shell reads: what is said of it, and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervise.config.expand import Names
from supervise.config.parser import parse
from supervise.config.shellsyntax import in_command
from supervise.config.shellwords import QUOTED, Unbalanced, split, suspicious


def said(text: str) -> list[str]:
    """What supervise says of a command; nothing where it does not even look."""
    return in_command(text) if suspicious(text, split(text)) else []


@pytest.mark.parametrize(
    "command, what, way",
    [
        ("app &", "no shell reads &: ", "leave it out"),
        ("app | logger", "no shell reads |: ", "sh -c"),
        ("app >log 2>&1", "no shell reads >: ", "sh -c"),
        ("app >log 2>&1", "no shell reads 2>&1: ", "the key redirect_stderr"),
        ("app 2>&1 &", "no shell reads 2>&1: ", "the key redirect_stderr"),
        ("app 2>&1 &", "no shell reads &: ", "leave it out"),
        ("2>&1", "no shell reads 2>&1: ", "the key redirect_stderr"),
        ("app 2>&1|tee log", "no shell reads >&, |: ", "sh -c"),
        ("app *.log", "no shell expands *: ", "sh -c"),
        ("app file? [a-z]x [!a]", "no shell expands ?, [...]: ", "quote what is meant so"),
        ("app $X*", "no shell expands $X, *: ", "sh -c"),
        ("app ?x=http://h/", "no shell expands ?: ", "quote what is meant so"),
        ("find . -name *.py -delete", "no shell expands *: ", "quote what is meant so"),
        ("app # the main one", "no shell reads #: ", "leave the comment out"),
        ("app #1 & 'x'", "no shell reads #: ", "quote what is meant so"),
        ("# app", "no shell reads #: ", "leave the comment out"),
        ("(sleep 5; app)", "no shell reads (sleep: ", "sh -c"),
        ("(sleep 5; app)", "no shell reads ;: ", "sh -c"),
        ("app (sleep 5)", "no shell reads (: ", "sh -c"),
        ("app x(y)", "no shell reads (: ", "quote what is meant so"),
        ("app >> log &", "no shell reads >>, &: ", "sh -c"),
        ("app <in", "no shell reads <: ", "quote what is meant so"),
        ("a; b", "no shell reads ;: ", "sh -c"),
        ("a && b", "no shell reads &&: ", "sh -c"),
        ("fetch http://h/?a=1&b=2", "no shell reads &: ", "quote what is meant so"),
        ("app $HOME/x $HOME ${X:-y} $1", "no shell expands $HOME, ${X}, $1: ", "sh -c"),
        ("app $(date) `date`", "no shell expands $(...), `...`: ", "sh -c"),
        ("A=1 app", "no shell reads A= before the program: ", "the key environment, or env A=..."),
        ("A=1 B= app C=3", "no shell reads A=, B= before the program: ", "env A=, B=..."),
        ("A=1", "no shell reads A= before the program: ", "the key environment"),
        ("cd /srv", "no shell reads cd: ", "the key directory"),
        ("A=1 cd /srv", "no shell reads cd: ", "the key directory"),
        ("export A", "no shell reads export: ", "the key environment"),
        ("umask 022", "no shell reads umask: ", "the key umask"),
        ("exec app", "no shell reads exec: ", "leave it out"),
        (". /etc/app.env", "no shell reads .: ", "sh -c"),
        ("ulimit -n 4096", "no shell reads ulimit: ", "sh -c"),
        ("(app)", "no shell reads (app): ", "sh -c"),
        ("~/bin/app --port 1", "no shell expands ~: ", "write the path in full"),
        ("app ~joe/x", "no shell expands ~: ", "write the path in full"),
        ("sh -c ls | wc", "no shell reads |: ", "sh -c"),
    ],
)
def test_what_a_shell_would_have_read(command: str, what: str, way: str) -> None:
    found = [one for one in said(command) if one.startswith(what)]
    assert len(found) == 1 and way in found[0], said(command)


def test_what_follows_a_comment_is_not_looked_at() -> None:
    assert said("app # & *.log $X (y)") == ["no shell reads #: leave the comment out, or quote what is meant so"]


def test_where_stderr_goes_otherwise() -> None:
    (check,) = in_command("curl http://h 2>&1", "check_command")
    assert check.startswith("no shell reads 2>&1: leave it out")
    (script,) = in_command("notify 2>&1", "-r")
    assert script.startswith("no shell reads >&: use sh -c")


def test_all_of_it_at_once() -> None:
    found = said("A=1 cd ~/x && app $Y >log")
    assert [one[: one.index(": ") + 2] for one in found] == [
        "no shell reads A= before the program: ",
        "no shell reads cd: ",
        "no shell reads &&, >: ",
        "no shell expands $Y: ",
        "no shell expands ~: ",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "app --port 8000",
        "app --mode=fast A=1 -- x=y",
        "env A=1 app",
        "sh -c 'cd /srv && exec app >$LOG 2>&1 &'",
        'sh -c "exec app $HOME"',
        r"find . -exec ls {} \;",
        r"app \$HOME \~ \| \`x\`",
        "app '|' \"&\" '$X' '~'",
        "app 'A=1 B' x~ a~b 100$ $ $- --home=~/x",
        "'A'=1",
        "cdrecord cd exec",
        "app {a,b} a#1 !",
        "find . -name '*.py' -o -name \"[a-z]?\" -o -name \\*",
        "app '#1' \\# '(x)' 'a?'",
        "curl http://h/?a=1 https://[::1]:80/x?y#z",
        "app --listen [::]:80 [fe80::1%eth0] [::ffff:1.2.3.4]",
        "[ -e /x ]",
        "app a[ ] a[]",
        "app '2>&1'",
        "./=app",
        ".",
    ],
)
def test_what_is_meant_as_it_stands(command: str) -> None:
    assert said(command) == []


WORDS = st.text(st.sampled_from("ab=$&|;<>~`'\"\\ (){}1\n*?[]#:"), max_size=12)


@given(WORDS)
@example("'' &")
@example("\\\n")
@example("A=1 #")
@example("A= 2>&1")
def test_whatever_is_typed_is_looked_at(text: str) -> None:
    try:
        words = split(text)
    except Unbalanced:
        return
    masked = split(text, masked=True)
    assert [len(word) for word in masked] == [len(word) for word in words]
    assert all(a in (b, QUOTED) for one, two in zip(masked, words) for a, b in zip(one, two))
    if words and words[0]:
        found = in_command(text)
        assert all(len(one) < 300 for one in found)
        assert not found or suspicious(text, words), "it would not be looked at"


@pytest.mark.parametrize(
    "value, said",
    [
        ("check_command : curl http://h | grep ok", "check_command: no shell reads |: "),
        ("check_command : test -e $HOME/secret", "check_command: no shell expands $...: "),
        ("check_command : cd /srv", "check_command: no shell reads cd: "),
        ("check_command : TOKEN=x curl http://h", "check_command: no shell reads TOKEN= before the program: "),
        ("directory : ~/app", "directory: no shell expands ~: "),
        ("directory : $HOME/app", "directory: no shell expands $HOME: "),
        ("pidfile : ~joe/app.pid", "pidfile: no shell expands ~: "),
        ("pidfile : ${RUN}/app.pid", "pidfile: no shell expands ${RUN}: "),
        ('environment : PATH="/opt/bin:$PATH"', "environment: PATH: no shell expands $PATH: "),
        ('environment : A=1,PATH="${PATH}:x"', "environment: PATH: no shell expands $PATH: "),
    ],
)
def test_in_the_configuration(value: str, said: str) -> None:
    config, problems = parse(f"[app]\n{value}\n".encode(), "app")
    assert len(problems.kept) == 1 and problems.kept[0].line == 2
    assert problems.kept[0].text.startswith(said)
    key = value.partition(" ")[0]
    assert getattr(config, key), "it counts all the same"
    assert not problems.blocking


@pytest.mark.parametrize(
    "value",
    [
        "check_command : sh -c 'curl http://h | grep ok'",
        "check_command : curl %(ENV_HOST)s",
        'environment : PASSWORD="pa$word&~",X="$PATH"',
        "environment : A=~/x",
        "directory : /srv/a~b",
        "pidfile : run/$",
        "check_command :",
    ],
)
def test_in_the_configuration_what_is_meant_as_it_stands(value: str) -> None:
    names = Names(program="app", environ={b"HOST": b"a&b '"}) if "HOST" in value else None
    _, problems = parse(f"[app]\n{value}\n".encode(), "app", names=names)
    assert not any("no shell" in problem.text for problem in problems.kept)


def test_advice_is_no_reason_to_doubt_what_restricts() -> None:
    """A value that cannot be understood may hide one; this can be, and is in force."""
    for text in ("check_command : curl http://h?user=joe | grep ok", 'environment : PATH="$PATH:x",user="joe"'):
        _, problems = parse(f"[app]\n{text}\n".encode(), "app")
        assert problems.kept and not problems.blocking


def test_no_word_of_a_check_is_shown() -> None:
    _, problems = parse(b"[app]\ncheck_command : curl -u joe:pa$sword;x ${TOKEN}\n", "app")
    assert problems.kept
    assert not any(word in problem.text for problem in problems.kept for word in ("sword", "TOKEN", "joe"))
