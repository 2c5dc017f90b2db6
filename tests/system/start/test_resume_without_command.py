"""`supervise -p STATUS_DIR --resume` with no command, and `svc start`, which uses it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from tools import run_tool

SAY = ("sh", "-c", 'pwd; echo "$GREETING $1"; exec sleep 1000', "sh", "a word")


def resume(box: Box, *more: str) -> str:
    done = box.run("-p", "status/app", "--resume", *more)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def refused(box: Box, code: int, *words: str) -> str:
    done = box.run("-p", "status/app", "--resume", *words)
    assert done.returncode == code
    assert done.stderr.startswith("supervise: fatal: cannot resume") and done.stderr.count("\n") == 1
    return done.stderr


def take_down(box: Box, letters: str = "x") -> None:
    box.control(letters)
    os.kill(box.pid, signal.SIGKILL) if letters == "x" else None
    box.wait_gone()


def options(box: Box) -> dict[str, object]:
    found = json.loads((box.status / "state").read_text())["options"]
    assert isinstance(found, dict)
    return found


def test_everything_is_as_it_was(box: Box) -> None:
    (box.folder / "its.conf").write_text("[app]\nenvironment : GREETING=hello\n")
    script = box.folder / "script"
    script.write_text("#!/bin/sh\necho script $1\n")
    script.chmod(0o755)
    given = ("-F", "its.conf", "-r", str(script), "-t", "77", "--exit-with-service")
    box.start(*SAY, options=given)
    said = f"{box.folder.resolve()}\nhello a word\n"
    box.wait_stdout(said)
    os.kill(box.supervisor, signal.SIGQUIT)
    box.wait_gone()
    os.kill(box.pid, signal.SIGKILL)
    before = options(box)
    assert resume(box) == ""
    box.wait_stdout(said, 2)
    assert options(box) == before
    assert (before["conf"], before["conf_named"], before["reset"]) == ("its.conf", True, 77)
    assert (before["script"], before["exit_with_service"], before["foreground"]) == ([str(script)], True, False)
    box.control("k")
    box.wait_stdout("script ")


def test_from_another_directory(box: Box) -> None:
    box.conf("[app]\nenvironment : GREETING=hello\n")
    box.start(*SAY)
    said = f"{box.folder.resolve()}\nhello a word\n"
    box.wait_stdout(said)
    take_down(box, "dx")
    elsewhere = box.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "supervise.conf").write_text("[app]\nenvironment : GREETING=wrong\n")
    box.env["PWD"] = str(elsewhere)
    done = subprocess.run(
        [box.program, "-p", "../status/app", "--resume"], cwd=elsewhere, env=box.env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert box.pid == 0  # it was taken down, and stays so
    box.control("u")
    box.wait_stdout(said, 2)
    assert os.readlink(f"/proc/{box.supervisor}/cwd") == str(box.folder.resolve())
    pid = wait_for("its pid", lambda: box.pid)
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"PWD=" + os.fsencode(box.folder.resolve()) in entries


def test_what_is_typed_comes_first(box: Box) -> None:
    (box.folder / "its.conf").write_text("[app]\nenvironment : GREETING=bye\n")
    box.start(*SAY, options=("-t", "5"))
    take_down(box, "dx")
    resume(box, "-F", "its.conf", "-t", "6")
    box.control("u")
    box.wait_stdout("bye a word")
    assert (options(box)["conf"], options(box)["reset"]) == ("its.conf", 6)


def test_bytes_of_the_command_stay(box: Box) -> None:
    word = os.fsdecode(b'\xff "\\\n\xc3\xa9')
    box.start("sh", "-c", 'printf %s "$1"; exec sleep 1000', "sh", word)
    wait_for("it", lambda: os.fsencode(word) == (box.status / "__stdout").read_bytes())
    take_down(box, "dx")
    resume(box)
    box.control("u")
    wait_for("it again", lambda: os.fsencode(word) * 2 == (box.status / "__stdout").read_bytes())


def test_in_the_foreground_only_if_typed(box: Box) -> None:
    process = box.foreground(*SAY)
    box.wait_stdout("a word")
    box.control("dx")
    assert process.wait(PATIENCE) == 0
    resume(box)
    assert box.supervisor
    assert options(box)["foreground"] is False


# What is not believed, or not known.


def test_nothing_to_resume(box: Box) -> None:
    assert refused(box, 100).endswith(
        "there is no status/app/state; give the command: supervise -p status/app -f COMMAND\n"
    )
    assert not box.status.exists()


@pytest.mark.parametrize("key, value", [("options", None), ("version", 99), ("command", [])])
def test_a_state_that_does_not_say_it(box: Box, key: str, value: object) -> None:
    box.start("sleep", "1000")
    take_down(box, "dx")
    path = box.status / "state"
    fields = json.loads(path.read_text())
    fields[key] = value
    path.write_text(json.dumps(fields))
    assert refused(box, 100).endswith("; give the command: supervise -p status/app -f COMMAND\n")
    assert box.supervisor == 0


def test_a_state_that_others_can_have_written(box: Box) -> None:
    box.start("sleep", "1000")
    take_down(box, "dx")
    (box.status / "state").chmod(0o666)
    assert "cannot believe status/app/state: it can be written to by everybody" in refused(box, 111)
    (box.status / "state").chmod(0o644)
    os.link(box.status / "state", box.folder / "another")
    assert "cannot believe status/app/state: it has 2 links" in refused(box, 111)
    (box.folder / "another").unlink()
    if os.getuid() == 0:
        os.chown(box.status / "state", 65534, -1)
        assert "cannot believe status/app/state: it belongs to user 65534" in refused(box, 111)
        os.chown(box.status / "state", 0, -1)
    box.status.chmod(0o777)
    assert "can be written to by everybody" in refused(box, 111)


def test_a_copy_of_another_directory(box: Box) -> None:
    box.start("sleep", "1000")
    take_down(box, "dx")
    shutil.copytree(box.status, box.status.with_name("copy"), ignore=shutil.ignore_patterns("control", "ok"))
    done = box.run("-p", "status/copy", "--resume")
    assert done.returncode == 100
    assert done.stderr.endswith(
        "status/copy/state is from another directory; give the command: supervise -p status/copy -f COMMAND\n"
    )


def test_a_working_directory_that_is_gone(box: Box) -> None:
    (box.folder / "here").mkdir()
    words = "/bin/sh", "-c", 'cd here && exec "$@"', "sh", box.program, "-u", str(box.status), "sleep", "1000"
    assert box.run_words(*words).returncode == 0
    take_down(box, "dx")
    (box.folder / "here").rmdir()
    done = box.run("-p", str(box.status), "--resume")
    assert done.returncode == 111
    where = f"cannot change to {box.folder.resolve() / 'here'}, where it was started: No such file or directory"
    assert done.stderr.endswith(f"cannot resume: {where}\n")


def test_a_configuration_that_was_a_descriptor(box: Box) -> None:
    box.start("sleep", "1000", options=("-F", "/dev/stdin"))
    take_down(box, "dx")
    said = "its configuration was /dev/stdin; name a file: supervise -p {} --resume -F FILE\n"
    assert refused(box, 100).endswith(said.format("status/app"))
    done = run_tool(box, "svc", "start", "app")
    assert done.returncode == 111 and done.stderr.endswith(said.format(box.status))
    resume(box, "-F", "/dev/null")


def test_without_resume_it_is_wrong_usage(box: Box) -> None:
    assert box.run("-p", "status/app").returncode == 100


# svc start.


def test_svc_start_after_svc_exit(box: Box) -> None:
    box.start(*SAY)
    first = box.supervisor
    for _ in range(2):
        assert run_tool(box, "svc", "exit", "app").returncode == 0
        done = run_tool(box, "svc", "start", "app")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"status/app: up (pid {box.pid})\n", "")
        assert box.supervisor != first and alive(box.pid)


def test_svc_start_after_giving_up(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 3600\nmax_tries : 1\n")
    (box.folder / "bad").touch()
    box.run("-u", "status/app", "sh", "-c", "test -e bad && exit 1; exec sleep 1000")
    box.wait_gone()
    (box.folder / "bad").unlink()
    done = run_tool(box, "svc", "start", "app")
    assert (done.returncode, done.stdout) == (0, f"status/app: up (pid {box.pid})\n")


def test_svc_start_of_one_that_outlived_its_supervise(box: Box) -> None:
    pid = box.start("sleep", "1000")
    os.kill(box.supervisor, signal.SIGKILL)
    box.wait_gone()
    done = run_tool(box, "svc", "start", "app")
    assert (done.returncode, done.stdout) == (0, f"status/app: up already (pid {pid})\n")
    box.wait_log("taken over")


def test_svc_start_leaves_a_foreground_to_whoever_started_it(box: Box) -> None:
    process = box.foreground("sleep", "1000")
    box.wait_log("service started")
    box.control("dx")
    process.wait(PATIENCE)
    done = run_tool(box, "svc", "start", "app")
    text = "supervise not running; it was started with --foreground: start it again as that was done"
    assert (done.returncode, done.stderr) == (111, f"svc: fatal: cannot start status/app: {text}\n")
    assert box.supervisor == 0


def test_svc_start_says_why_not(box: Box) -> None:
    box.start("sleep", "1000")
    take_down(box, "dx")
    (box.status / "state").chmod(0o666)
    done = run_tool(box, "svc", "start", "app")
    assert done.returncode == 111
    assert done.stderr.startswith("svc: fatal: cannot start status/app: supervise not running, and cannot be started: ")
    assert "cannot believe " in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("text", "why"), [("{}", "version"), ("no such thing", "not JSON")])
def test_svc_start_says_what_is_wrong_with_the_state(box: Box, text: str, why: str) -> None:
    box.start("sleep", "1000")
    take_down(box, "dx")
    (box.status / "state").write_text(text)
    for verb in ("start", "stop"):
        done = run_tool(box, "svc", verb, "app")
        begins = f"svc: fatal: cannot {verb} status/app: supervise not running; cannot read status/app/state: damaged: "
        assert done.returncode == 111 and done.stderr.startswith(begins) and why in done.stderr
        assert done.stderr.endswith("; to start one: supervise -p status/app -f COMMAND\n")
        assert done.stderr.count("\n") == 1


def test_svc_start_without_a_record(box: Box) -> None:
    box.start("sleep", "1000")
    take_down(box, "dx")
    (box.status / "status").unlink()
    assert run_tool(box, "svc", "start", "app").returncode == 0
    assert alive(box.pid)


def test_svc_start_without_waiting(box: Box) -> None:
    box.conf("[app]\nnotify : yes\nstarttimeoutsecs : 3600\n")
    box.start("sleep", "1000")
    take_down(box, "dx")
    for words in (("--no-wait", "start", "app"), ("--no-wait", "app", "start")):
        done = run_tool(box, "svc", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "status/app: start: sent\n", "")
        pid = wait_for("its pid", lambda: box.pid)
        os.kill(box.supervisor, signal.SIGKILL)
        box.wait_gone()
    assert run_tool(box, "svc", "--no-wait", "start", "app").returncode == 0
    box.wait_log("taken over")
    assert box.pid == pid


# A second start.


def test_a_second_start_with_another_command_says_so(box: Box) -> None:
    box.start("sleep", "1000")
    text = f"supervise: fatal: cannot lock status/app/lock: held by pid {box.supervisor}"
    done = box.run("-u", "status/app", "sleep", "1000")
    assert (done.returncode, done.stderr) == (111, f"{text}\n")
    done = box.run("-u", "status/app", "sleep", "1001")
    more = "which supervises: sleep 1000; to run another command, end that first: svc exit status/app"
    assert (done.returncode, done.stderr) == (111, f"{text}, {more}\n")
