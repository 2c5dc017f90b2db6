"""stdout_command, stderr_command: no byte is lost, whoever is restarted or killed, and none of them is in the way."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest
from all_services import Services
from conftest import PATIENCE, Box, alive, rounds, wait_for
from heirs import Private, edit_state, kill_supervise, start, succeed, upgrade
from logging_to import PRINTER, check_numbers, conf, logger, loggers, out, pid_of, readers, wait_out
from quota import ON_REQUEST, quota
from system import needs, needs_root
from tools import run_tool


def numbers(count: int) -> str:
    return "".join(f"{number}\n" for number in range(count))


def printed(pid: int) -> int:
    """The bytes that a process has written."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["wchar"])


def test_every_byte_once_whoever_is_restarted(box: Box) -> None:
    conf(box)
    box.start(*PRINTER)
    turns = rounds(10, 60)
    for turn in range(turns):
        what = turn % 5
        if what in (0, 1):
            os.kill(pid_of(box), signal.SIGTERM)
        if what in (1, 2):
            kill_supervise(box)
            succeed(box, *PRINTER)
        elif what == 3:
            before = box.pid
            box.control("R")
            box.wait_new_pid(before)
        elif what == 4:
            upgrade(box)
        time.sleep(random.random() / 5)
    box.control("dx")
    box.wait_gone()
    assert check_numbers(out(box)) == 1 + turns // 5
    assert readers(box) == []
    assert "SIGPIPE" not in box.log() and "(PIPE)" not in box.log()


def test_it_begins_before_the_service_and_ends_after_it(box: Box) -> None:
    """And has read the last that it said."""
    box.conf(f"[app]\nstdout_command : {logger(box.folder, slow=0.5)}\n")
    start(box, "sh", "-c", 'trap "echo last; exit" TERM; echo first; while :; do sleep 0.05; done')
    wait_out(box, "first\n")
    first = pid_of(box)
    before = box.pid
    box.control("t")  # its end is not the logger's
    box.wait_new_pid(before)
    wait_out(box, "last\nfirst\n")
    assert pid_of(box) == first
    box.control("d")
    box.wait_down()
    wait_for("the logger to end", lambda: not alive(first))
    assert out(box) == "first\nlast\nfirst\nlast\nend\n"
    wait_for("the state to say so", lambda: loggers(box) == {})
    box.control("u")
    wait_out(box, "end\nfirst\n")
    box.control("dx")
    box.wait_gone()
    assert out(box).endswith("end\nfirst\nlast\nend\n")
    lines = [line.split(" ", 3)[3] for line in box.log().splitlines()]
    begun = [line for line in lines if line.startswith(("logger", "service started", "service was", "service exited"))]
    assert [line.partition(" (")[0] for line in begun[:2]] == ["logger of stdout started", "service started"]
    assert "all is read" in begun[-1]


def test_a_supervise_that_ends_with_the_service_waits_for_it(box: Box) -> None:
    box.conf(f"[app]\nautorestart : never\nstdout_command : {logger(box.folder, slow=1)}\n")
    process = box.foreground("sh", "-c", "echo it; exit 7", options=("--exit-with-service",))
    assert process.wait(30) == 7
    assert out(box) == "it\nend\n"


def test_one_that_does_not_end_is_left_alone(box: Box) -> None:
    box.conf("[app]\nstdout_command : sh -c 'cat > out; exec sleep 30'\n")
    box.start("sh", "-c", "echo it; exec sleep 1000")
    pid = pid_of(box)
    box.control("dx")
    box.wait_gone()
    try:
        assert alive(pid)
        assert "has not ended yet: it is left to do so by itself" in box.warnings
    finally:
        os.kill(pid, signal.SIGKILL)
    assert out(box) == "it\n"


def test_one_that_cannot_be_started(box: Box) -> None:
    """The service runs, what it prints is kept, and nobody is left to guess."""
    box.conf("[app]\nstdout_command : ./missing secret\n")
    quota(box, 1000)
    pid = box.start(*ON_REQUEST)
    box.wait_warning("cannot start stdout_command")
    wait_for("svstat to say it", lambda: "logger of stdout down: ./missing" in run_tool(box, "svstat", "app").stdout)
    failed = run_tool(box, "svstat", "--failed", "--long", "app")
    assert failed.returncode == 1 and "up, no logger" in failed.stdout

    def found() -> dict[str, object]:
        (service,) = json.loads(run_tool(box, "svstat", "--json", "app").stdout)["services"]
        (one,) = service["loggers"]
        assert service["failing"] and one["pid"] is None and "missing" in one["failure"]
        return one if one["waiting"] == len(numbers(1000)) else {}

    wait_for("what waits to be counted", found)
    conf(box)
    wait_out(box, numbers(1000))
    assert run_tool(box, "svstat", "--failed", "app").returncode == 0
    assert box.pid == pid
    assert box.said("cannot start stdout_command", "supervise.log.wf") == 1
    assert "secret" not in box.log() + box.warnings


def test_another_command_is_another_logger_and_the_same_service(box: Box) -> None:
    conf(box)
    pid = start(box, *PRINTER)
    first = pid_of(box)
    conf(box, stdout="other")
    second = pid_of(box, other_than=first)
    box.control("dx")
    box.wait_gone()
    assert box.log().count("service started") == 1 and f"service started (pid {pid})" in box.log()
    assert second != first
    assert out(box) and out(box, "other")
    assert check_numbers(out(box) + out(box, "other")) == 1


def test_the_next_supervise_starts_no_second_one(box: Box) -> None:
    """Also where the state does not name it yet."""
    conf(box)
    quota(box, 10)
    box.start(*ON_REQUEST)
    first = pid_of(box)
    for changes in ({}, {"loggers": None}):
        kill_supervise(box)
        if changes:
            edit_state(box, **changes)
        quota(box, 20)
        succeed(box, *ON_REQUEST)
        assert pid_of(box) == first
        assert readers(box) == [first]
    os.kill(first, signal.SIGTERM)
    assert pid_of(box, other_than=first) in readers(box)
    box.wait_warning(f"logger of stdout (pid {first}) exit")
    wait_out(box, numbers(20))
    box.control("dx")
    box.wait_gone()
    assert out(box) == numbers(20)


def test_a_service_that_nobody_is_left_to_listen_to(box: Box) -> None:
    """It goes on, and what it says meanwhile is not lost."""
    conf(box)
    quota(box, 10)
    pid = box.start(*ON_REQUEST)
    first = pid_of(box)
    wait_out(box, numbers(10))
    kill_supervise(box)
    os.kill(first, signal.SIGKILL)
    wait_for("its end", lambda: not alive(first))
    quota(box, 2000)
    wait_for("all to be in the pipe", lambda: printed(pid) >= len(numbers(2000)))
    assert alive(pid)
    succeed(box, *ON_REQUEST)
    assert box.pid == pid
    wait_out(box, numbers(2000))
    assert out(box) == numbers(2000)


def test_two_loggers_or_one_for_both(box: Box) -> None:
    conf(box, stdout="out", stderr="err")
    box.start("sh", "-c", "echo to stdout; echo to stderr >&2; exec sleep 1000")
    wait_out(box, "to stdout\n")
    wait_out(box, "to stderr\n", "err")
    assert {*loggers(box)} == {"stdout", "stderr"}
    conf(box, "redirect_stderr : yes\n", stdout="both", stderr="err")
    box.control("R")
    wait_out(box, "to stdout\nto stderr\n", "both")
    wait_for("one logger", lambda: {*loggers(box)} == {"stdout"})
    assert (out(box), out(box, "err")) == ("to stdout\n", "to stderr\n")


def test_where_there_is_none_any_more_the_service_prints_to_its_file(box: Box) -> None:
    """From its next start on; until then the logger stays."""
    conf(box)
    quota(box, 10)
    box.start(*ON_REQUEST)
    first = pid_of(box)
    box.conf("[app]\n")
    box.control("r")
    box.wait_log("command r")
    quota(box, 20)
    wait_out(box, numbers(20))
    before = box.pid
    box.control("t")
    box.wait_new_pid(before)
    box.wait_stdout(numbers(20))
    wait_for("the logger to end", lambda: not alive(first))
    assert out(box) == numbers(20)
    wait_for("the state to say so", lambda: loggers(box) == {})
    kept = run_tool(box, "svlog", "-n", "1", "app")
    assert kept.stdout == "19\n"


def test_what_is_left_of_the_service_is_heard_and_the_logger_is_no_part_of_it(box: Box) -> None:
    conf(box, "killasgroup : all\n")
    box.start("sh", "-c", "setsid sh -c 'trap : TERM; sleep 1.5; echo left' & exec sleep 1000")
    first = pid_of(box)
    before = box.pid
    (service,) = json.loads(run_tool(box, "svstat", "--json", "app").stdout)["services"]
    assert service["processes"] == 1
    box.control("R")
    box.wait_new_pid(before)
    assert pid_of(box) == first
    conf(box)
    box.control("r")
    box.wait_log("command r")
    box.control("d")
    box.wait_down()
    wait_out(box, "left\n")
    wait_for("the logger to end", lambda: not alive(first))


def test_a_pipe_that_was_removed_is_made_anew_at_the_next_start(box: Box) -> None:
    conf(box)
    start(box, "sh", "-c", 'trap "echo last; exit" TERM; echo first; while :; do sleep 0.05; done')
    wait_out(box, "first\n")
    (box.status / "__stdout.pipe").unlink()
    before = box.pid
    box.control("t")
    box.wait_new_pid(before)
    wait_out(box, "last\nfirst\n")
    assert readers(box)


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_is_no_pipe_of_ours_is_not_used(box: Box, kind: str) -> None:
    conf(box)
    box.status.mkdir(parents=True, mode=0o700)
    pipe, other = box.status / "__stdout.pipe", box.folder / "other"
    if kind == "file":
        pipe.write_text("it")
    else:
        os.mkfifo(other)
        pipe.symlink_to(other)
    done = box.run("-u", "status/app", "sleep", "1000")
    assert done.returncode == 111
    assert "__stdout.pipe" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_start_that_fails_leaves_nothing(box: Box) -> None:
    conf(box)
    done = box.run("-u", "status/app", "./missing")
    assert done.returncode == 111
    assert not box.status.exists()


@pytest.mark.parametrize("script", ["echo it", "echo it > /dev/stdout"])
def test_another_user_can_use_it(open_box: Box, script: str) -> None:
    """And so it is there to be opened again, also by the next supervise."""
    needs_root()
    box = open_box
    conf(box, "user : nobody\n")
    box.start("/bin/sh", "-c", f"{script}; exec sleep 1000")
    wait_out(box, "it\n")
    first = pid_of(box)
    kill_supervise(box)
    succeed(box, "/bin/sh", "-c", "exec sleep 1000")
    assert pid_of(box) == first
    before = box.pid
    box.control("t")
    box.wait_new_pid(before)
    assert not (box.status / "__stdout").exists()


def test_what_a_logger_says_itself_is_in_the_file(box: Box) -> None:
    box.conf("[app]\nstdout_command : sh -c 'echo it cannot >&2; exit 5'\nredirect_stderr : yes\n")
    box.start("sleep", "1000")
    box.wait_warning("exited with status 5; it is started again", 2)
    assert "it cannot\n" in box.log("__stderr")
    assert run_tool(box, "svlog", "app").stderr.strip().endswith("stdout_command reads what the service prints")


def test_what_a_logger_says_goes_to_no_output_that_nobody_has_asked_for(box: Box) -> None:
    command = "stdout_command : sh -c 'echo it cannot >&2; exec cat'"
    box.conf(f"[app]\n{command}\nstderr_logfile : NONE\nautorestart : never\n")
    process = box.foreground("sh", "-c", "echo it; exit 7", options=("--exit-with-service",))
    assert not any(b"it cannot" in text for text in process.communicate(timeout=PATIENCE))
    assert box.log("__stderr") == "it cannot\nit\n"


REAL = {
    "multilog": "multilog t s65536 n5 ./main",
    "svlogd": "svlogd -tt ./main",
    "s6-log": "s6-log t n5 s65536 ./main",
}


@pytest.mark.parametrize("program", REAL)
def test_loggers_that_there_are(box: Box, program: str) -> None:
    needs(program)
    file = box.folder / "main/current"
    file.parent.mkdir()
    box.conf(f"[app]\nstdout_command : {REAL[program]}\n")
    quota(box, 500)
    box.start(*ON_REQUEST)
    first = pid_of(box)
    wait_for("the last line", lambda: file.exists() and "499\n" in file.read_text())
    os.kill(first, signal.SIGTERM)
    quota(box, 1000)
    pid_of(box, other_than=first)
    box.control("dx")
    box.wait_gone()
    kept = [int(line.split()[-1]) for line in file.read_text().splitlines()]
    assert kept == [*range(len(kept))] and len(kept) >= 500
    assert readers(box) == []


def test_syslog(open_box: Box) -> None:
    needs("logger")
    box = open_box
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(box.folder / "log"))
        syslog.settimeout(30)
        box.conf("[app]\nstdout_command : logger -u log -t app\n")
        quota(box, 100)
        box.start(*ON_REQUEST)
        for number in range(100):
            assert syslog.recv(4096).split()[-2:] == [b"app:", b"%d" % number]
        box.control("dx")
        box.wait_gone()


def test_the_copy_that_goes_on_when_an_upgrade_fails_has_it(private: Private) -> None:
    box = private
    conf(box)
    quota(box, 10)
    box.start(*ON_REQUEST)
    first = pid_of(box)
    before = box.supervisor
    lines = "    read_nothing()\n    rename_process()\n"
    private.change("supervisor.upgraded", lines, f"    if kind is StatusDir:\n        raise SystemExit(7)\n{lines}")
    box.control("e")
    box.wait_warning("the old version goes on as pid")
    assert box.supervisor != before
    assert pid_of(box) == first
    os.kill(first, signal.SIGTERM)
    pid_of(box, other_than=first)
    quota(box, 500)
    wait_out(box, numbers(500))
    box.control("dx")
    box.wait_gone()
    assert out(box) == numbers(500)


def test_of_services_that_are_started_together(services: Services) -> None:
    """Nobody else has their pipes open, so their loggers see the end; and another command is no restart."""
    text = "[{0}]\ncommand : sh -c 'echo {0}; exec sleep 1000'\nstdout_command : sh -c 'exec cat >> {1}.{0}'\n"
    services.up("".join(text.format(name, "out") for name in "ab"))
    boxes = [services[name] for name in "ab"]
    for box in boxes:
        wait_out(box, f"{box.name}\n", f"out.{box.name}")
    before = [box.pid for box in boxes]
    services.conf("".join(text.format(name, "new") for name in "ab"))
    services.done("update")
    for box in boxes:
        box.wait_log("logger of stdout started", 2)
    assert [box.pid for box in boxes] == before
    services.done("down")
    for box in boxes:
        box.wait_log("all is read")
        wait_for("the logger to end", lambda box=box: not readers(box))  # type: ignore[misc]
