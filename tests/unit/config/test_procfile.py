"""A Procfile: its services, their ports and variables, and which of them a shell runs."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import rounds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervise.config.config import Config
from supervise.config.definitions import Fleet, find, read
from supervise.config.dotenv import read_beside
from supervise.config.file import names_for
from supervise.config.parser import parse
from supervise.config.procfile import argv
from supervise.config.sources import Report, Source

STACK = """# what runs
web: gunicorn shop.wsgi --bind 0.0.0.0:$PORT

worker:  celery -A shop worker
clock: 'bin/my clock' --every 5
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Procfile"


def fleet(path: Path, text: str, env: str | None = None, **environ: str) -> Fleet:
    path.write_text(text)
    if env is not None:
        (path.parent / ".env").write_text(env)
    return read(str(path), {name.encode(): value.encode() for name, value in environ.items()})


def said(lines: list[str], path: Path) -> list[str]:
    """Errors or warnings without the folder."""
    return [line.replace(f"{path.parent}/", "") for line in lines]


def config(found: Fleet, name: str) -> Config:
    governed, problems = parse(found.services[name].text(), name, names=names_for(found.path, name))
    assert problems.lines("") == []
    return governed


def test_each_line_is_a_service(path: Path) -> None:
    found = fleet(path, STACK)
    assert (found.errors, found.warnings, found.dialect) == ([], [], "Procfile")
    assert {name: one.command for name, one in found.services.items()} == {
        "web": ["/bin/sh", "-c", "gunicorn shop.wsgi --bind 0.0.0.0:$PORT"],
        "worker": ["celery", "-A", "shop", "worker"],
        "clock": ["bin/my clock", "--every", "5"],
    }
    web = found.services["web"]
    assert (web.line, web.place(1), web.sources) == (2, (str(path), 2), (str(path), str(path.parent / ".env")))
    assert found.sources == [str(path)]
    assert find(str(path), "worker", {}) == (found.services["worker"], [])


def test_a_service_runs_beside_the_file_and_is_stopped_with_all_it_started(path: Path) -> None:
    governed = config(fleet(path, STACK), "web")
    assert governed.directory == str(path.parent)
    assert (governed.stopasgroup, governed.killasgroup, governed.stopwaitsecs) == (True, True, 5)
    assert governed.autorestart == "always"


@pytest.mark.parametrize(
    "env, environ, ports",
    [
        (None, {}, ["5000", "5100", "5200"]),
        (None, {"PORT": "8000"}, ["8000", "8100", "8200"]),
        ("PORT=9000\n", {"PORT": "8000"}, ["9000", "9100", "9200"]),
    ],
)
def test_each_has_a_port_of_its_own(path: Path, env: str | None, environ: dict[str, str], ports: list[str]) -> None:
    found = fleet(path, STACK, env, **environ)
    assert [dict(one.environment)["PORT"] for one in found.services.values()] == ports


@pytest.mark.parametrize("text", ["0", "x", "65536", "-1", "123456"])
def test_a_port_that_is_none_is_an_error(path: Path, text: str) -> None:
    assert said(fleet(path, STACK, PORT=text).errors, path) == [f"Procfile: PORT: {text!r} is no port"]


def test_a_port_beyond_the_last_is_a_warning(path: Path) -> None:
    found = fleet(path, "a: a\nb: b\n", PORT="65500")
    assert said(found.warnings, path) == ["Procfile:2: b: its PORT, 65600, is none"]


def test_variables_come_from_the_file_beside_it(path: Path) -> None:
    found = fleet(path, STACK, "# x\nKEY='-- a\\nb --'\nURL=redis://h/0\n")
    assert (found.errors, found.warnings) == ([], [])
    assert dict(found.services["worker"].environment) == {"KEY": "-- a\nb --", "URL": "redis://h/0", "PORT": "5100"}
    assert found.services["worker"].sources == (str(path), str(path.parent / ".env"))
    assert found.sources == [str(path), str(path.parent / ".env")]


def test_variables_that_others_could_have_written_are_not_believed(path: Path) -> None:
    (path.parent / ".env").write_text("A=1\n")
    (path.parent / ".env").chmod(0o666)
    (error,) = said(fleet(path, STACK).errors, path)
    assert error.startswith(".env: not believed: ")


def test_what_is_no_such_line_is_ignored_with_a_warning(path: Path) -> None:
    found = fleet(path, "web: a\njunk\nmy app: b\nempty:\n")
    assert (list(found.services), found.errors) == (["web"], [])
    assert said(found.warnings, path) == [
        "Procfile:2: not `name: command`: 'junk': ignored",
        "Procfile:3: not `name: command`: 'my app: b': ignored",
        "Procfile:4: not `name: command`: 'empty:': ignored",
    ]


@pytest.mark.parametrize(
    "text, error",
    [
        ("a: x\na: y\n", "2: a is defined in Procfile:1 already"),
        ("a: x 'y\n", "1: a: no closing '"),
        ("a: ''\n", "1: a: the program has no name"),
        ("a: b\0c\n", "1: a: holds a NUL byte"),
        ("-a: b\n", "1: the name '-a' begins with '-'"),
        ("global: b\n", "1: the name 'global' is what the defaults of all are called"),
    ],
)
def test_what_cannot_be_understood_is_an_error(path: Path, text: str, error: str) -> None:
    assert said(fleet(path, text).errors, path) == [f"Procfile:{error}"]


def test_what_runs_once_before_the_others_is_left_down(path: Path) -> None:
    found = fleet(path, "release: bin/migrate\nweb: a\n")
    assert [one.autostart for one in found.services.values()] == [False, True]
    texts = [one.text() for one in found.services.values()]
    assert [b"autorestart : never" in text for text in texts] == [True, False]
    assert said(found.warnings, path) == [
        "Procfile:1: release: is what runs once before others: left down unless it is named"
    ]


def test_an_empty_one_defines_nothing(path: Path) -> None:
    found = fleet(path, "")
    assert (found.services, found.errors, found.warnings) == ({}, [], [])


# What it is recognised by.


@pytest.mark.parametrize(
    "name, text, dialect",
    [
        ("Procfile", "[web]\ncommand : a\n", "Procfile"),
        ("Procfile.dev", "web: a\n", "Procfile"),
        ("services", "# x\n\nweb: a\nworker: b c\n", "Procfile"),
        ("services", "web: a\nalarm_mail: a@b\n", "supervise.conf"),
        ("services", "user: joe\n", "supervise.conf"),
        ("services", "command: joe\n", "supervise.conf"),
        ("services", "web: a\n[b]\n", "supervise.conf"),
        ("services", "", "supervise.conf"),
        ("services", "web : a\n", "supervise.conf"),
        ("services.conf", "web: a\n", "supervise.conf"),
        ("services.ini", "web: a\n", "supervise.conf"),
    ],
)
def test_what_makes_a_file_one(tmp_path: Path, name: str, text: str, dialect: str) -> None:
    assert fleet(tmp_path / name, text).dialect == dialect


# Which commands a shell runs.


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a | b",
            "a && b",
            "a > b",
            "cd x && y",
            "A=1 b",
            "exec a",
            "a $B",
            'a "$B"',
            'a "`b`"',
            "a $?",
            "a ${B:-c}",
            "a `b`",
            "a ~/b",
            "a *.x",
        ),
        *(
            "a b[12]",
            "a ?",
            ". ./env; a",
            "a # b",
            "#a",
            "trap x TERM",
            "while true; do a; done",
            "(a)",
            "[ -e a ]",
            "a &",
        ),
    ],
)
def test_what_only_a_shell_understands_is_run_by_one(text: str) -> None:
    assert argv(text) == ["/bin/sh", "-c", text]


@pytest.mark.parametrize(
    "text", ["a", "a b --c=d", "a 'b | c' \"d > e\"", "a '(b)' '*' '#'", "a b#c", "a \\*b", "node app.js --x='y z'"]
)
def test_other_commands_are_executed_as_they_are(text: str) -> None:
    assert argv(text) == shlex.split(text)


@settings(max_examples=rounds(40, 150))
@given(st.text("ab $'\"\\#*;&|<>()~=`!{}[]?\t-", max_size=12))
@example("a {b,c}")
@example("! a")
@example('"$a"')
@example("$-")
def test_what_is_executed_as_it_is_would_be_so_by_a_shell(text: str) -> None:
    try:
        words = argv(f"printf %s.. {text}".strip())
    except ValueError:
        return
    if words[0] == "/bin/sh":
        return
    done = subprocess.run(["/bin/sh", "-c", f"printf %s.. {text}"], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == subprocess.run(words, capture_output=True, timeout=60).stdout


# The file with variables.


def variables(tmp_path: Path, text: str) -> tuple[dict[str, str], list[str], list[str]]:
    path = tmp_path / "Procfile"
    (tmp_path / ".env").write_text(text)
    report = Report(str(path))
    found, _ = read_beside(Source(str(path), b""), report)
    return found, said(report.errors, path), said(report.warnings, path)


@pytest.mark.parametrize(
    "line, value",
    [
        ("A=b", "b"),
        ("A = b c", "bc"),
        ("A='b c'", "b c"),
        ('A="b \\" \\\\ \\x c"', 'b " \\ \\x c'),
        ("A='b \\' # c", "b \\"),
        ("A=b#c", "b"),
        ("A='b#c'", "b#c"),
        ("A=b\\ \\#c", "b #c"),
        ('A="b\\nc\\td"', "b\nc\td"),
        ("A=b\\nc", "bnc"),
        ("A=$HOME/x", "$HOME/x"),
        ("A=x=y", "x=y"),
        ("A=1\nA=2", "2"),
        ("A=b\r", "b"),
        ("A='b'\"c\"d", "bcd"),
        ("export A=b", "b"),  # but not this
    ],
)
def test_values_are_those_of_honcho(tmp_path: Path, line: str, value: str) -> None:
    assert variables(tmp_path, line + "\n") == ({"A": value}, [], [])


@pytest.mark.parametrize("line", ["A", "export A", "exports A=1", "A B=1", "1A=2", "A.B=1", "=x", "A-B=secret"])
def test_other_lines_are_ignored_with_a_warning_that_does_not_quote_them(tmp_path: Path, line: str) -> None:
    assert variables(tmp_path, f"\n# x\n{line}\n") == ({}, [], [".env:3: not `NAME=VALUE`: ignored"])


@pytest.mark.parametrize("line", ["A='secret", 'A="secret', "A=secret\\"])
def test_a_quote_that_is_not_closed_is_an_error_that_does_not_quote_it(tmp_path: Path, line: str) -> None:
    why = ".env:1: A: a quote is not closed, or a backslash has nothing behind it"
    assert variables(tmp_path, line) == ({}, [why], [])


def test_what_supervise_sets_itself_is_not_taken_from_there(tmp_path: Path) -> None:
    assert variables(tmp_path, "NOTIFY_SOCKET=x\n")[2] == [".env:1: NOTIFY_SOCKET is set by supervise: ignored"]
    assert variables(tmp_path, "A=x\0y\n")[1] == [".env:1: A: holds a NUL byte"]


def _as_honcho(line: str) -> dict[str, str] | None:
    """What honcho makes of a line, as its documentation has it: the words of shlex; None where it fails."""
    try:
        words = list(shlex.shlex(line, posix=True))
    except ValueError:
        return None
    if len(words) < 3 or words[1] != "=" or not (words[0].isidentifier() and words[0].isascii()):
        return {}
    return {words[0]: "".join(words[2:]).replace("\\n", "\n").replace("\\t", "\t")}


@settings(max_examples=rounds(40, 150))
@given(st.text("Ab='\"\\n#$ -.", max_size=12))
@example("")
@example("'b'")
@example("=b")
def test_lines_mean_what_they_do_to_honcho(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    line = f"A={value}"
    found, errors, _ = variables(tmp_path_factory.mktemp("env"), line)
    theirs = _as_honcho(line)
    if theirs is None:
        assert errors
    elif theirs:
        assert (found, errors) == (theirs, [])
    else:
        assert found == {"A": ""}  # which it ignores
