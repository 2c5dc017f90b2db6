"""The keys user, directory and umask in supervise.conf: started, taken over, refused, tried again."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess

import pytest
from conftest import PATIENCE, SUPERVISE, Box, wait_for
from system import needs

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")


def uid_of(pid: int) -> int:
    return os.stat(f"/proc/{pid}").st_uid


@root_only
def test_a_service_of_another_user_from_the_file(open_box: Box) -> None:
    box = open_box
    (box.folder / "in").mkdir()
    box.conf("[global]\nuser : nobody\ndirectory : %(here)s/in\numask : 027\n")
    box.start("/bin/sh", "-c", "id -un; pwd; umask; echo $HOME; exec sleep 1000")
    home = pwd.getpwnam("nobody").pw_dir
    assert box.wait_stdout(home) == f"nobody\n{box.folder}/in\n0027\n{home}\n"
    assert uid_of(box.pid) == pwd.getpwnam("nobody").pw_uid
    os.kill(box.pid, signal.SIGKILL)
    box.wait_stdout(home, 2)


@root_only
@pytest.mark.parametrize("state", ["current", "one start old"])
def test_a_service_of_another_user_is_taken_over(box: Box, state: str) -> None:
    box.conf("[global]\nuser : nobody\ndirectory : /\n")
    pid = box.start("sleep", "1000")
    if state == "one start old":
        # As if supervise had been killed between a start and the state that names it.
        old = (box.status / "state").read_bytes()
        os.kill(pid, signal.SIGKILL)
        pid = box.wait_new_pid(pid)
        box.wait_log("service started", 2)
        wait_for("the new state", lambda: (box.status / "state").read_bytes() != old)
    os.kill(box.supervisor, signal.SIGKILL)
    box.wait_gone()
    if state == "one start old":
        (box.status / "state").write_bytes(old)
    assert box.start("sleep", "1000") == pid
    box.control("t")
    assert box.wait_new_pid(pid) != pid
    assert uid_of(box.pid) == pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("user : nobody2", "{conf}: user nobody2 does not exist"),
        ("directory : %(here)s/none", "{conf}: cannot change to directory {folder}/none: No such file or directory"),
        ("umask : 022\ndirectory : /", "./prog: No such file or directory"),
        ("environment : PATH=/none", "prog: not found in PATH"),
    ],
)
def test_a_first_start_that_fails_leaves_nothing(box: Box, line: str, why: str) -> None:
    box.conf(f"[global]\n{line}\n")
    done = box.run("-u", "status/app", "prog" if "PATH" in line else "./prog")
    assert (done.returncode, done.stdout) == (111, "")
    why = why.format(folder=box.folder, conf="supervise.conf:2")
    assert done.stderr == f"supervise: fatal: cannot start the service: {why}\n"
    assert sorted(os.listdir(box.folder)) == ["supervise.conf"]


@root_only
def test_a_root_who_may_not_become_another_user(box: Box) -> None:
    needs("setpriv")
    box.conf("[global]\nuser : nobody\n")
    command = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid", "--", SUPERVISE]
    args = [*command, "-u", "status/app", "sleep", "1000"]
    done = subprocess.run(args, cwd=box.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (
        111,
        "supervise: fatal: cannot start the service: supervise.conf:2: cannot become user nobody: Operation not"
        " permitted\n",
    )


def test_a_directory_that_goes_away_is_warned_of_and_tried_again(box: Box) -> None:
    where = box.folder / "in"
    where.mkdir()
    box.conf("[global]\ndirectory : %(here)s/in\n")
    pid = box.start("/bin/sh", "-c", "pwd; exec sleep 1000")
    box.wait_stdout("in\n")
    where.rmdir()
    os.kill(pid, signal.SIGKILL)
    box.wait_warning(f"cannot change to directory {where}: No such file or directory", 2)
    assert box.pid == 0
    where.mkdir()
    assert box.wait_new_pid(pid)
    box.wait_stdout("in\n", 2)
    assert box.supervisor
