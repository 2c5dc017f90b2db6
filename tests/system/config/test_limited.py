"""The keys that limit a service, in supervise.conf: started, restarted, blocked, and kept by the next supervise."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import Box
from heirs import kill_supervise, state

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")
SHELL = ("/bin/sh", "-c", "echo $(id -un) $(ulimit -n) $(cat /proc/self/oom_score_adj); exec sleep 86399")
GOOD = "[app]\nrlimit_nofile : 70:80\noom_score_adj : 600\n"
STAYS = (
    "what restricts the service stays as it was: user (empty), group (empty), umask (empty), directory (empty),"
    " rlimit_nofile 70:80, oom_score_adj 600"
)


def restarted(box: Box) -> str:
    """What the next process prints."""
    count = box.stdout().count("\n")
    os.kill(box.pid, signal.SIGKILL)
    return box.wait_stdout("\n", count + 1).splitlines()[count]


@root_only
def test_as_another_user(open_box: Box) -> None:
    open_box.conf(f"{GOOD}user : nobody\n")
    open_box.start(*SHELL)
    assert open_box.wait_stdout("\n") == "nobody 70 600\n"
    assert restarted(open_box) == "nobody 70 600"
    assert "configuration" not in open_box.warnings


def test_a_change_takes_effect_at_the_next_start(box: Box) -> None:
    pid = box.start(*SHELL)
    first = box.wait_stdout("\n")
    box.conf(GOOD)
    box.wait_log("rlimit_nofile 70:80, oom_score_adj 600")
    assert box.pid == pid and box.stdout() == first
    assert restarted(box).endswith(" 70 600")
    box.conf("[app]\n")
    box.wait_log("restarts are not limited\n")
    assert restarted(box) == first.strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[app]\nrlimit_nofile : many\n", ":2: rlimit_nofile: 'many' is not a whole number"),
        ("[app]\nnce : 5\n", ":2: unknown key 'nce': probably a typo of nice"),
        ("[app]\n cgroup : /x\n", ":2: indented, so it does not count: 'cgroup : /x'"),
        ("[app]\nrlimit_as : 1G\nrlimit_as : 2G\n", ":3: rlimit_as again, and not as in line 2"),
        ("[apps]\ncpu_affinity : 0\n", ":2: cpu_affinity: in section [apps]; should that be [app]?"),
    ],
)
def test_what_cannot_be_understood_starts_nothing(box: Box, text: str, why: str) -> None:
    box.conf(text)
    done = box.run("-u", "status/app", "sleep", "86399")
    assert (done.returncode, done.stdout) == (111, "")
    assert done.stderr == f"supervise: fatal: cannot start the service: supervise.conf{why}\n"
    assert sorted(os.listdir(box.folder)) == ["supervise.conf"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("cgroup : %(here)s", "supervise.conf:2: cannot join cgroup {}: not a directory of cgroup v2"),
        ("cpu_affinity : 8000", "supervise.conf:2: cannot set cpu_affinity 8000: no processor 8000 here, or it"),
        ("memory_max : 1G", "supervise.conf:2: cannot set memory_max: there is no cgroup to limit"),
    ],
)
def test_what_cannot_be_set_starts_nothing(box: Box, line: str, why: str) -> None:
    box.conf(f"[app]\n{line}\n")
    done = box.run("-u", "status/app", "sleep", "86399")
    assert (done.returncode, done.stdout) == (111, "")
    assert done.stderr.startswith(f"supervise: fatal: cannot start the service: {why.format(box.folder)}")
    assert done.stderr.count("\n") == 1 and sorted(os.listdir(box.folder)) == ["supervise.conf"]


def test_a_file_that_goes_away_or_breaks_does_not_take_them_along(box: Box) -> None:
    box.conf(GOOD)
    box.start(*SHELL)
    box.wait_stdout(" 70 600\n")
    box.conf("[app]\nnice : much\n")
    box.wait_warning(STAYS)
    assert restarted(box).endswith(" 70 600")
    (box.folder / "supervise.conf").unlink()
    box.wait_warning(STAYS, 2)
    assert restarted(box).endswith(" 70 600")
    assert state(box)["restrictions"] == {"rlimit_nofile": "70:80", "oom_score_adj": "600"}


@pytest.mark.parametrize("how", ["e", "kill"])
def test_the_next_supervise_keeps_them(box: Box, how: str) -> None:
    box.conf(GOOD)
    pid = box.start(*SHELL)
    box.wait_stdout(" 70 600\n")
    if how == "kill":
        kill_supervise(box)
    (box.folder / "supervise.conf").unlink()
    if how == "kill":
        assert STAYS in box.run("-u", "status/app", *SHELL).stderr
        box.wait_log("taken over")
    else:
        box.wait_warning(STAYS)
        box.control("e")
        box.wait_log("replaced by the installed version")
    assert box.pid == pid
    assert restarted(box).endswith(" 70 600")
    assert state(box)["restrictions"] == {"rlimit_nofile": "70:80", "oom_score_adj": "600"}


def test_check_says_what_could_not_be_set_at_any_start(box: Box) -> None:
    box.conf("[global]\nmemory_max : 1G\n[app]\ncpu_max : 50%\n[web]\ncgroup : /sys/fs/cgroup/%(program_name)s\n")
    done = box.run("--check", "-F", "supervise.conf")
    assert done.returncode == 100
    said = "supervise.conf:4: cannot set cpu_max: there is no cgroup to limit (the service is not started)"
    assert f"{said}\n" in done.stdout
    assert "  cgroup : /sys/fs/cgroup/web\n  memory_max : 1G\n" in done.stdout
    assert "  cpu_max : 50000 100000\n" in done.stdout
