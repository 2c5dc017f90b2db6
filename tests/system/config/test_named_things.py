"""A user, directory, cgroup or processor that is not there: --check, the start, and what is read again, agree."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path

import pytest
from conftest import Box, wait_for
from heirs import kill_supervise, state
from tools import run_tool

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")
SLEEP = ("sleep", "86399")
WHERE = ("/bin/sh", "-c", "pwd; exec sleep 86399")
NAMED = [
    ("user : nobody2", "user nobody2 does not exist"),
    ("user : 0:nobody2", "group nobody2 does not exist"),
    ("group : nobody2", "group nobody2 does not exist"),
    ("directory : %(here)s/none", "cannot change to directory {}/none: No such file or directory"),
    ("directory : supervise.conf", "cannot change to directory supervise.conf: Not a directory"),
    ("cgroup : %(here)s", "cannot join cgroup {}: not a directory of cgroup v2"),
    ("cpu_affinity : 0,8000", "cannot set cpu_affinity 0,8000: no processor 8000 here, or it may not be used"),
    ("cpu_max : 50%", "cannot set cpu_max: there is no cgroup to limit"),
]
named = pytest.mark.parametrize(("line", "why"), NAMED, ids=[line for line, _ in NAMED])


def conf(line: str) -> str:
    return f"[global]\n# what it needs\n[app]\nstartsecs : 2\n{line.replace('user : 0:', f'user : {os.getuid()}:')}\n"


@named
def test_the_three_readers_agree(box: Box, line: str, why: str) -> None:
    problem = f"supervise.conf:5: {why.format(box.folder)}"
    box.conf(conf(line))
    done = box.run("--check", "app")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (100, f"{problem} (the service is not started)")
    done = box.run("-u", "status/app", *SLEEP)
    assert (done.returncode, done.stderr) == (111, f"supervise: fatal: cannot start the service: {problem}\n")
    assert sorted(os.listdir(box.folder)) == ["supervise.conf"]

    box.conf("[app]\ndirectory : /\n")
    pid = box.start(*WHERE)
    box.wait_stdout("/\n")
    box.conf(conf(line))
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (1, f"svc: fatal: cannot reload all of status/app: {problem}\n")
    box.wait_warning(problem)
    found = state(box)
    assert (found["restrictions"], found["startsecs"]) == ({"directory": "/"}, 2)  # the rest applies
    os.kill(pid, signal.SIGKILL)
    box.wait_stdout("/\n", 2)


def test_what_is_there_passes(box: Box) -> None:
    box.start(*WHERE)
    (box.folder / "in").mkdir()
    name = pwd.getpwuid(os.getuid()).pw_name
    box.conf(f"[app]\nuser : {name}\ndirectory : %(here)s/in\ncpu_affinity : {min(os.sched_getaffinity(0))}\n")
    assert box.run("--check", "app").returncode == 0
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (0, "")
    box.control("R")
    box.wait_stdout("/in\n")


def test_a_file_that_is_only_written(box: Box) -> None:
    """Without a letter, and mended later."""
    box.conf("[app]\n# nothing yet\n")
    pid = box.start(*WHERE)
    box.wait_stdout("\n")
    box.conf("[app]\ndirectory : %(here)s/in\n")
    box.wait_warning(f"supervise.conf:2: cannot change to directory {box.folder}/in: No such file or directory")
    os.kill(pid, signal.SIGKILL)
    assert box.wait_stdout("\n", 2) == f"{box.folder}\n" * 2
    (box.folder / "in").mkdir()
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (0, "")
    os.kill(box.wait_new_pid(pid), signal.SIGKILL)
    box.wait_stdout("/in\n")


def test_letters_in_one_write_are_obeyed_under_the_new_one(box: Box) -> None:
    box.start(*WHERE)
    box.wait_stdout("\n")
    (box.folder / "in").mkdir()
    box.conf("[app]\ndirectory : in\n")
    box.write_control(b"rR\n")
    box.wait_stdout("/in\n")


@root_only
def test_a_directory_that_only_the_services_user_may_enter(open_box: Box) -> None:
    box = open_box
    box.start(*WHERE)
    private = box.folder / "private"
    private.mkdir(0o700)
    os.chown(private, pwd.getpwnam("nobody").pw_uid, -1)
    box.conf("[app]\nuser : nobody\ndirectory : private\n")
    assert box.run("--check", "app").returncode == 0
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (0, "")
    box.control("R")
    box.wait_stdout("/private\n")


@root_only
def test_a_directory_that_its_user_may_not_enter_is_not_called_missing(open_box: Box) -> None:
    box = open_box
    pid = box.start(*WHERE)
    (box.folder / "private").mkdir(0o700)
    box.conf("[app]\nuser : nobody\ndirectory : private/in\n")
    said = "supervise.conf:3: cannot change to directory private/in: Permission denied"
    done = box.run("--check", "app")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"{said} (it is looked for when the service is started)"
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (
        1, f"svc: fatal: cannot reload all of status/app: {said}; the next start tells\n",
    )
    os.kill(pid, signal.SIGKILL)
    box.wait_warning("cannot change to directory private/in: Permission denied", 2)  # it told
    os.chmod(box.folder / "private", 0o755)
    (box.folder / "private" / "in").mkdir()
    box.wait_stdout("/private/in\n")


@pytest.mark.parametrize("how", ["takeover", "upgrade"])
def test_the_next_supervise_looks_as_well(box: Box, how: str) -> None:
    box.conf("[app]\ndirectory : /\n")
    pid = box.start(*WHERE)
    box.wait_stdout("/\n")
    if how == "takeover":
        kill_supervise(box)
        box.conf(conf("directory : none"))
        assert box.start(*WHERE) == pid
        count = 1
    else:
        box.conf(conf("directory : none"))
        box.wait_warning("supervise.conf:5: cannot change to directory none")
        box.control("e")
        box.wait_log("replaced by the installed version")
        count = 2
    box.wait_warning("supervise.conf:5: cannot change to directory none: No such file or directory", count)
    wait_for("the state", lambda: state(box)["config_problems"])
    assert state(box)["restrictions"] == {"directory": "/"}
    os.kill(pid, signal.SIGKILL)
    box.wait_stdout("/\n", 2)


def test_an_upgrade_does_not_wait_for_an_answer(box: Box, tmp_path: Path) -> None:
    """Letters that were read are counted as obeyed: who waits for one more is answered by the new version."""
    box.start(*WHERE)
    (box.folder / "in").mkdir()
    box.conf("[app]\ndirectory : in\n")
    box.write_control(b"re\n")
    box.wait_log("replaced by the installed version")
    done = run_tool(box, "svc", "reload", "app")
    assert (done.returncode, done.stderr) == (0, "")


def test_check_looks_for_what_any_section_names(box: Box) -> None:
    box.conf("[web]\nuser : nobody2\n[global]\nmemory_max : 1G\n[app]\nuser : nobody2\n[db]\ncgroup : /no/such\n")
    done = box.run("--check", "app")
    assert done.returncode == 100
    lines = [line for line in done.stdout.splitlines() if line.startswith("supervise.conf:")]
    assert lines == [
        "supervise.conf:2: user nobody2 does not exist",
        "supervise.conf:4: cannot set memory_max: there is no cgroup to limit (the service is not started)",
        "supervise.conf:6: user nobody2 does not exist (the service is not started)",
        "supervise.conf:8: cannot join cgroup /no/such: No such file or directory",
    ]
