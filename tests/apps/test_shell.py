"""The lines that people have in their scripts and runbooks, run by a real shell (specification, 2, 3 and 4)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive, wait_for

needs_fuser = pytest.mark.skipif(not shutil.which("fuser"), reason="fuser is not installed (Debian: psmisc)")
# `od -d` shows two bytes a word, so the old line that uses it is right for pids up to 65,535 only.
BIG_PID = "this machine gives pids beyond 65535: two bytes of them are not the pid"


def sh(box: Box, line: str) -> subprocess.CompletedProcess[str]:
    """What a person's shell says to a line, with supervise on the PATH."""
    env = {**box.env, "PATH": f"{os.path.dirname(SUPERVISE)}:{box.env['PATH']}"}
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=box.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def output(box: Box, line: str) -> str:
    """What the line prints, where it must succeed and not complain."""
    done = sh(box, line)
    assert (done.returncode, done.stderr) == (0, ""), line
    return done.stdout


def fuser(box: Box, path: str) -> list[int]:
    """Who has a file open; the file's name, and what fuser could not look at, go to its standard error."""
    return [int(word) for word in sh(box, f"fuser {path}").stdout.split()]


def only_user(box: Box, path: str) -> bool:
    """Whether supervise alone has a file open.

    To be waited for: what it starts (here a helper for the configuration) has, until it is executed, the same
    files open, and a busy machine may take its time with that.
    """
    wait_for(f"supervise to be the only user of {path}", lambda: fuser(box, path) == [box.supervisor])
    return True


# Starting.


def test_the_first_lines_of_the_readme(box: Box) -> None:
    done = output(box, 'CMD="sleep 1000"; mkdir -p ./status/some-app; supervise -p ./status/some-app -f "$CMD"')
    assert done == ""
    used = Box(box.folder, "some-app")
    assert alive(used.pid)


def test_start_and_then(box: Box) -> None:
    assert output(box, "supervise -p status/app -f 'sleep 1000' && echo yes || echo no") == "yes\n"
    done = sh(box, "supervise -p status/app -f 'sleep 1000' && echo yes || echo no: $?")
    assert done.stdout == "no: 111\n"


def test_start_in_a_pipe_and_under_nohup(box: Box) -> None:
    assert output(box, "supervise -p status/app -f 'sleep 1000' 2>&1 | cat") == ""
    assert output(box, "nohup supervise -p status/other -f 'sleep 1000' >nohup.log 2>&1; cat nohup.log") in (
        "",
        "nohup: ignoring input\n",
    )
    for name in ("app", "other"):
        assert alive(Box(box.folder, name).pid)


def test_start_in_the_background(box: Box) -> None:
    assert output(box, "supervise --foreground -p status/app -f 'sleep 1000' >foreground 2>&1 & echo $!").strip()
    box.wait_log("service started")
    assert output(box, "echo dx >status/app/control") == ""
    box.wait_gone()


def test_the_service_is_a_shell_line(box: Box) -> None:
    line = """supervise -p status/app -f 'sh -c "for i in 1 2 3; do echo \\"line $i\\"; done; exec sleep 1000"'"""
    assert output(box, line) == ""
    assert box.wait_stdout("line 3\n") == "line 1\nline 2\nline 3\n"


# Reading the record.


def test_od_prints_the_pid(box: Box) -> None:
    pid = box.start("sleep", "1000")
    assert int(output(box, "cd status/app && od -An -j16 -N4 -tu4 status")) == pid
    box.control("d")
    box.wait_down()
    assert int(output(box, "cd status/app && od -An -j16 -N4 -tu4 status")) == 0
    assert len((box.status / "status").read_bytes()) == 20


def test_the_old_od_line_prints_the_pid(box: Box) -> None:
    pid = box.start("sleep", "1000")
    line = "od -d --skip-bytes=16 ./status/app/status | awk '{print $2}'"
    assert output(box, line).split() == [str(pid & 0xFFFF)]


def test_od_prints_the_flags(box: Box) -> None:
    box.start("sleep", "1000")
    assert output(box, "od -An -j12 -N4 -tu1 status/app/status").split() == ["0", "117", "111", "0"]
    box.control("psd")
    box.wait_down()
    assert output(box, "od -An -j13 -N2 -tc status/app/status").split() == ["d", "x"]


def test_od_prints_the_time(box: Box) -> None:
    before = int(time.time())
    box.start("sleep", "1000")
    # A TAI64 label is 2^62 + 10 + Unix seconds, the high half of it 2^30.
    assert output(box, "od -An -N4 --endian=big -tu4 status/app/status").split() == [str(1 << 30)]
    seconds = output(box, "echo $(( $(od -An -j4 -N4 --endian=big -tu4 status/app/status) - 10 ))")
    assert before <= int(seconds) <= time.time()


# The recipes.


def test_the_recipe_that_ends_supervise_and_service(box: Box) -> None:
    pid, supervisor = box.start("sleep", "1000"), box.supervisor
    if pid > 0xFFFF:
        pytest.skip(BIG_PID)
    recipe = r"""
        pid=`od -d --skip-bytes=16 ./status/app/status | awk '{print $2}'`
        sv_pid=`grep 'PPid' /proc/$pid/status | awk '{print $2}'`
        kill -15 $sv_pid
        kill -15 $pid 2>/dev/null  # supervise may have been faster
        echo $sv_pid $pid
    """
    assert output(box, recipe).split() == [str(supervisor), str(pid)]
    box.wait_gone()
    assert not alive(pid)
    assert box.log().count("service started") == 1


def test_restart_by_hand(box: Box) -> None:
    a, b = Box(box.folder, "a"), Box(box.folder, "b")
    pids = a.start("sleep", "1000"), b.start("sleep", "1000")
    assert output(box, "kill `od -An -j16 -N4 -tu4 status/a/status`") == ""
    assert output(box, "cd status/b; echo k > control; echo $?") == "0\n"
    assert alive(a.wait_new_pid(pids[0]))
    assert alive(b.wait_new_pid(pids[1]))


def test_echo_to_control(box: Box) -> None:
    first = box.start("sleep", "1000")
    assert output(box, "echo 'd' > status/app/control") == ""
    box.wait_down()
    assert output(box, "echo u > status/app/control") == ""
    second = box.wait_new_pid(first)
    assert output(box, "echo d>status/app/control; printf x >status/app/control") == ""
    box.wait_gone()
    assert not alive(second)


def test_a_here_document_is_a_list_of_commands(box: Box) -> None:
    box.start("sleep", "1000")
    assert output(box, "cat >status/app/control <<END\ns\np c\n\n d x\nEND\n") == ""
    box.wait_gone()
    assert [line.split("command ")[1][0] for line in box.log().splitlines() if "command " in line] == list("spcdx")


# Is it running?


@needs_fuser
def test_fuser_prints_supervise_and_nobody_else(box: Box) -> None:
    # With all that supervise starts: a service with children, a restart script, a watched configuration.
    box.conf("[global]\nalarm_interval : 60\nalarm_mail :\n")
    (box.folder / "script").write_text("#!/bin/sh\necho >script.ran; exec sleep 1000\n")
    (box.folder / "script").chmod(0o755)
    pid = box.start("sh", "-c", "sleep 1000 & exec sleep 1000", options=("-r", "./script"))
    supervisor = box.supervisor
    assert only_user(box, "status/app/lock")
    done = sh(box, "cd status/app; fuser lock")
    assert (done.returncode, done.stdout.split()) == (0, [str(supervisor)])
    assert pid != supervisor
    box.control("k")
    wait_for("the restart script", (box.folder / "script.ran").exists)
    for name in ("lock", "control", "ok"):
        assert only_user(box, f"status/app/{name}")
    box.control("x")
    box.wait_gone()
    done = sh(box, "fuser status/app/lock")
    assert (done.returncode, done.stdout) == (1, "")


def test_flock_tells_whether_it_runs(box: Box) -> None:
    box.start("sleep", "1000")
    assert sh(box, "flock -n status/app/lock echo free").stdout == ""
    box.control("dx")
    box.wait_gone()
    assert output(box, "flock -n status/app/lock echo free") == "free\n"


def test_ok_can_be_opened_while_it_runs(box: Box) -> None:
    box.start("sleep", "1000")
    ok = box.status / "ok"
    os.close(os.open(ok, os.O_WRONLY | os.O_NONBLOCK))
    assert output(box, "timeout 20 sh -c ': >status/app/ok' && echo up") == "up\n"
    box.control("dx")
    box.wait_gone()
    with pytest.raises(OSError, match="No such device or address"):
        os.open(ok, os.O_WRONLY | os.O_NONBLOCK)


def test_pgrep_lists_the_processes_of_a_service(box: Box) -> None:
    pid = box.start("sh", "-c", "sleep 1000 & echo $! >child.new; mv child.new child; wait")
    wait_for("the child", (box.folder / "child").exists)
    child = int((box.folder / "child").read_text())
    line = f"pgrep -s {box.supervisor}"
    expected = {box.supervisor, pid, child}
    wait_for("these three, and no helper any more", lambda: set(map(int, output(box, line).split())) == expected)


def test_tail_follows_what_the_service_prints(box: Box) -> None:
    pid = box.start("sh", "-c", "echo one; echo two >&2; exec sleep 1000")
    box.wait_stdout("one\n")
    assert output(box, "tail -n 1 status/app/__stdout") == "one\n"
    wait_for("the other", lambda: output(box, "cat status/app/__stderr") == "two\n")
    assert output(box, "grep -c '^.NOTICE. .*service started' status/app/supervise.log") == "1\n"
    assert Path(f"/proc/{pid}").exists()
