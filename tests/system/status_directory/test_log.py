"""The logs: one line of the documented form for everything that happens, in the right file, come what may."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import time
from pathlib import Path

import pytest
from conftest import Box, wait_for
from watched import policy, wait_watching

LINE = re.compile(r"^\[(NOTICE|WARNING|FATAL)\] (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) .+$")
FILES = {"supervise.log": ("NOTICE",), "supervise.log.wf": ("WARNING", "FATAL")}


def lines(box: Box) -> list[str]:
    """Every line of both logs, without its time; each must be of the documented form and in the right file."""
    found = []
    for name, severities in FILES.items():
        path = box.status / name
        data = path.read_bytes() if path.exists() else b""
        assert data == b"" or data.endswith(b"\n")
        # Split as a terminal and grep(1) do, not at every character that Unicode takes for the end of a line.
        for line in data.decode().split("\n")[:-1]:
            match = LINE.match(line)
            assert match, line
            assert match[1] in severities, f"{line!r} in {name}"
            assert line.isprintable(), repr(line)
            assert abs(time.time() - time.mktime(time.strptime(match[2], "%Y-%m-%d %H:%M:%S"))) < 3700, line
            found.append(line.replace(f" {match[2]} ", " "))
    return found


def logged(box: Box, pattern: str, count: int = 1) -> None:
    """Wait until so many lines are exactly that, never more."""
    wait_for(f"{pattern!r} in the logs", lambda: sum(bool(re.fullmatch(pattern, line)) for line in lines(box)) >= count)
    assert sum(bool(re.fullmatch(pattern, line)) for line in lines(box)) == count


# What is logged.


def started(box: Box) -> list[int]:
    """The pids of the service so far, as the log has them."""
    return [int(pid) for pid in re.findall(r"^\[NOTICE\] service started \(pid (\d+)\)$", "\n".join(lines(box)), re.M)]


def test_start_exit_and_restart(box: Box) -> None:
    box.start("sh", "-c", "test -e ended && exec sleep 1000; touch ended; exit 3")
    first, second = wait_for("two starts", lambda: started(box) if len(started(box)) > 1 else [])
    logged(box, rf"\[NOTICE\] service exited with status 3 \(pid {first}, up \d+\.\d seconds\)")
    os.kill(second, signal.SIGKILL)
    logged(box, rf"\[NOTICE\] service was killed by signal 9 \(KILL\) \(pid {second}, up \d+\.\d seconds\)")
    logged(box, r"\[NOTICE\] service started \(pid \d+\)", 3)
    assert started(box)[2] == box.pid
    assert box.warnings == ""


def test_a_core(box: Box) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 and os.geteuid() != 0:
        pytest.skip("core dumps are forbidden here (ulimit -H -c is 0)")
    box.start("sh", "-c", "test -e ended && exec sleep 1000; touch ended; ulimit -c unlimited; kill -ABRT $$")
    logged(box, r"\[NOTICE\] service was killed by signal 6 \(ABRT\), core dumped \(pid \d+, up \d+\.\d seconds\)")


def test_every_letter(box: Box) -> None:
    box.start("sh", "-c", "trap '' TERM HUP ALRM INT QUIT USR1 USR2 WINCH; echo ready; exec sleep 1000")
    box.wait_stdout("ready")
    pid = box.pid
    signals = {"t": "TERM", "h": "HUP", "a": "ALRM", "i": "INT", "q": "QUIT", "1": "USR1", "2": "USR2", "w": "WINCH"}
    box.control("".join(signals) + "pcsnruox+t")
    for letter, name in signals.items():
        logged(box, rf"\[NOTICE\] command {letter}: send {name} to the service \(pid {pid}\)")
    logged(box, rf"\[NOTICE\] command t: send TERM to the process group of the service \(pid {pid}\)")
    for letter in "pcsnruox":
        logged(box, rf"\[NOTICE\] command {letter}: .+")
    box.control("k")
    logged(box, rf"\[NOTICE\] command k: send KILL to the service \(pid {pid}\)")
    box.wait_gone()
    logged(box, r"\[NOTICE\] service was killed by signal 9 .*as asked\)")
    logged(box, r"\[NOTICE\] supervise ends")
    assert box.warnings == ""


def test_planned_ends(box: Box) -> None:
    pid = box.start("sleep", "1000")
    box.control("R")
    logged(box, rf"\[NOTICE\] command R: restart the service \(pid {pid}\)")
    logged(box, rf"\[NOTICE\] service was killed by signal 15 \(TERM\) \(pid {pid}, up \d+\.\d seconds, as asked\)")
    pid = box.wait_new_pid(pid)
    box.control("d")
    logged(box, rf"\[NOTICE\] command d: stop the service \(pid {pid}\)")
    box.wait_down()
    box.control("d")
    logged(box, r"\[NOTICE\] command d: .*", 2)


def test_signals_to_supervise(box: Box) -> None:
    box.start("sleep", "1000")
    os.kill(box.supervisor, signal.SIGHUP)
    logged(box, r"\[NOTICE\] received HUP")
    os.kill(box.supervisor, signal.SIGTERM)
    logged(box, r"\[NOTICE\] received TERM")
    box.wait_gone()
    logged(box, r"\[NOTICE\] command d: .*")
    logged(box, r"\[NOTICE\] command x: .*")


def test_what_the_configuration_means(box: Box) -> None:
    """At the start, and after each reload."""
    box.conf(policy(5) + "alarm_mail : a@example.org b@example.org\n")
    box.start("sleep", "1000")
    wait_watching(box)
    meaning = r"\[NOTICE\] configuration supervise\.conf: alarm_interval 60, alarm_mail {}, alarm_gsm {}, "
    tail = "max_tries {}, max_tries_if_coredumped 0"
    logged(box, meaning.format("a@example.org b@example.org", r"\(empty\)") + tail.format(5))
    box.conf(policy(6) + "alarm_gsm : 123 oncall\n")
    logged(box, meaning.format(r"\(empty\)", "123 oncall") + tail.format(6))
    box.conf("[global]\nmax_tries : 5\n")
    logged(box, r"\[NOTICE\] configuration supervise\.conf: no policy: alarm_interval is 0, .*")
    box.conf("[global]\nmax_tryes : 5\n")
    logged(box, r"\[WARNING\] supervise\.conf:2: unknown key 'max_tryes': probably a typo")


def test_refused_letters(box: Box) -> None:
    """What means nothing, and what cannot be obeyed."""
    box.start("sleep", "1000")
    box.control("yZ!")
    logged(box, r"\[WARNING\] ignored 3 unknown bytes in control: 'yZ!'")
    box.control("d")
    box.wait_down()
    box.control("tpc")
    for letter in "tpc":
        logged(box, rf"\[NOTICE\] command {letter}: the service is not running")


def test_refused_starts(box: Box) -> None:
    """A start that fails where a service has run before is in its log; one that is no more possible later, too."""
    program = box.folder / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    pid = box.start("./program")
    program.unlink()
    os.kill(pid, signal.SIGKILL)
    wait_for("a failed restart", lambda: any("could not be started" in line for line in lines(box)))
    assert any(re.fullmatch(r"\[WARNING\] service could not be started: .*program.*", line) for line in lines(box))
    box.control("x")
    box.wait_gone()
    done = box.run("-u", "status/app", "./program")
    assert done.returncode == 111
    assert any(re.fullmatch(r"\[FATAL\] .*\./program.*", line) for line in lines(box))


def test_giving_up(box: Box) -> None:
    box.conf(policy(1))
    box.start("sh", "-c", "exit 3")
    box.wait_gone()
    logged(box, r"\[FATAL\] giving up after 1 restarts within 60 seconds")
    logged(box, r"\[NOTICE\] supervise ends")


def test_the_restart_script(box: Box) -> None:
    pid = box.start("sleep", "1000", options=("-r", "sh -c 'exit 4'"))
    box.control("k")
    box.wait_new_pid(pid)
    logged(box, r"\[NOTICE\] restart script started \(pid \d+\), exits: 1")
    logged(box, r"\[WARNING\] restart script exited with status 4")


# What cannot break a line.

EVIL = "x\n[FATAL] 2026-01-01 00:00:00 forged\r\x1b[2J\x07\x7f\x85\u2028\u2029\u202e\x0b\x0c"


def forged(box: Box) -> bool:
    return any(line.startswith("[FATAL] forged") for line in lines(box))


def test_control_characters_in_a_command(box: Box) -> None:
    name = EVIL.replace("/", "_")
    program = box.folder / name
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    pid = box.start(f"./{name}", EVIL)
    program.unlink()
    os.kill(pid, signal.SIGKILL)
    wait_for("a failed restart", lambda: any("could not be started" in line for line in lines(box)))
    assert not forged(box)
    box.control("x")
    box.wait_gone()
    done = box.run("-u", "status/app", f"./{name}")
    assert done.returncode == 111
    assert done.stderr.startswith("supervise: fatal: ") and done.stderr[:-1].isprintable()
    assert not forged(box) and any(line.startswith("[FATAL]") for line in lines(box))


def test_control_characters_in_the_fifo(box: Box) -> None:
    box.start("sleep", "1000")
    box.write_control(b"\x1b[31m\xc2\x85\xe2\x80\xa8\x07\x00\xff\x0b\x0c\n")
    wait_for("a warning", lambda: any("unknown bytes" in line for line in lines(box)))
    assert not forged(box)


@pytest.mark.parametrize("named", [False, True], ids=["default name", "evil name"])
def test_control_characters_in_a_configuration(box: Box, named: bool) -> None:
    text = f"[{EVIL}]\n[app]\nalarm_interval : 60\n".encode()
    for key in ("alarm_mail", "alarm_gsm", "max_tries", "\x1b[2J", "\u2028x"):
        text += f"{key} : a\x1b[31m\r\x07\x85\u2028b\x7f\n".encode() + key.encode() + b" : \xff\xfe\xed\xa0\x80\n"
    path = box.folder / (f"{EVIL}.conf" if named else "supervise.conf")
    path.write_bytes(text)
    box.start("sleep", "1000", options=("-F", path.name) if named else ())
    wait_watching(box)
    assert len([line for line in lines(box) if line.startswith("[WARNING]")]) > 5
    assert not forged(box)
    path.write_bytes(text + b"max_tries : 4\n")
    box.wait_log("max_tries 4,")
    path.unlink()
    box.wait_warning("is absent: no policy")
    assert not forged(box)


def test_control_characters_in_a_name(box: Box) -> None:
    strange = Box(box.folder, EVIL)
    strange.env = box.env
    box.conf("[global]\nalarm_interval : 60\nalarm_mail : a@example.org\n")
    scripts = box.folder / "bin"
    scripts.mkdir()
    (scripts / "mail").write_text("#!/bin/sh\nexit 0\n")
    (scripts / "mail").chmod(0o755)
    box.env["PATH"] = f"{scripts}:{box.env['PATH']}"
    pid = strange.start("sleep", "1000")
    os.kill(pid, signal.SIGKILL)
    strange.wait_log("handed over")
    assert any("alarm: " in line for line in lines(strange))
    assert not forged(strange)


def test_lines_longer_than_a_pipe_takes(box: Box) -> None:
    """The copy of the log on standard error consists of lines, however long they are."""
    deep = Path(*["\x01" * 250] * 6)
    (box.folder / deep).mkdir(parents=True)
    process = box.foreground("sleep", "1000", options=("-F", str(deep / "supervise.conf")))
    wait_for("the first line", lambda: "service started" in box.log())
    box.control("dx")
    box.wait_gone()
    assert process.stderr
    said = process.stderr.read().decode()
    assert said.endswith("\n")
    for line in said.split("\n")[:-1]:
        assert line.count("[") == 1 and LINE.match(line), f"...{line[-100:]}"
    lines(box)


# What may happen to the files.


def test_rotation_by_rename(box: Box) -> None:
    box.start("sleep", "1000")
    box.control("Zs")
    box.wait_warning("unknown")
    box.wait_log("command s")
    kept = {}
    for name in FILES:
        (box.status / name).rename(box.status / f"{name}.1")
        kept[name] = (box.status / f"{name}.1").read_bytes()
    box.control("nY")
    box.wait_log("command n")
    box.wait_warning("'Y'")
    lines(box)
    assert "command s" not in box.log() and "'Z'" not in box.warnings
    for name, content in kept.items():
        assert (box.status / f"{name}.1").read_bytes() == content


def test_rotation_by_copying(box: Box) -> None:
    """What logrotate calls copytruncate: no hole is left where the old lines were."""
    box.start("sleep", "1000")
    box.wait_log("service started")
    os.truncate(box.status / "supervise.log", 0)
    box.control("s")
    box.wait_log("command s")
    assert [line.split(":")[0] for line in lines(box)] == ["[NOTICE] command s"]


def test_logs_that_are_removed(box: Box) -> None:
    box.start("sleep", "1000")
    box.wait_log("service started")
    (box.status / "supervise.log").unlink()
    box.control("s")
    box.wait_log("command s")
    assert "service started" not in box.log()


@pytest.mark.parametrize("when", ["before", "while it runs"])
def test_planted_symlinks(box: Box, when: str) -> None:
    """They are not followed, and the service is run, restarted and obeyed all the same."""
    target = box.folder / "precious"
    target.write_text("precious\n")

    def plant() -> None:
        for name in (*FILES, "status", "status.new"):
            (box.status / name).unlink(missing_ok=True)
            (box.status / name).symlink_to(target)

    if when == "before":
        box.status.mkdir(parents=True)
        plant()
    pid = box.start("sleep", "1000")
    if when != "before":
        plant()
    box.control("Z")
    os.kill(pid, signal.SIGKILL)
    wait_for("the record to be a file again", lambda: not (box.status / "status").is_symlink())
    box.wait_new_pid(pid)
    assert not (box.status / "status.new").is_symlink()
    for name in FILES:
        assert (box.status / name).is_symlink()
        (box.status / name).unlink()
    box.control("Zd")
    box.wait_down()
    box.wait_log("command d")
    box.wait_warning("unknown")
    lines(box)
    assert target.read_text() == "precious\n"


@pytest.mark.parametrize("kinds", [("directory", "FIFO"), ("FIFO", "dangling symlink"), ("socket", "directory")])
def test_logs_that_are_no_files(box: Box, kinds: tuple[str, str]) -> None:
    box.status.mkdir(parents=True)
    for name, kind in zip(FILES, kinds):
        if kind == "directory":
            (box.status / name).mkdir()
        elif kind == "dangling symlink":
            (box.status / name).symlink_to(box.folder / "made-through-it")
        else:
            os.mknod(box.status / name, 0o600 | (stat.S_IFIFO if kind == "FIFO" else stat.S_IFSOCK))
    box.start("sleep", "1000")
    box.control("Z")
    box.control("d")
    box.wait_down()
    box.control("x")
    box.wait_gone()
    assert not (box.folder / "made-through-it").exists()
