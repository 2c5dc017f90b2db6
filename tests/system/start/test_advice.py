"""A command with shell syntax that no shell reads: a warning at the start, and then what was typed is done."""

from __future__ import annotations

import pytest
from conftest import Box, wait_for

WARNING = "supervise: warning: "
PIPE = "no shell reads |: use sh -c '...', or quote what is meant so"
HOME = "no shell expands $HOME: use sh -c '...', or quote what is meant so"


def start(box: Box, *options: str) -> list[str]:
    """Start it; the lines on standard error."""
    done = box.run("-p", "status/app", *options)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_it_is_said_to_the_caller_and_in_the_log(box: Box) -> None:
    said = start(box, "-f", "sh -c 'echo \"$@\"; exec sleep 1000' x | $HOME")
    assert said == [f"{WARNING}-f: {PIPE}", f"{WARNING}-f: {HOME}"]
    for text in (PIPE, HOME):
        assert box.warnings.count(f"-f: {text}") == 1
    box.wait_stdout("| $HOME\n")


def test_in_the_restart_script(box: Box) -> None:
    said = start(box, "-f", "sleep 1000", "-r", "touch ran; true")
    assert len(said) == 1 and said[0].startswith(f"{WARNING}-r: no shell reads ;: ")


def test_in_the_foreground_it_is_said_once(box: Box) -> None:
    words = [box.program, "--foreground", "--exit-with-service", "-p", "status/app", "-f", "sh -c true &"]
    box.conf("[app]\nautorestart : never\n")
    done = box.run_words(*words)
    assert done.returncode == 0
    assert done.stderr.count("no shell reads &: ") == 1


def test_where_the_start_fails_it_says_why(box: Box) -> None:
    done = box.run("-p", "status/app", "-f", "LANG=C sleep 1000")
    assert done.returncode == 111
    first, last = done.stderr.splitlines()
    assert first.startswith(f"{WARNING}-f: no shell reads LANG= before the program: ")
    assert last.startswith("supervise: fatal: cannot start the service: LANG=C: ")
    assert not (box.status / "lock").exists()


@pytest.mark.parametrize(
    "options",
    [("-f", "sh -c 'exec sleep 1000 2>&1 | cat'"), ("-f", "sleep '1000'"), ("-f", "env A=1 sleep 1000")],
    ids=lambda options: options[1],
)
def test_what_a_shell_reads_or_is_quoted_is_not_mentioned(box: Box, options: tuple[str, ...]) -> None:
    assert start(box, *options) == []
    assert box.warnings == ""


def test_words_that_were_taken_as_they_are_are_not_mentioned(box: Box) -> None:
    done = box.run("-u", "status/app", "sh", "-c", "exec sleep 1000", "|", ">x", "$HOME", "~", "&")
    assert (done.returncode, done.stderr, box.warnings) == (0, "", "")


def test_the_version_that_replaces_it_does_not_say_it_again(box: Box) -> None:
    start(box, "-f", "sh -c 'exec sleep 1000' x $HOME")
    box.control("e")
    box.wait_log("supervise replaced by the installed version")
    box.control("h")
    box.wait_log("command h")
    assert box.warnings.count(HOME) == 1


def test_in_the_configuration_also_when_it_is_changed(box: Box) -> None:
    box.conf("[app]\ncheck_command : true | false\n")
    said = start(box, "-f", "sleep 1000")
    assert said == [f"{WARNING}supervise.conf:2: check_command: {PIPE}"]
    box.conf("[app]\n\ncheck_command : true && false\n")
    box.wait_warning("supervise.conf:3: check_command: no shell reads &&: ")
    wait_for("it to be in force", lambda: "check_command true ..." in box.log())
    done = box.run("--check")
    assert done.returncode == 100 and "supervise.conf:3: check_command: no shell reads &&: " in done.stdout
