"""Services that a supervise.conf defines: which those are, what they are, and what governs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervise.config.config import RESTRICTING, Config
from supervise.config.definitions import Fleet, find, read
from supervise.config.file import names_for
from supervise.config.parser import parse
from supervise.config.sections import BOM

NOISY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
STEADY = settings(max_examples=rounds(40, 150), deadline=None, suppress_health_check=NOISY)
MANY = rounds(2_000, 10_000)
ENVIRON = {b"WORKERS": b"3", b"HOME": b"/home/joe"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervise.conf"


def fleet(path: Path, text: str | bytes) -> Fleet:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return read(str(path), ENVIRON)


def good(path: Path, text: str) -> Fleet:
    """The fleet of a file with nothing wrong in it."""
    found = fleet(path, text)
    assert (found.errors, found.warnings) == ([], [])
    return found


def errors(path: Path, text: str | bytes) -> list[str]:
    """The errors, without the path of the file."""
    return [line.replace(f"{path}:", "") for line in fleet(path, text).errors]


def config(found: Fleet, name: str) -> Config:
    made = found.services[name]
    return parse(made.text(), name, names=names_for(found.path, name))[0]


# Which sections are services.


def test_a_section_with_a_command_is_a_service(path: Path) -> None:
    found = good(path, "[global]\nmax_tries : 3\n[policy]\nmax_tries : 5\n[web]\ncommand : app --port '80 80'\n")
    assert list(found.services) == ["web"]
    web = found.services["web"]
    assert (web.command, web.program, web.process_num, web.group) == (["app", "--port", "80 80"], "web", 0, "web")
    assert (web.file, web.line, web.places["command"]) == (str(path), 5, (str(path), 6))
    assert (web.autostart, web.depends_on, web.depends_restart, web.priority) == (True, [], False, 999)
    assert (web.startretries, web.environment, web.sources) == (None, (), (str(path),))
    assert found.dialect == "supervise.conf"


def test_a_section_may_be_written_as_that_of_a_program(path: Path) -> None:
    found = good(path, "[program:web]\ncommand = app\numask = 027\n")
    assert list(found.services) == ["web"]
    assert config(found, "web").umask == 0o27


def test_a_program_must_have_a_command(path: Path) -> None:
    assert errors(path, "[program:web]\numask : 022\n") == ["1: web has no command"]


def test_services_come_in_the_order_of_the_file(path: Path) -> None:
    found = good(path, "[b]\ncommand : b\n[a]\ncommand : a\n[c]\ncommand : c\n")
    assert list(found.services) == ["b", "a", "c"]


def test_a_file_that_is_not_there_is_an_error(path: Path) -> None:
    assert read(str(path)).errors == [f"{path}: does not exist"]
    assert read(str(path)).services == {}
    assert find(str(path), "web") == (None, [f"{path}: does not exist"])


def test_an_empty_file_defines_nothing(path: Path) -> None:
    assert good(path, "").services == {}


@pytest.mark.parametrize("mark, end", [(BOM, b"\n"), (b"", b"\r\n"), (BOM, b"\r\n")])
def test_marks_and_line_ends_of_windows_do_not_count(path: Path, mark: bytes, end: bytes) -> None:
    lines = (b"[global]", b"max_tries : 3", b"[web]", b"command : app x", b"umask : 027")
    found = fleet(path, mark + end.join(lines) + end)
    assert (found.errors, found.services["web"].command) == ([], ["app", "x"])
    assert (config(found, "web").umask, config(found, "web").max_tries) == (0o27, 3)


# The keys.


def test_the_keys_of_a_definition(path: Path) -> None:
    text = """[web]
command : app
autostart : no
depends_on : db, cache
depends_restart : yes
priority : -5
startretries : 0
[db]
command : db
[cache]
command : cache
startretries :
"""
    found = good(path, text)
    web = found.services["web"]
    assert (web.autostart, web.depends_on, web.depends_restart) == (False, ["db", "cache"], True)
    assert (web.priority, web.startretries) == (-5, 0)
    assert found.services["cache"].startretries is None


def test_global_has_defaults_for_all(path: Path) -> None:
    found = good(path, "[global]\nautostart : no\npriority : 3\n[a]\ncommand : a\npriority : 4\n[b]\ncommand : b\n")
    assert [(one.autostart, one.priority) for one in found.services.values()] == [(False, 4), (False, 3)]


def test_a_section_before_global_stands_alone(path: Path) -> None:
    found = good(path, "[a]\ncommand : a\n[global]\npriority : 3\numask : 027\n[b]\ncommand : b\n")
    assert [one.priority for one in found.services.values()] == [999, 3]
    assert [config(found, name).umask for name in "ab"] == [None, 0o27]


@pytest.mark.parametrize(
    "line, problem",
    [
        ("command : ", "2: command: is empty"),
        ("command : app 'x", "2: command: no closing '"),
        ("command : app \\", "2: command: a backslash with nothing behind it"),
        ("command : '' x", "2: command: the program has no name"),
        ("command : app %x", "2: command: a % that is neither %% nor the beginning of %(...)s"),
        ("command : app %(ENV_NONE)s", "2: command: no variable NONE in the environment"),
        ("command : app %(here)d", "2: command: here is no number, and has a d behind it"),
        ("command : app %(process_num)99999d", "2: command: too wide a %(...)"),
        ("command", "2: command: no ':' after the key"),
        ("command : a\nautostart : maybe", "3: autostart: 'maybe' is neither yes nor no"),
        ("command : a\ndepends_restart : 2", "3: depends_restart: '2' is neither yes nor no"),
        ("command : a\npriority : high", "3: priority: 'high' is not a whole number"),
        ("command : a\nstartretries : -2", "3: startretries: -2 is less than 0"),
        ("command : a\nnumprocs : x", "3: numprocs: 'x' is not a whole number"),
        ("command : a\nnumprocs : -1", "3: numprocs: is less than 0"),
        ("command : a\nnumprocs : 100000", "3: numprocs: '100000' is more than 10000"),
        (
            "command : a\nnumprocs : 2",
            "3: numprocs: takes a process_name with %(process_num)d in it, or all would have one name",
        ),
        ("command : a\nprocess_name : a/b", "3: process_name: the name 'a/b' has a '/' in it"),
        ("command : a\ncommand : b", "3: command again: it is in line 2 already"),
        ("comand : a", "2: unknown key 'comand': should that be command?"),
        ("command : a\ndepend_on : b", "3: unknown key 'depend_on': should that be depends_on?"),
        ("command : a\nPriority : 1", "3: unknown key 'Priority': should that be priority?"),
        ("command : a\n  priority : 1", "3: priority: indented"),
        ("command : a\n [db]", "3: a section header counts only at the start of its line"),
    ],
)
def test_what_cannot_be_understood_is_an_error(path: Path, line: str, problem: str) -> None:
    assert errors(path, f"[web]\n{line}\n") == [problem]


def test_a_nul_in_a_command_is_an_error(path: Path) -> None:
    assert errors(path, b"[web]\ncommand : app \0x\n") == ["2: command: a NUL byte"]


def test_what_only_a_shell_understands_is_a_warning(path: Path) -> None:
    found = fleet(path, "[web]\ncommand : app >$LOG\n")
    assert found.errors == []
    assert found.warnings[0] == f"{path}:2: command: no shell reads >: use sh -c '...', or quote what is meant so"


def test_a_broken_header_is_an_error_for_a_service_may_be_lost(path: Path) -> None:
    assert errors(path, "[web\ncommand : app\n") == ["1: not a section header: '[web'"]
    assert errors(path, "command : app\n[web]\ncommand : a\n") == ["1: outside of any section: 'command : app'"]


def test_global_is_no_service(path: Path) -> None:
    assert errors(path, "[global]\ncommand : app\n") == ["2: command: [global] is no service"]
    assert errors(path, "[program:global]\ncommand : app\n") == [
        "1: the name 'global' is what the defaults of all are called"
    ]


@pytest.mark.parametrize(
    "name, why",
    [
        ("a/b", "has a '/' in it"),
        ("a b", "has a blank in it"),
        ("a\tb", "has a blank in it"),
        ("a\x01b", "has a control character in it"),
        ("a\x7fb", "has a control character in it"),
        ("a\u2003b", "has a blank in it"),
        (".", "begins with '.'"),
        ("..", "begins with '.'"),
        (".a", "begins with '.'"),
        ("-a", "begins with '-'"),
        ("a*", "has a '*' in it"),
        ("a,b", "has a ',' in it"),
        ("a:b", "has a ':' in it"),
        ("n" * 256, "is longer than 255 bytes"),
        ("\u00e4" * 128, "is longer than 255 bytes"),
    ],
)
def test_a_name_is_one_of_a_directory_and_one_word(path: Path, name: str, why: str) -> None:
    (problem,) = errors(path, f"[{name}]\ncommand : app\n")
    assert problem.startswith("1: the name ") and problem.endswith(why)
    assert errors(path, f"[{name}]\nmax_tries : 3\n") == []


def test_a_name_may_be_any_other_bytes(path: Path) -> None:
    found = fleet(path, b"[caf\xe9]\ncommand : app \xff\n[\xc3\xa4" + b"n" * 253 + b"]\ncommand : b\n")
    assert found.errors == []
    assert list(found.services) == ["caf\udce9", "ä" + "n" * 253]
    assert found.services["caf\udce9"].command == ["app", "\udcff"]


def test_two_services_of_one_name_are_an_error(path: Path) -> None:
    text = "[web]\ncommand : a\n\n[program:web]\ncommand : b\n"
    assert errors(path, text) == [f"4: web is defined in {path}:1 already".replace(f"{path}:", "")]
    text = "[a]\ncommand : a\nprocess_name : c\n[b]\ncommand : b\nprocess_name : c\n"
    assert errors(path, text) == ["4: c is defined in 1 already"]


def test_a_section_that_comes_again_is_joined(path: Path) -> None:
    found = good(path, "[web]\ncommand : a\n[db]\ncommand : b\n[web]\numask : 027\n")
    assert config(found, "web").umask == 0o27


# Several of one.


def test_a_section_can_make_several_services(path: Path) -> None:
    text = """[worker]
command : run --port 80%(process_num)02d %(program_name)s %(numprocs)d %(group_name)s 100%%
numprocs : %(ENV_WORKERS)s
numprocs_start : 8
process_name : %(program_name)s_%(process_num)02d
environment : N=%(process_num)d,WHO="%(program_name)s of \\"%(group_name)s\\"",HOME=%(ENV_HOME)s
directory : /srv/%(process_num)d
check_command : check %(process_num)s %(program_name)s
"""
    found = good(path, text)
    assert list(found.services) == ["worker_08", "worker_09", "worker_10"]
    assert found.services["worker_09"].command == ["run", "--port", "8009", "worker", "3", "worker", "100%"]
    assert [one.process_num for one in found.services.values()] == [8, 9, 10]
    assert found.groups == {"worker": ["worker_08", "worker_09", "worker_10"]}
    last = found.services["worker_10"]
    governed, problems = parse(last.text(), last.name, names=names_for(str(path), last.name))
    assert not problems.blocking
    assert dict(governed.environment)["N"] == "10" and dict(governed.environment)["WHO"] == 'worker of "worker"'
    assert (governed.directory, governed.check_command) == ("/srv/10", ("check", "10", "worker"))


def test_a_section_that_would_govern_one_instance_is_an_error(path: Path) -> None:
    text = "[w]\ncommand : a\nnumprocs : 2\nprocess_name : w%(process_num)d\n[w1]\nuser : nobody\n"
    assert errors(path, text) == ["5: [w1] governs nothing: [w] defines w1"]


def test_none_is_a_number_of_services_too(path: Path) -> None:
    found = fleet(path, "[w]\ncommand : a\nnumprocs : 0\n")
    assert (found.services, found.errors) == ({}, [])
    assert found.warnings == [f"{path}:3: numprocs: 0: defines no service"]


def test_errors_are_in_the_order_of_their_lines(path: Path) -> None:
    text = "[a]\ndepends_on : nobody\ncommand : a\n[b]\nnumprocs : 99999999999\ncommand : x\n"
    text += "[a b]\n\ncommand : c\n[ d]\n"
    assert [line.partition(": ")[0] for line in errors(path, text)] == ["2", "5", "7", "10"]


# What governs a service.


def test_what_governs_a_service_is_what_the_file_says(path: Path) -> None:
    text = "[global]\nmax_tries : 3\numask : 022\n[db]\ncommand : b\n[web]\ncommand : a\n# note\numask : 027\n"
    web = good(path, text).services["web"]
    assert web.lines == [
        (str(path), 1, "[global]"),
        (str(path), 2, "max_tries : 3"),
        (str(path), 3, "umask : 022"),
        (str(path), 6, "[web]"),
        (str(path), 6, f"directory : {path.parent}"),
        (str(path), 9, "umask : 027"),
    ]
    assert web.place(6) == (str(path), 9)
    assert web.place(0) == web.place(7) == (str(path), 6)


@pytest.mark.parametrize(
    "said, meant",
    [
        ("", "{0}"),
        ("directory :\n", "{0}"),
        ("directory : www\n", "{0}/www"),
        ("directory : ./www/../x\n", "{0}/./www/../x"),
        ("directory : /srv\n", "/srv"),
        ("directory : %(here)s/www\n", "{0}/www"),
        ("directory : %(ENV_HOME)s/www\n", "/home/joe/www"),
        ("directory : www/100%%\n", "{0}/www/100%"),
    ],
)
def test_a_directory_is_relative_to_where_the_file_is(path: Path, said: str, meant: str) -> None:
    found = good(path, f"[global]\nmax_tries : 1\n[web]\ncommand : a\n{said}")
    web = found.services["web"]
    names = names_for(str(path), "web")
    names.environ = ENVIRON
    assert parse(web.text(), "web", names=names)[0].directory == meant.format(path.parent)


def test_a_directory_of_all_is_relative_as_well(path: Path) -> None:
    found = good(
        path, "[alone]\ncommand : a\n[global]\ndirectory : all\n[web]\ncommand : a\n[own]\ncommand : a\ndirectory :\n"
    )
    folder = str(path.parent)
    wanted = {"alone": folder, "web": f"{folder}/all", "own": folder}
    assert {name: config(found, name).directory for name in wanted} == wanted


def test_a_folder_with_signs_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "50%(x)s, \"a\" 'b'"
    folder.mkdir()
    path = folder / "supervise.conf"
    found = good(path, '[web]\ncommand : app\nenvironment : A="%(here)s"\n')
    governed = config(found, "web")
    assert governed.directory == str(folder)
    assert governed.environment == (("A", str(folder)),)


@pytest.mark.parametrize(
    "text",
    [
        "user : joe\n[web]\ncommand : a\n",
        "[web]\ncommand : a\nusr : joe\n",
        "[web]\ncommand : a\n  user : joe\n",
        "[web]\ncommand : a\nuser\n",
        "[web]\ncommand : a\nuser : joe\nuser : jim\n",
        "[glbal]\nuser : joe\n[web]\ncommand : a\n",
        "[db]\ncommand : b\nalarm_mail : x\0\n\0[web]\nuser : joe\n[web]\ncommand : a\n",
        "[db]\nmax_tries : 3\x0buser : joe\n[web]\ncommand : a\n",
        "[web]\ncommand : a\nenvironment : A=1 user : joe\n",
        "[web]\ncommand : a\ndirectory\n",
        "[web]\ncommand : a\ndirectory : %(x)s\n",
        "[web\nuser : joe\n[web]\ncommand : a\n",
    ],
)
def test_what_may_restrict_a_service_and_does_not_count_blocks_it_here_as_well(path: Path, text: str) -> None:
    found = fleet(path, text)
    web = found.services["web"]
    assert parse(web.text(), "web", names=names_for(str(path), "web"))[1].blocking
    assert parse(text.encode(), "web", names=names_for(str(path), "web"))[1].blocking


_LINES = st.sampled_from(
    [
        *("[global]", "[web]", "[db]", " [web]", "[we", "[glob]", "[global ]", "", "# user : joe", "\ufeff[web]"),
        *("user : joe", "usr : joe", "  umask : 022", "umask : 022", "umask : 027", "umask", "group = staff"),
        *("max_tries : 3", "max_tries : x", "alarm_mail : a@b", "alarm_mail : c@d", "nice : 5", "environment : A=1"),
        *("environment : B='%(program_name)s',C=%(here)s", "environment : A=1 user : x"),
        *("junk", "\0", "x\0user", "\x0b", "nice : 5\r", "stopsignal : \x85 user"),
        *("pidfile : x", "check_command : a %(here)s", "killasgroup : all"),
    ]
)


@STEADY
@given(st.lists(_LINES, max_size=12), st.integers(0, 12))
@example(["umask : 022", "[global]", "umask : 027"], 3)
@example(["", "\ufeff[web]", "user : joe"], 3)
def test_it_means_the_same_as_to_a_supervise_on_its_own(tmp_path: Path, lines: list[str], at: int) -> None:
    # `directory` apart, which is said there for the folder, and said here.
    lines[min(at, len(lines)) :] = ["[web]", "directory : /", "command : app", *lines[min(at, len(lines)) :]]
    text = "\n".join(lines)
    path = tmp_path / "supervise.conf"
    path.write_bytes(text.encode())
    made, _ = find(str(path), "web", ENVIRON)
    if made is None:
        return
    names = names_for(str(path), "web")
    alone, doubts = parse(text.encode(), "web", names=names)
    here, problems = parse(made.text(), "web", names=names)
    assert bool(problems.blocking) == bool(doubts.blocking)
    assert {
        (problem.text, made.place(problem.line)[1]) for problem in problems.blocking if "again" not in problem.text
    } == {(problem.text, problem.line) for problem in doubts.blocking if "again" not in problem.text}
    if not doubts.blocking:
        assert here == alone


# Groups and dependencies.

STACK = """[group:site]
programs : web, worker
[group:all]
programs : worker db
[web]
command : a
depends_on : db worker
[worker]
command : b
numprocs : 2
process_name : worker_%(process_num)d
[db]
command : c
"""


def test_groups_have_the_services_of_their_programs(path: Path) -> None:
    found = good(path, STACK)
    assert found.groups == {
        "site": ["web", "worker_0", "worker_1"],
        "all": ["worker_0", "worker_1", "db"],
        "worker": ["worker_0", "worker_1"],
    }
    assert [one.group for one in found.services.values()] == ["site", "site", "site", "all"]


@pytest.mark.parametrize(
    "said, meant",
    [
        ("db", ["db"]),
        ("worker,db", ["worker_0", "worker_1", "db"]),
        ("worker_1 , worker", ["worker_1", "worker_0"]),
        ("all", ["worker_0", "worker_1", "db"]),
        ("site", ["worker_0", "worker_1"]),
        ("site:worker_1", ["worker_1"]),
        ("worker:worker_1", ["worker_1"]),
        ("all:*", ["worker_0", "worker_1", "db"]),
        ("worker_%(numprocs)d", ["worker_1"]),
        ("web", ["web"]),  # which whoever sorts them says
    ],
)
def test_depends_on_names_services_programs_and_groups(path: Path, said: str, meant: list[str]) -> None:
    found = good(path, STACK.replace("db worker\n[", f"{said}\n["))
    assert found.services["web"].depends_on == meant
    assert find(str(path), "web", ENVIRON)[0] == found.services["web"]


def test_a_service_is_meant_before_a_group(path: Path) -> None:
    found = good(
        path, "[group:a]\nprograms : a b\n[a]\ncommand : a\n[b]\ncommand : b\n[c]\ncommand : c\ndepends_on : a\n"
    )
    assert found.services["c"].depends_on == ["a"]
    assert found.groups["a"] == ["a", "b"]


@pytest.mark.parametrize(
    "text, line",
    [
        ("[a]\ncommand : x\n[a]\ncommand : y\n", 3),
        ("[a]\ncommand : 'x\n", 2),
        ("[a]\ncommand : x\nautostart : maybe\nnumprocs : 2\nprocess_name : a_%(process_num)d\n", 3),
    ],
)
def test_what_is_missing_because_of_an_error_is_not_said_again(path: Path, text: str, line: int) -> None:
    more = "[b]\ncommand : x\ndepends_on : {}\n[group:g]\nprograms : a\n"
    for word in ("a", "g", "g:a", "a:*", "a:a") + (("a_1", "a:a_1") if "numprocs" in text else ()):
        (error,) = errors(path, text + more.format(word))
        assert error.startswith(f"{line}: ")
    assert len(errors(path, text + more.format("c"))) == 2


def test_where_a_service_is_in_its_groups(path: Path) -> None:
    text = "[a]\ncommand : x\n[b]\ncommand : x\nnumprocs : 2\nprocess_name : b%(process_num)d\n"
    found = good(path, f"{text}[group:g]\nprograms : b a\n[group:h]\nprograms : a\n")
    assert [found.places(one) for one in found.services.values()] == [
        {"g": [1, 0], "h": [0, 0]},
        {"g": [0, 0], "b": [0, 0]},
        {"g": [0, 1], "b": [0, 1]},
    ]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("[a]\ncommand : a\ndepends_on : b\n", "3: depends_on: there is no service or group b"),
        ("[a]\ncommand : a\ndepends_on : b:*\n", "3: depends_on: there is no service or group b:*"),
        ("[a]\ncommand : a\ndepends_on : a:b\n", "3: depends_on: there is no service or group a:b"),
        ("[group:g]\nprograms : a\n", "2: group g: there is no program a"),
        ("[group:g]\nprograms : a\n[a]\numask : 022\n", "2: group g: a defines no service"),
        ("[group:g]\n", "1: group g has no programs"),
        ("[group:g h]\nprograms : a\n[a]\ncommand : a\n", "1: the name 'g h' of a group has a blank in it"),
        (
            "[group:g]\nprograms : a\n[a]\ncommand : a\n[group:g]\nprograms : a\n",
            "5: group g is defined in 2 already",
        ),
        ("[group:g]\nprograms : a\nprogrms : b\n[a]\ncommand : a\n", "3: not `programs : ...`: 'progrms : b'"),
    ],
)
def test_a_name_that_there_is_not_is_an_error(path: Path, text: str, problem: str) -> None:
    assert errors(path, text) == [problem]


# Whatever stands in the file.


@STEADY
@given(st.binary(max_size=300), st.sampled_from(["supervise.conf", "supervisord.conf", "Procfile", "x", "x.ini"]))
def test_no_bytes_raise(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = read(str(path), ENVIRON)
    assert all(line.startswith(f"{tmp_path}/") and line.isprintable() for line in (*found.errors, *found.warnings))
    path.unlink()


_PIECES = st.sampled_from(
    [
        *"[]=:%'\",; ab3\\\n\t\r\0\u2028\udcff",
        *("\n[", "]\n", "program:", "group:g", "include", "global", "supervisord", "%%", " #", "*.conf", "[DEFAULT]\n"),
        *("command", "process_name", "numprocs", "programs", "files", "depends_on", "environment", "directory"),
        *("%(process_num)02d", "%(here)s", "\ndepends_on : a b\n"),
        *("a\n[program:a]\ncommand = x\n", "\n  [program:b]\n  command=y\n"),
    ]
)


@STEADY
@given(st.lists(_PIECES, max_size=40), st.sampled_from(["supervise.conf", "supervisord.conf", "Procfile"]))
@example(
    ["[", "program:", "a", "]\n", "command", "=", "a", "\n", "process_name", "=", "b", "\n[", "b", "]\n"],
    "supervise.conf",
)
def test_nothing_raises_and_one_is_found_as_all_are_read(tmp_path: Path, pieces: list[str], name: str) -> None:
    path = tmp_path / name
    path.write_bytes("".join(pieces).encode("utf-8", "surrogateescape"))
    found = read(str(path), ENVIRON)
    for one in found.services.values():
        parse(one.text(), one.name)
        if not found.errors:
            assert find(str(path), one.name, ENVIRON) == (one, [])
    assert find(str(path), "nobody", ENVIRON)[0] is None
    path.unlink()


def test_thousands_of_services(path: Path) -> None:
    parts = ["[global]\numask : 022\n", "[s0]\ncommand : sleep 0\n"]
    parts += [f"[s{one}]\ncommand : sleep {one}\ndepends_on : s{one - 1}\n" for one in range(1, MANY)]
    found = good(path, "".join(parts))
    assert len(found.services) == MANY
    last = found.services[f"s{MANY - 1}"]
    assert (last.command, last.depends_on) == (["sleep", str(MANY - 1)], [f"s{MANY - 2}"])
    assert find(str(path), f"s{MANY - 1}", ENVIRON) == (last, [])


def test_the_restricting_keys_have_effect(path: Path) -> None:
    found = good(path, "[web]\ncommand : a\nuser : nobody\nnice : 5\nmax_tries : 3\n")
    governed = config(found, "web")
    assert (governed.user, governed.nice, governed.max_tries) == ("nobody", "5", 3)
    assert {"user", "nice"} <= set(RESTRICTING)
