"""What the daemon and the service find themselves in, whatever the caller was in (specification, 1)."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive, wait_for

# glibc keeps 32 and 33 to itself: posix_spawn(3) leaves them ignored, and no program can ask for them.
THREADS = 1 << 31 | 1 << 32
SERVICE = ("sleep", "1000")


def status_field(pid: int, name: str) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith(name + ":"))


def signals(pid: int, name: str) -> int:
    """A set of signals of /proc/PID/status, without those that are glibc's own."""
    return int(status_field(pid, name), 16) & ~THREADS


def parent(pid: int) -> int:
    return int(status_field(pid, "PPid"))


def descriptors(pid: int) -> dict[int, str]:
    folder = f"/proc/{pid}/fd"
    return {int(fd): os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}


def environ(pid: int) -> dict[bytes, bytes]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")[:-1]
    return {name: value for name, _, value in (entry.partition(b"=") for entry in entries)}


def ignore_and_block_everything() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


# The daemon.


def test_the_daemon(box: Box) -> None:
    pid = box.start(*SERVICE)
    supervisor = box.supervisor
    assert parent(pid) == supervisor
    assert os.getsid(supervisor) == supervisor != os.getsid(0)
    assert os.getpgid(supervisor) == supervisor
    assert os.readlink(f"/proc/{supervisor}/cwd") == os.path.realpath(box.folder)
    found = descriptors(supervisor)
    assert [found[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3


def test_the_daemon_keeps_nothing_open_of_the_callers(box: Box) -> None:
    marker = box.folder / "marker"
    line = f'exec 7>marker 8<marker 9<>control.fifo; flock 7; exec "{SUPERVISE}" -u status/app sleep 1000'
    os.mkfifo(box.folder / "control.fifo")
    assert subprocess.run(["/bin/sh", "-c", line], cwd=box.folder, env=box.env, timeout=PATIENCE).returncode == 0
    for process in (box.supervisor, box.pid):
        assert not {str(marker), str(box.folder / "control.fifo")} & set(descriptors(process).values())
    with marker.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_shell_that_captures_the_output_goes_on(box: Box) -> None:
    line = f'x=$("{SUPERVISE}" -u status/app sleep 1000 2>&1); echo "done: $? <$x>"'
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=box.folder, env=box.env, stdout=subprocess.PIPE, text=True, timeout=PATIENCE
    )
    assert done.stdout == "done: 0 <>\n"
    assert alive(box.pid)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_caller_may_have_closed_0_1_and_2(box: Box, closed: str) -> None:
    line = f'"{SUPERVISE}" -u status/app sleep 1000 {closed}'
    assert subprocess.run(["/bin/sh", "-c", line], cwd=box.folder, env=box.env, timeout=PATIENCE).returncode == 0
    found = descriptors(box.supervisor)
    assert [found[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3
    where = os.path.realpath(box.status)
    assert descriptors(box.pid) == {0: "/dev/null", 1: f"{where}/__stdout", 2: f"{where}/__stderr"}
    line = f'"{SUPERVISE}" -u status/other no-such-program {closed}'
    assert subprocess.run(["/bin/sh", "-c", line], cwd=box.folder, env=box.env, timeout=PATIENCE).returncode == 111
    assert os.listdir(box.folder / "status") == ["app"]


def test_a_working_directory_that_is_gone(box: Box) -> None:
    (box.folder / "gone").mkdir()
    line = f'cd gone; rmdir ../gone; exec "{SUPERVISE}" -u "{box.status}" sleep 1000'
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE
    )
    said = [line for line in done.stderr.splitlines() if "getcwd" not in line]  # a shell's own words
    assert (done.returncode, said) == (0, [])
    assert alive(box.pid)


# What ps(1) shows.


def shown(pid: int) -> list[str]:
    words = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    return words[[word.endswith("/daemon.py") for word in words].index(True) + 1 : -1]


@pytest.mark.parametrize(
    "words",
    [
        ("-p", "status/app", "-f", "sleep 86397"),
        ("-u", "status/app", "sleep", "86397"),
        ("-f", "sleep 86397", "-p", "status/app"),
        ("-fsleep 86397", "-r", "sleep 86397", "-p", "status/app"),
    ],
)
def test_supervise_is_not_found_by_the_services_command_line(box: Box, words: tuple[str, ...]) -> None:
    done = box.run(*words)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["pgrep", "-f", "sleep 86397", "-s", str(box.supervisor)], capture_output=True).stdout == (
        b"%d\n" % box.pid
    )
    assert shown(box.supervisor) == [words[max(words.index(one) for one in ("-p", "-u") if one in words)], "status/app"]


def test_nor_one_in_the_foreground_or_upgraded(box: Box) -> None:
    process = box.foreground("sleep", "86397", options=("-F", "/dev/null"))
    box.wait_log("service started")
    line = ["-F", "/dev/null", "--foreground", "-u", "status/app"]
    assert shown(process.pid) == line
    box.control("e")
    box.wait_log("supervise replaced by the installed version")
    assert shown(process.pid) == line


# The service.


def test_the_services_place(box: Box) -> None:
    pid = box.start("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000")
    supervisor = box.supervisor
    assert os.getpgid(pid) == pid
    assert os.getsid(pid) == supervisor
    child = int(box.wait_stdout("\n"))
    assert os.getpgid(child) == pid

    def listed() -> set[int]:
        lines = subprocess.run(["pgrep", "-s", str(supervisor)], capture_output=True, text=True).stdout
        return set(map(int, lines.split()))

    wait_for("all in supervise's session", lambda: listed() == {supervisor, pid, child})
    assert os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(box.folder)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PATH": "/usr/bin:/bin"},
        {"LC_CTYPE": "C", "LANG": "C"},
        {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0", "PYTHONUNBUFFERED": "", "PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere", "PYTHONIOENCODING": "ascii"},
        {"ODD": "a\nb=c' \"", "EMPTY": "", "BYTES": os.fsdecode(b"\xff\xe9"), "SUPERVISE_X": "x", "_": "_"},
        {"SUPERVISE_SERVICE": "another", "SUPERVISE_STATUS_DIR": "/another"},
    ],
    ids=lambda given: ",".join(given) or "empty",
)
def test_the_environment_is_the_callers(box: Box, given: dict[str, str]) -> None:
    box.env = given
    pid = box.start("/bin/sleep", "1000")
    expected = {os.fsencode(name): os.fsencode(value) for name, value in given.items()}
    expected[b"SUPERVISE_SERVICE"] = b"app"
    expected[b"SUPERVISE_STATUS_DIR"] = os.fsencode(box.status)
    assert environ(pid) == expected


def test_what_the_service_prints_is_appended(box: Box) -> None:
    box.start("sh", "-c", "echo out; echo err >&2")
    box.wait_stdout("out\n", 2)
    wait_for("two lines in __stderr", lambda: box.log("__stderr").count("err\n") >= 2)
    assert set(box.stdout()) <= set("out\n")
    box.control("dx")
    box.wait_gone()
    before = box.stdout()
    box.start("sh", "-c", "echo later; exec sleep 1000")
    assert box.wait_stdout("later\n") == before + "later\n"


def test_a_truncated_output_is_appended_to(box: Box) -> None:
    pid = box.start("sh", "-c", "while read -r line; do :; done; echo first; kill -STOP $$; echo second; sleep 1000")
    box.wait_stdout("first\n")
    os.truncate(box.status / "__stdout", 0)
    wait_for("the service to stop itself", lambda: status_field(pid, "State").startswith("T"))
    os.kill(pid, signal.SIGCONT)
    wait_for("its second line, alone", lambda: (box.status / "__stdout").read_bytes() == b"second\n")


@pytest.mark.parametrize("foreground", [False, True])
def test_the_service_has_three_descriptors_and_keeps_its_environment(box: Box, foreground: bool) -> None:
    box.env = {"LC_ALL": "C", "A": "a"}
    with (box.folder / "marker").open("w") as held:
        args = ["--foreground"] * foreground + ["-u", "status/app", "/bin/sleep", "1000"]
        keep = [os.dup(held.fileno()) for _ in range(3)]
        process = subprocess.Popen(
            [SUPERVISE, *args], cwd=box.folder, env=box.env, pass_fds=keep, stderr=subprocess.DEVNULL
        )
        box.processes.append(process)
        for fd in keep:
            os.close(fd)
    box.wait_log("service started")
    where = os.path.realpath(box.status)
    expected = {0: "/dev/null", 1: f"{where}/__stdout", 2: f"{where}/__stderr"}
    names = {b"LC_ALL": b"C", b"A": b"a", b"SUPERVISE_SERVICE": b"app"}
    names[b"SUPERVISE_STATUS_DIR"] = os.fsencode(box.status)
    pid = box.pid
    assert (descriptors(pid), environ(pid)) == (expected, names)
    if foreground:
        box.control("k")
        pid = box.wait_new_pid(pid)
        assert (descriptors(pid), environ(pid)) == (expected, names)


def test_no_signal_is_ignored_or_blocked(box: Box) -> None:
    done = box.run("-u", "status/app", *SERVICE, before=ignore_and_block_everything)
    assert (done.returncode, done.stderr) == (0, "")
    pid, supervisor = box.pid, box.supervisor
    assert (signals(pid, "SigBlk"), signals(pid, "SigIgn")) == (0, 0)
    # posix_spawn(3) blocks all of them for as long as it takes.
    wait_for("no signal to be blocked in supervise", lambda: signals(supervisor, "SigBlk") == 0)
    box.control("k")
    again = box.wait_new_pid(pid)
    assert (signals(again, "SigBlk"), signals(again, "SigIgn")) == (0, 0)
    os.kill(supervisor, signal.SIGTERM)
    box.wait_gone()
    assert not alive(again)


def test_the_restart_script_has_the_services_signals(box: Box) -> None:
    script = box.folder / "script"
    script.write_text("#!/bin/sh\ngrep -E 'SigBlk|SigIgn' /proc/self/status >signals.new; mv signals.new signals\n")
    script.chmod(0o755)
    args = ("-r", "./script", "-u", "status/app", "true")
    assert box.run(*args, before=ignore_and_block_everything).returncode == 0
    wait_for("the script", (box.folder / "signals").exists)
    for line in (box.folder / "signals").read_text().splitlines():
        assert int(line.split()[1], 16) & ~THREADS == 0, line


@pytest.mark.parametrize(
    ("args", "code"), [(["-p", "bad", "-f", "true"], 100), (["-p", "status/app", "-f", "no-such-program"], 111)]
)
def test_a_caller_that_ignores_its_children_is_answered_too(box: Box, args: list[str], code: int) -> None:
    done = box.run(*args, before=ignore_children)
    assert re.fullmatch(r"supervise: fatal: [^\n]+\n", done.stderr), done.stderr
    assert done.returncode == code
    assert os.listdir(box.folder) == []


def test_limits_priority_and_umask_are_the_callers(box: Box) -> None:
    def before() -> None:
        os.umask(0o027)
        os.nice(3)

    done = box.run("-u", "status/app", "sh", "-c", "ulimit -n; umask; nice; exec sleep 1000", before=before)
    assert done.returncode == 0
    said = subprocess.run(["/bin/sh", "-c", "ulimit -n"], capture_output=True, text=True).stdout
    box.wait_stdout("\n", 3)
    assert box.stdout() == f"{said}0027\n{os.nice(0) + 3}\n"


# In the foreground.


def test_foreground_logs_on_stderr_and_exits_0(box: Box) -> None:
    process = box.foreground(*SERVICE)
    box.wait_log("service started")
    pid = box.pid
    assert box.supervisor == process.pid == parent(pid)
    assert os.getsid(process.pid) == os.getsid(0) == os.getsid(pid)
    assert os.getpgid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    box.control("Zdx")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, b"")
    assert not alive(pid)
    lines = err.decode().splitlines()
    assert sorted(lines) == sorted((box.log() + box.warnings).splitlines())
    assert all(re.match(r"\[(NOTICE|WARNING)\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S", line) for line in lines)
    assert box.supervisor == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_foreground_ends_on_a_signal(box: Box, number: int) -> None:
    process = box.foreground(*SERVICE)
    box.wait_log("service started")
    pid = box.pid
    process.send_signal(number)
    assert process.wait(PATIENCE) == 0
    assert not alive(pid)


def test_foreground_does_not_need_anybody_to_read_its_stderr(box: Box) -> None:
    process = box.foreground(*SERVICE)
    box.wait_log("service started")
    assert process.stderr
    process.stderr.close()
    process.stderr = None
    for letter in "psncu":
        box.control(letter)
        box.wait_log(f"command {letter}")
    assert box.supervisor == process.pid
    box.control("dx")
    assert process.wait(PATIENCE) == 0


def test_foreground_is_not_held_up_by_a_reader_that_stands_still(box: Box) -> None:
    process = box.foreground(*SERVICE)
    box.wait_log("service started")
    for _ in range(40):  # some 8,000 lines: far more than a pipe holds
        box.write_control(b"sn" * 100)
    box.control("dx")
    assert process.wait(PATIENCE) == 0
