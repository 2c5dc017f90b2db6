"""Restarts: when, with what restart script, and when no more (specification, 1, 5 and 6)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for

from supervise.protocol.record import decode

TICKS = os.sysconf("SC_CLK_TCK")  # in a second
# The service says when the kernel made its process: what it measured itself would be later by its own start-up,
# and so two of them could seem closer than they are.  In whole ticks; a difference of a second is never rounded
# down to less.
SAY_START = 'read -r stat </proc/$$/stat; echo "$stat"'


def starts(box: Box) -> list[int]:
    """When the processes that ran SAY_START were made, in ticks since the boot."""
    return [int(line.rpartition(")")[2].split()[19]) for line in box.stdout().splitlines()]


def wait_starts(box: Box, count: int) -> list[int]:
    box.wait_stdout("\n", count)
    return starts(box)


def assert_a_second_apart(found: list[int]) -> None:
    gaps = [later - earlier for earlier, later in zip(found, found[1:])]
    assert min(gaps) >= TICKS, gaps


def script(box: Box, name: str, text: str) -> str:
    path = box.folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return f"./{name}"


def wait_up(seconds: float) -> None:
    """Let a service run for so long: there is no event to wait for."""
    end = time.monotonic() + seconds
    wait_for(f"{seconds} seconds to pass", lambda: time.monotonic() > end)


def others(box: Box, names: str) -> list[Box]:
    """Services beside each other, for what takes seconds with each."""
    return [Box(box.folder, name) for name in names.split()]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# When.


def test_starts_are_a_second_apart_and_without_end(box: Box) -> None:
    # No section for a, and three that lack what a limit needs.
    box.conf("[b]\nmax_tries : 1\n[c]\nalarm_interval : 0\nmax_tries : 1\n[d]\nalarm_interval : 60\n")
    boxes = others(box, "a b c d up")
    for one in boxes[:4]:
        one.start("sh", "-c", SAY_START)
    # This one is restarted at once the first time, but then has a second to wait like the others.
    boxes[4].start("sh", "-c", SAY_START + "; [ -e over ] || { :>over; sleep 1.1; }")
    for one in boxes:
        assert_a_second_apart(wait_starts(one, 3))
        one.wait_log("exited with status 0", 2)
        assert one.supervisor
        assert one.warnings == ""


def test_no_letter_brings_two_starts_closer(box: Box) -> None:
    box.start("sh", "-c", SAY_START + "; exec sleep 1000")

    def storm() -> bool:
        for letters in (b"k", b"R", b"du", b"kukuRu", b"tod", b"kR"):
            box.write_control(letters)
        box.write_control(b"u")
        return len(starts(box)) >= 3

    wait_for("three starts", storm)
    assert_a_second_apart(starts(box))


def test_how_it_ended_is_logged(box: Box) -> None:
    box.start("sh", "-c", "exit 23")
    box.wait_log("exited with status 23")
    line = next(line for line in box.log().splitlines() if "status 23" in line)
    assert re.search(r"\bpid \d+\b", line)
    assert re.search(r"\b\d+\.\d seconds\b", line)


# A start that fails.


@pytest.fixture
def program(box: Box) -> Path:
    """A program of the test's own, which can vanish."""
    path = box.folder / "program"
    shutil.copy("/bin/sleep", path)
    return path


def test_a_program_that_vanished_is_tried_until_it_is_back(box: Box) -> None:
    program, away = box.folder / "program", box.folder / "away"
    shutil.copy("/bin/sleep", program)
    boxes = early, down, late = others(box, "early down late")
    pids = {one: one.start("./program", "1000") for one in boxes}
    program.rename(away)
    for one in (early, down):
        os.kill(pids[one], signal.SIGKILL)
    down.wait_warning("could not be started")
    # Commands are obeyed meanwhile.
    down.control("ds")
    wait_for("both to be obeyed", lambda: (down.record.want, down.record.alarms) == ("down", False))
    os.kill(pids[late], signal.SIGKILL)
    for one in (early, late):
        warned = one.wait_warning("program", 2)
        assert (one.pid, one.record.want) == (0, "up")
        assert all(re.match(r"\[WARNING\] \d{4}-.*could not be started", line) for line in warned.splitlines())
    away.rename(program)
    for one in (early, late):
        assert alive(one.wait_new_pid(pids[one]))
        one.wait_log("service started", 2)
    assert down.pid == 0
    down.control("u")
    assert alive(down.wait_new_pid(pids[down]))


# The restart script.


def test_the_restart_script_runs_before_each_restart_and_is_told_the_exits(box: Box) -> None:
    name = script(box, "script", 'sleep 0.2; echo "script $* $SUPERVISE_SERVICE" >>said.$SUPERVISE_SERVICE\n')
    counting, again = others(box, "counting again")
    counting.start("sh", "-c", "echo start >>said.counting", options=("-r", name, "-t", "100000"))
    # This one lives longer than -t says, so each exit is that long after the one before.
    again.start("sleep", "1.2", options=("-r", name, "-t", "1"))
    said = box.folder / "said.counting"
    wait_for("three restarts", lambda: lines(said).count("start") >= 4)
    expected = ["start"]
    for count in range(1, 4):
        expected += [f"script {count} counting", "start"]
    assert lines(said)[:7] == expected
    said = box.folder / "said.again"
    wait_for("two restarts", lambda: len(lines(said)) >= 2)
    assert lines(said)[:2] == ["script 1 again"] * 2


def test_the_restart_script_may_have_arguments(box: Box) -> None:
    (box.folder / "a b").mkdir()
    script(box, "a b/script", 'printf "%s\\n" "$@" >said.new; mv said.new said\n')
    box.start("true", options=("-r", "'a b/script' one 'two three'"))
    wait_for("the script", (box.folder / "said").exists)
    assert lines(box.folder / "said") == ["one", "two three", "1"]


def test_a_restart_script_that_fails_does_not_keep_the_service_down(box: Box) -> None:
    (box.folder / "text").write_text("")
    scripts = {
        "missing": ("./nowhere", "cannot run.*nowhere"),
        "text": ("./text", "cannot run.*not executable"),
        "directory": (".", "cannot run"),
        "failing": (script(box, "failing", "exit 3\n"), "exited with status 3"),
        "killed": (script(box, "killed", "kill -KILL $$\n"), "killed by signal 9"),
    }
    boxes = others(box, " ".join(scripts))
    pids = [one.start("sleep", "1000", options=("-r", scripts[one.name][0])) for one in boxes]
    for one in boxes:
        one.control("k")
    for one, pid in zip(boxes, pids):
        assert alive(one.wait_new_pid(pid))
        warned = one.wait_warning("restart script")
        assert re.search(rf"^\[WARNING\] .*{scripts[one.name][1]}", warned, re.MULTILINE), warned


def test_no_restart_script_runs_when_nothing_is_restarted(box: Box) -> None:
    name = script(box, "script", "echo >>said\n")
    box.start("sleep", "1000", options=("-r", name))
    box.control("d")
    box.wait_down()
    box.control("o")
    pid = box.wait_new_pid(0)
    box.control("k")
    box.wait_down()
    box.control("x")
    box.wait_gone()
    assert not alive(pid)
    assert not (box.folder / "said").exists()


# Giving up.


def test_max_tries_counts_exits_and_signals_and_starts_that_fail(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 2\n")
    boxes = exiting, failing, killed = others(box, "exiting failing killed")
    exiting.start("sh", "-c", SAY_START + "; exit 1")
    shutil.copy("/bin/sleep", box.folder / "program")
    pid = failing.start("./program", "1000")
    (box.folder / "program").unlink()
    os.kill(pid, signal.SIGKILL)
    pid = killed.start("sh", "-c", SAY_START + "; exec sleep 1000")
    for number in (signal.SIGKILL, signal.SIGSEGV):
        os.kill(pid, number)
        pid = killed.wait_new_pid(pid)
    wait_starts(killed, 3)
    killed.control("t")
    for one in boxes:
        one.wait_gone()
        fatal = [line for line in one.warnings.splitlines() if line.startswith("[FATAL] ")]
        assert len(fatal) == 1
        assert "giving up after 2 restarts" in fatal[0]
        assert (one.pid, one.record.want) == (0, "up")
        with pytest.raises(OSError):
            os.open(one.status / "ok", os.O_WRONLY | os.O_NONBLOCK)
    for one in (exiting, killed):
        assert len(starts(one)) == 3
        assert_a_second_apart(starts(one))
    assert failing.warnings.count("could not be started") == 2
    for text in ("killed by signal 9 (KILL)", "killed by signal 11 (SEGV)", "killed by signal 15 (TERM)"):
        assert text in killed.log()
    # Nothing is in the way of another.
    assert alive(exiting.start("sleep", "1000"))


def test_exits_are_not_counted_while_alarms_are_off(box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    pid = box.start("sleep", "1000")
    box.control("sk")
    pid = box.wait_new_pid(pid)
    box.control("nk")
    pid = box.wait_new_pid(pid)
    assert box.warnings == ""
    box.control("t")
    box.wait_gone()
    assert "giving up after 1 restarts" in box.warnings


# Core dumps.


@pytest.fixture
def core_dumps(tmp_path: Path) -> str:
    """Words for sh that end a service with a core dump."""
    words = "ulimit -c unlimited; kill -ABRT $$"
    place = tmp_path / "try"
    place.mkdir()
    ended = subprocess.Popen(["/bin/sh", "-c", words], cwd=place, stderr=subprocess.DEVNULL)
    _, status = os.waitpid(ended.pid, 0)
    ended.returncode = status
    if not os.WCOREDUMP(status):
        pytest.skip("no core is dumped here: see ulimit -Hc and /proc/sys/kernel/core_pattern")
    return words


def test_max_tries_if_coredumped(box: Box, core_dumps: str) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries_if_coredumped : 2\n[b]\nmax_tries_if_coredumped : 1\n")
    boxes = a, b = others(box, "a b")
    # Each in a directory of its own: two that are dumped into one file at a time are none.
    a.start("sh", "-c", f"{SAY_START}; mkdir -p in-a; cd in-a; {core_dumps}")
    # The first of these leaves none, and so does not count.
    first_without = f"if [ -e said ]; then {core_dumps}; else :>said; ulimit -c 0; kill -ABRT $$; fi"
    b.start("sh", "-c", f"{SAY_START}; mkdir -p in-b; cd in-b; {first_without}")
    for one, cores in ((a, [True, True]), (b, [False, True])):
        one.wait_gone()
        ends = [line for line in one.log().splitlines() if "killed by signal 6 (ABRT)" in line]
        assert ["core dumped" in line for line in ends] == cores
        assert re.search(r"^\[FATAL\] .*giving up after 1 restarts", one.warnings, re.MULTILINE)
    for one in boxes:
        assert len(starts(one)) == 2
        assert one.pid == 0


# The record.


def test_the_record_is_never_seen_torn(box: Box) -> None:
    box.start("sh", "-c", SAY_START + "; exec sleep 1000")
    path = box.status / "status"
    over = threading.Event()
    wrong: list[str] = []
    found: set[bytes] = set()

    def read() -> None:
        while not over.is_set():
            data = b""
            try:
                data = path.read_bytes()
                decode(data)
                found.add(data)
            except (OSError, ValueError) as why:
                wrong.append(f"{why}: {data!r}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()

    def storm() -> bool:
        for letter in b"pscn" * 10 + b"k":
            box.write_control(bytes((letter,)))
        return len(starts(box)) >= 3 and len(found) > 10

    try:
        wait_for("three starts, and more records than that", storm)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert not wrong, wrong[:3]
