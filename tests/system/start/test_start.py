"""The command line: what starts a service, what is refused, what is left behind (specification, 1 and 2)."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, alive
from system import marked, tree

SERVICE = "sleep 1000"
# Letters, a blank, quotes, a newline, a tab, what a shell expands, and bytes that are not UTF-8.
ODD = os.fsdecode(b"o d'd\"\n\t$HOME * \\ \xff\xe9 \xc3\xa4")
FILES = {"lock", "control", "ok", "status", "__stdout", "__stderr", "supervise.log"}


def refused(done: subprocess.CompletedProcess[str], code: int) -> None:
    assert re.fullmatch(r"supervise: fatal: [^\n]+\n", done.stderr), done.stderr
    assert done.returncode == code
    assert done.stdout == ""


def script(box: Box, name: str, text: str) -> Path:
    path = box.folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def seen(box: Box, count: int = 1) -> list[str]:
    """The arguments that the program of `show_arguments` was given."""
    text = (box.wait_stdout("END\n", count)).split("END\n")[0]
    return text.split("\0")[:-1]


@pytest.fixture
def box(box: Box) -> Box:
    box.env["MARK"] = str(box.folder)
    return box


@pytest.fixture
def show_arguments(box: Box) -> str:
    """A program that says what arguments it was given, and stays."""
    script(box, "show", 'printf "%s\\0" "$@"; echo END; exec sleep 1000\n')
    return "./show"


# What starts.


def test_p_and_f_start_a_service_and_its_files(box: Box) -> None:
    before = time.time_ns()
    done = box.run("-p", "status/app", "-f", SERVICE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record = box.record
    assert before <= record.changed_ns <= time.time_ns()
    assert (record.paused, record.want, record.alarms) == (False, "up", True)
    assert set(os.listdir(box.status)) >= FILES
    for name in ("control", "ok"):
        assert (box.status / name).lstat().st_mode == stat.S_IFIFO | 0o600
    assert re.fullmatch(r"(\[NOTICE\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S[^\n]*\n)+", box.wait_log("service started"))
    assert box.warnings == ""


def test_it_returns_when_the_program_has_been_executed(box: Box) -> None:
    pid = box.start("sleep", "1000")
    # No waiting here: that is the promise.
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") == [b"sleep", b"1000", b""]


def test_u_takes_the_command_verbatim(box: Box, show_arguments: str) -> None:
    words = ["-x", "--foreground", "-p", "", "a b", "$HOME", "*", "--", "'", '"', "\\", "\n", ODD]
    box.start(show_arguments, *words)
    box.wait_stdout("END\n")
    got = (box.status / "__stdout").read_bytes().split(b"\0")[:-1]
    assert got == [os.fsencode(word) for word in words]


@pytest.mark.parametrize(
    "args",
    [
        ["-f", SERVICE, "-p", "status/app"],
        ["-t", "5", "-f", SERVICE, "-r", "true", "-p", "status/app", "-F", "/dev/null"],
        ["-F", "/dev/null", "-pstatus/app", "-f" + SERVICE, "-t5"],
        ["-t", "5", "-F", "/dev/null", "-r", "true", "-u", "status/app", "sleep", "1000"],
        ["-u", "status/app", "-F", "/dev/null", "sleep", "1000"],
    ],
)
def test_the_order_of_the_options_is_free(box: Box, args: list[str]) -> None:
    done = box.run(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert alive(box.pid)


def test_it_runs_as_a_module_too(box: Box) -> None:
    args = [sys.executable, "-m", "supervise", "-p", "status/app", "-f", SERVICE]
    assert subprocess.run(args, cwd=box.folder, env=box.env).returncode == 0
    assert alive(box.pid)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(box: Box, option: str) -> None:
    done = box.run(option)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("-p STATUS_DIR", "-f COMMAND", "-u STATUS_DIR", "-F CONF", "-r SCRIPT", "-t SECONDS", "--check"):
        assert word in done.stdout
    assert tree(box.folder) == {}


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_version(box: Box, option: str) -> None:
    done = box.run(option)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"supervise \d+\.\d+\S*\n", done.stdout)
    assert tree(box.folder) == {}


def test_a_named_configuration_that_is_absent_is_a_warning(box: Box) -> None:
    done = box.run("-F", "no.conf", "-p", "status/app", "-f", SERVICE)
    assert done.returncode == 0
    assert re.fullmatch(r"supervise: warning: [^\n]*no\.conf[^\n]*\n", done.stderr)
    assert "no.conf" in box.warnings
    assert alive(box.pid)


# Names and directories.


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("status/app/", "app"),
        ("status/app///", "app"),
        (".//status//app", "app"),
        ("{folder}/status/app", "app"),
        ("a/b/status/app", "app"),
        ("status/one/status/two", "two"),
        ("status/status", "status"),
        ("status/a.b-c_d", "a.b-c_d"),
        ("status/-p", "-p"),
        ("status/...", "..."),
    ],
)
def test_the_name_is_what_follows_the_last_status(box: Box, path: str, name: str) -> None:
    path = path.format(folder=box.folder)
    done = box.run("-p", path, "-f", "sh -c 'echo $SUPERVISE_SERVICE $SUPERVISE_STATUS_DIR; exec sleep 1000'")
    assert (done.returncode, done.stderr) == (0, "")
    used = Box((box.folder / path).parent.parent, name)
    try:
        said, where = used.wait_stdout("\n").split()
        assert said == name
        assert os.path.isabs(where)
        assert os.path.samefile(where, box.folder / path)
        assert used.supervisor
    finally:
        used.clean()


@pytest.mark.parametrize(
    "path", ["status", "status/", "status/.", "status/..", "status/a/b", "status/a/..", "app", "./", "/", "."]
)
def test_a_path_without_a_name_is_refused(box: Box, path: str) -> None:
    refused(box.run("-p", path, "-f", SERVICE), 100)
    refused(box.run("-u", path, "sleep", "1000"), 100)
    assert tree(box.folder) == {}
    assert marked(box) == []


@pytest.mark.parametrize("args", [["-p", "", "-f", SERVICE], ["-u", "", "sleep", "1000"]])
def test_an_empty_path_is_refused(box: Box, args: list[str]) -> None:
    refused(box.run(*args), 100)
    assert marked(box) == []


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_missing_directories_are_made_for_the_owner_alone(box: Box, umask: str) -> None:
    line = f"umask {umask}; '{SUPERVISE}' -p a/b/status/app -f '{SERVICE}'"
    assert subprocess.run(["/bin/sh", "-c", line], cwd=box.folder, env=box.env).returncode == 0
    used = Box(box.folder / "a" / "b")
    try:
        for path in ("a", "a/b", "a/b/status", "a/b/status/app"):
            assert stat.S_IMODE((box.folder / path).stat().st_mode) == 0o700
        for name in ("control", "ok"):
            assert stat.S_IMODE((used.status / name).stat().st_mode) == 0o600
    finally:
        used.clean()


def test_what_is_in_the_directory_stays(box: Box) -> None:
    box.status.mkdir(parents=True, mode=0o755)
    (box.status / "__stdout").write_text("earlier\n")
    (box.status / "supervise.log").write_text("earlier\n")
    (box.status / "other").write_text("other\n")
    box.start("sh", "-c", "echo later; exec sleep 1000")
    assert box.wait_stdout("later\n") == "earlier\nlater\n"
    assert box.log().startswith("earlier\n[NOTICE] ")
    assert (box.status / "other").read_text() == "other\n"
    assert stat.S_IMODE(box.status.stat().st_mode) == 0o755


def test_a_directory_serves_again_after_its_supervise_ended(box: Box) -> None:
    first = box.start("sleep", "1000")
    box.control("dx")
    box.wait_gone()
    assert box.pid == 0
    second = box.start("sleep", "1000")
    assert second != first
    assert alive(second)
    assert not alive(first)


# What is refused.


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--bogus"],
        ["-p"],
        ["-p", "status/app"],
        ["-f", SERVICE],
        ["-u", "status/app"],
        ["-p", "status/app", "-f", SERVICE, "extra"],
        ["--version", "extra"],
        ["-p", "status/app", "-f", SERVICE, "-u", "status/app", "sleep", "1000"],
        ["-p", "status/app", "-p", "status/other", "-f", SERVICE],
        ["-p", "status/app", "-f", SERVICE, "--bogus"],
        ["-p", "status/app", "-f", ""],
        ["-p", "status/app", "-f", " \t\n"],
        ["-p", "status/app", "-f", "''"],
        ["-p", "status/app", "-f", "'unbalanced"],
        ["-p", "status/app", "-f", 'echo "unbalanced'],
        ["-p", "status/app", "-f", "backslash\\"],
        ["-u", "status/app", ""],
        ["-t", "soon", "-p", "status/app", "-f", SERVICE],
        ["-t", "-1", "-p", "status/app", "-f", SERVICE],
        ["-t", "", "-p", "status/app", "-f", SERVICE],
        ["-r", "", "-p", "status/app", "-f", SERVICE],
        ["-r", "'", "-p", "status/app", "-f", SERVICE],
    ],
)
def test_wrong_usage(box: Box, args: list[str]) -> None:
    refused(box.run(*args), 100)
    assert tree(box.folder) == {}
    assert marked(box) == []


@pytest.mark.parametrize("existing", ["", "status", "status/app"])
@pytest.mark.parametrize("foreground", [[], ["--foreground"]])
def test_a_start_that_fails_leaves_nothing_behind(box: Box, existing: str, foreground: list[str]) -> None:
    (box.folder / existing).mkdir(parents=True, exist_ok=True)
    if existing == "status/app":
        for name in ("lock", "__stdout", "supervise.log", "other"):
            (box.status / name).write_text("earlier\n")
    before = tree(box.folder)
    refused(box.run(*foreground, "-p", "status/app", "-f", "no-such-program"), 111)
    assert tree(box.folder) == before
    assert marked(box) == []


def test_a_start_that_fails_is_logged_where_there_is_a_log(box: Box) -> None:
    box.status.mkdir(parents=True)
    (box.status / "supervise.log.wf").write_text("")
    refused(box.run("-p", "status/app", "-f", "no-such-program"), 111)
    assert re.fullmatch(r"\[FATAL\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [^\n]*no-such-program[^\n]*\n", box.warnings)
    assert os.listdir(box.status) == ["supervise.log.wf"]


# Splitting COMMAND.


@pytest.mark.parametrize(
    "text",
    [
        "a  b\tc \t",
        "'a b' \"c d\" e\\ f",
        "a'b'c\"d\"e",
        "'' \"\" a",
        "'a\\b' \"a\\b\" a\\\\b",
        "'\"' \"'\" \\' \\\"",
        '"a\\"b" "a\\\\b"',
        "'$HOME' '*' '~' '`id`' '$(id)'",
        '"\\$HOME" "\\`id\\`"',
        "\\$HOME \\* \\~",
        "a\\\nb \"c\\\nd\" 'e\\\nf'",
        "'a\nb' \"c\nd\"",
        "'a#b' a#b",
    ],
)
def test_f_is_split_as_a_shell_splits_words(box: Box, show_arguments: str, text: str) -> None:
    done = box.run("-p", "status/app", "-f", f"{show_arguments} {text}")
    assert (done.returncode, done.stderr) == (0, "")
    shell = subprocess.run(["/bin/sh", "-c", f'set -- {text}; printf "%s\\0" "$@"'], capture_output=True, text=True)
    assert seen(box) == shell.stdout.split("\0")[:-1]


def test_a_newline_in_f_separates_words_and_nothing_else(box: Box, show_arguments: str) -> None:
    done = box.run("-p", "status/app", "-f", f"\n{show_arguments} a\n\n b\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert seen(box) == ["a", "b"]


def test_f_is_not_expanded(box: Box, show_arguments: str) -> None:
    done = box.run("-p", "status/app", "-f", f'{show_arguments} $HOME "$HOME" * ~ a;b a|b a&b >c $(id) {{a,b}}')
    assert done.returncode == 0
    assert all(line.startswith("supervise: warning: -f: no shell ") for line in done.stderr.splitlines())
    assert seen(box) == ["$HOME", "$HOME", "*", "~", "a;b", "a|b", "a&b", ">c", "$(id)", "{a,b}"]
    assert not (box.folder / "c").exists()


# Odd paths.


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_paths_may_hold_any_bytes(box: Box, locale: str) -> None:
    box.env["LC_ALL"] = locale
    (box.folder / ODD).mkdir()
    (box.folder / ODD / ODD).symlink_to("/bin/sleep")
    (box.folder / ODD / "conf").write_text("[global]\nalarm_interval : 60\n")
    status = f"{ODD}/status/{ODD}"
    done = box.run("-F", f"{ODD}/conf", "-u", status, f"{ODD}/{ODD}", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    used = Box(box.folder / ODD, ODD)
    try:
        environ = Path(f"/proc/{used.pid}/environ").read_bytes()
        where = os.fsencode(box.folder / status)
        assert {b"SUPERVISE_SERVICE=" + os.fsencode(ODD), b"SUPERVISE_STATUS_DIR=" + where} <= set(environ.split(b"\0"))
        used.control("dx")
        used.wait_gone()
        for line in used.log().splitlines():
            assert re.match(r"\[NOTICE\] \d{4}-", line), line
        assert used.warnings == ""
    finally:
        used.clean()


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_what_is_said_of_odd_paths_is_one_line(box: Box, locale: str) -> None:
    box.env["LC_ALL"] = locale
    refused(box.run("-u", f"status/{ODD}", f"./{ODD}"), 111)
    refused(box.run("-u", ODD, "true"), 100)
    refused(box.run("-p", "status/app", "-f", "'" + ODD.replace("'", "")), 100)
    (box.folder / "status").write_text("a file")
    refused(box.run("-u", f"status/{ODD}", "true"), 111)
    assert set(tree(box.folder)) == {str(box.folder / "status")}


def test_the_words_of_f_may_hold_any_bytes(box: Box, show_arguments: str) -> None:
    odd = ODD.replace("'", "")
    done = box.run("-p", "status/app", "-f", f"{show_arguments} '{odd}'")
    assert (done.returncode, done.stderr) == (0, "")
    box.wait_stdout("END\n")
    assert (box.status / "__stdout").read_bytes() == os.fsencode(odd) + b"\0END\n"
