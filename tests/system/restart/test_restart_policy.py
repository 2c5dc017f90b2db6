"""Whether a service that has ended is started again, and when."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, rounds, wait_for
from heirs import edit_state, kill_supervise, state, succeed, wait_state
from mailers import is_alarm, record, recorded
from system import children
from test_restart import SAY_START, TICKS, wait_starts

ALARMS = "alarm_interval : 3600\nalarm_mail : a@example.org\n"
MANY = 100000  # seconds that no test takes


def named(box: Box, names: str, conf: str) -> list[Box]:
    """Boxes beside each other in one folder, with one configuration."""
    box.conf(conf)
    return [Box(box.folder, name) for name in names.split()]


def once(words: str, name: str = "over") -> tuple[str, ...]:
    """A service that ends as the words say, and stays when it is started again."""
    return ("sh", "-c", f"[ -e {name} ] && exec sleep 86399; :>{name}; {words}")


def assert_not_restarted(box: Box, policy: str) -> None:
    """It is down, supervise is not, and nothing else has changed."""
    box.wait_log(f"service is not restarted: autorestart is {policy}")
    wait_state(box, machine="idle", deadline_at=None, wanted="up", service=None)
    assert (box.pid, box.record.want, box.record.alarms) == (0, "up", True)
    assert box.log().count("service started") == 1
    assert box.supervisor


# Whether.


@pytest.mark.parametrize("value", ["", "always", "true", "Yes", "1"])
def test_always(box: Box, value: str) -> None:
    for one in named(box, "zero one killed", f"[global]\nautorestart : {value}\nexitcodes : 0, 1\n"):
        end = {"zero": "exit 0", "one": "exit 1", "killed": "kill -9 $$"}[one.name]
        one.run("-u", f"status/{one.name}", *once(end, f"over.{one.name}"))
        one.wait_log("service started", 2)
        wait_for("it to be up", lambda one=one: one.pid)
        assert state(one)["totals"]["crashes"] == 1


@pytest.mark.parametrize("value", ["never", "false", "NO", "0"])
def test_never(box: Box, value: str) -> None:
    for one in named(box, "zero one killed", f"[global]\nautorestart : {value}\n"):
        end = {"zero": "exit 0", "one": "exit 1", "killed": "kill -9 $$"}[one.name]
        one.run("-u", f"status/{one.name}", *once(end, f"over.{one.name}"))
        assert_not_restarted(one, "never")
        wait_state(one, quick_exits=1)
        totals = state(one)["totals"]
        assert (totals["expected"], totals["crashes"]) == ((1, 0) if one.name == "zero" else (0, 1))
        one.control("u")
        assert alive(one.wait_new_pid(0))
        assert one.warnings == ""


@pytest.mark.parametrize("codes", ["", "3", "3, 4 255", "0"])
def test_unexpected(box: Box, codes: str) -> None:
    expected = {int(code) for code in codes.replace(",", " ").split()}
    ends = {f"e{code}": f"exit {code}" for code in (0, 1, 3, 4, 255)}
    ends["term"] = "kill -TERM $$"
    for one in named(box, " ".join(ends), f"[global]\nautorestart : unexpected\nexitcodes : {codes}\n"):
        one.run("-u", f"status/{one.name}", *once(ends[one.name], f"over.{one.name}"))
        if one.name[0] == "e" and int(one.name[1:]) in expected:
            assert_not_restarted(one, "unexpected")
            assert state(one)["totals"]["expected"] == 1
        else:
            one.wait_log("service started", 2)
            assert state(one)["totals"]["expected"] == 0


def test_u_starts_it_again_and_again(box: Box) -> None:
    box.conf("[global]\nautorestart : unexpected\n")
    box.start("sh", "-c", SAY_START)
    for count in range(2, 5):
        wait_state(box, machine="idle")
        box.control("u")
        found = wait_starts(box, count)
        assert found[-1] - found[-2] >= TICKS
    box.control("dx")
    box.wait_gone()


@pytest.mark.parametrize("letters", ["R", "du", "d", "o"])
def test_what_is_asked_for_is_no_end(box: Box, letters: str) -> None:
    box.conf("[global]\nautorestart : never\n")
    pid = box.start("sleep", "86399")
    box.control(letters)
    if letters in ("R", "du"):
        assert alive(box.wait_new_pid(pid))
    elif letters == "d":
        box.wait_down()
    else:
        box.control("t")
        box.wait_down()
    box.wait_log(f"(pid {pid}, up ")
    assert "not restarted" not in box.log()


def test_a_start_that_fails(box: Box) -> None:
    box.conf(f"[global]\nautorestart : unexpected\nrestart_delay_max : {MANY}\n")
    program = box.folder / "program"
    shutil.copy("/bin/sleep", program)
    pid = box.start("./program", "86399")
    program.unlink()
    os.kill(pid, signal.SIGKILL)
    box.wait_warning("could not be started", 2)  # that is not expected
    box.conf("[global]\nautorestart : never\n")
    box.control("ru")
    box.wait_log("service is not restarted: autorestart is never")
    wait_state(box, machine="idle")
    assert (box.pid, box.record.want) == (0, "up")
    shutil.copy("/bin/sleep", program)
    box.control("u")
    assert alive(box.wait_new_pid(pid))


def test_a_changed_configuration_takes_effect_at_the_next_exit(box: Box) -> None:
    pid = box.start("sh", "-c", "trap 'exit 4' USR1; echo ready; while :; do sleep 0.01; done")
    for count, (conf, restarted) in enumerate(
        [
            ("autorestart : unexpected\nexitcodes : 4", False),
            ("autorestart : unexpected\nexitcodes : 5", True),
            ("autorestart : never", False),
            ("autorestart : yes", True),
        ],
        1,
    ):
        box.wait_stdout("ready\n", count)
        box.conf(f"[global]\n{conf}\n")
        box.control("r")
        box.wait_log("command r", count)
        assert box.pid == pid
        box.control("1")
        if not restarted:
            wait_state(box, machine="idle")
            box.control("u")
        pid = box.wait_new_pid(pid)


# Alarms.


def alarm_of(box: Box) -> str:
    """The text of the one alarm."""
    (found,) = wait_for("an alarm", lambda: recorded(box, "mail"))
    assert is_alarm(found[1], "exited!")
    return str(found[-1])


def test_expected_exits_are_not_alarmed(box: Box) -> None:
    record(box, "mail")
    box.conf(f"[global]\n{ALARMS}max_tries : 1\nautorestart : unexpected\nexitcodes : 0 3\n")
    box.start("sh", "-c", "echo ready; exit 3")
    for count in range(1, 4):
        wait_for("its end", lambda count=count: state(box)["totals"]["expected"] == count)
        box.control("u")
        box.wait_stdout("ready\n", count + 1)
    wait_for("its end", lambda: state(box)["totals"]["expected"] == 4)
    assert state(box)["window"] == {"opened_at": None, "exits": 0, "cores": 0}
    assert recorded(box, "mail") == []
    assert "alarm:" not in box.log()


@pytest.mark.parametrize("policy", ["unexpected", "never"])
def test_an_unexpected_exit_is_alarmed(box: Box, policy: str) -> None:
    record(box, "mail")
    box.conf(f"[global]\n{ALARMS}autorestart : {policy}\n")
    box.run("-u", "status/app", *once("exit 3"))
    text = alarm_of(box)
    if policy == "never":
        assert "Service app exited with status 3; it is not restarted (autorestart).\n" in text
        assert_not_restarted(box, "never")
    else:
        assert "Service app exited with status 3; it is being restarted.\n" in text
        box.wait_log("service started", 2)
        assert "not restarted" not in box.log()


# When.


def test_delays_grow(box: Box) -> None:
    """From start to start, in ticks; by chance up to a quarter less than twice as long as before."""
    shutil.copy("/bin/sleep", box.folder / "program")
    conf = "[global]\nrestart_delay_max : 4\n[steady]\nrestart_delay : 2\nrestart_delay_max : 1\n"
    boxes = named(box, "growing steady failing long", f"{conf}[long]\nstartsecs : {MANY}\n")
    growing, steady, failing, long = boxes
    for one in (growing, steady):
        one.start("sh", "-c", SAY_START)
    long.start("sh", "-c", SAY_START + "; sleep 1.2")  # longer than restart_delay, but not startsecs
    pid = failing.start("./program", "86399")
    (box.folder / "program").unlink()
    os.kill(pid, signal.SIGKILL)
    tries: list[float] = []

    def tried() -> bool:
        at = state(failing)["started_at"]
        if at not in tries:
            tries.append(at)
        return len(tries) >= 4

    wait_for("three tries more", tried, 2 * PATIENCE)
    for one in (growing, long):
        assert_gaps(wait_starts(one, 4), [1, 1.5, 3])
    assert_gaps(wait_starts(steady, 4), [2, 2, 2])
    assert_gaps([at * TICKS for at in tries], [1, 1.5, 3])
    for one in (growing, failing, long):
        wait_for("the exits in the state", lambda one=one: state(one)["quick_exits"] >= 3)


def assert_gaps(found: Sequence[float], least: list[float]) -> None:
    gaps = [(later - earlier) / TICKS for earlier, later in zip(found, found[1:])]
    assert all(gap >= wanted for gap, wanted in zip(gaps, least)), gaps
    assert all(gap <= wanted + PATIENCE for gap, wanted in zip(gaps, least)), gaps


def test_how_far_they_grow(box: Box) -> None:
    """Far more exits in a row than there is time for; a supervise that is killed does not make a difference."""
    box.conf("[global]\nrestart_delay : 3\nrestart_delay_max : 4000\nstartsecs : 1000\n")
    for quick, least, most in ((0, 3, 3), (3, 18, 24), (9, 1152, 1536), (11, 3000, 4000), (5000, 3000, 4000)):
        pid = box.start("sleep", "86399")
        kill_supervise(box)
        edit_state(box, quick_exits=quick)
        succeed(box, "sleep", "86399")
        os.kill(pid, signal.SIGKILL)
        wait_state(box, machine="delay", quick_exits=quick + 1)
        found = state(box)
        assert least <= found["deadline_at"] - found["started_at"] <= most
        box.control("x")
        box.wait_gone()


def test_the_delays_of_services_that_failed_together_differ(box: Box) -> None:
    boxes = named(box, "a b c d e f", f"[global]\nrestart_delay : 100\nrestart_delay_max : {MANY}\nstartsecs : 600\n")
    found = []
    for one in boxes:
        one.start("sleep", "86399")
        kill_supervise(one)
        edit_state(one, quick_exits=6)
        succeed(one, "sleep", "86399")
        one.control("k")
        wait_state(one, machine="delay")
        found.append(round(state(one)["deadline_at"] - state(one)["started_at"], 6))
    assert len(set(found)) == len(found)
    assert all(4800 <= delay <= 6400 for delay in found)


QUICK = "n=$(cat count 2>/dev/null); echo $((n + 1)) >count; {}; echo ready; exec sleep 86399"


def test_a_service_that_stays_up_is_a_new_one(box: Box) -> None:
    box.conf(f"[global]\nrestart_delay_max : {MANY}\nstartsecs : 2\n")
    pid = box.start("sh", "-c", QUICK.format("[ ${n:-0} -lt 2 ] && exit 1"))
    box.wait_stdout("ready\n")
    wait_state(box, quick_exits=2, machine="running")
    pid = box.pid
    up = time.monotonic() + 2
    wait_for("it to be up for startsecs", lambda: time.monotonic() >= up)
    os.kill(pid, signal.SIGKILL)
    box.wait_stdout("ready\n", 2)
    wait_state(box, quick_exits=0, machine="running")


@pytest.mark.parametrize("letters", ["u", "R", "o", "du", "pu"])
def test_a_letter_ends_the_delay(box: Box, letters: str) -> None:
    box.conf(f"[global]\nrestart_delay : {MANY}\n")
    box.start("sh", "-c", SAY_START)
    for count in range(2, 4):
        wait_for("a long delay", lambda: (state(box)["deadline_at"] or 0) > time.monotonic() + MANY / 2)
        box.control(letters)
        found = wait_starts(box, count)
        assert found[-1] - found[-2] >= TICKS
        if letters == "o":
            wait_state(box, machine="idle", wanted="once")
            return


def test_a_planned_restart_resets_the_delay(box: Box) -> None:
    box.conf(f"[global]\nrestart_delay_max : {MANY}\nstartsecs : {MANY}\n")
    pid = box.start("sleep", "86399")
    for letters, quick in (("k", 1), ("k", 2), ("R", 0), ("k", 1), ("k", 2), ("du", 0)):
        box.control(letters)
        pid = box.wait_new_pid(pid)
        wait_state(box, quick_exits=quick)


def test_u_resets_the_delay(box: Box) -> None:
    box.conf(f"[global]\nrestart_delay : {MANY}\nrestart_delay_max : {9 * MANY}\n")
    box.start("sh", "-c", "echo ready; exit 1")
    for count in range(2, 4):
        wait_for("a long delay", lambda: (state(box)["deadline_at"] or 0) > time.monotonic() + MANY / 2)
        assert (state(box)["machine"], state(box)["quick_exits"]) == ("delay", 1)
        box.control("u")
        box.wait_stdout("ready\n", count)


def test_letters_are_obeyed_during_a_delay(box: Box) -> None:
    box.conf(f"[global]\nrestart_delay : {MANY}\n")
    box.start("sh", "-c", "echo ready; exit 1")
    wait_state(box, machine="delay")
    deadline = state(box)["deadline_at"]
    for letter in "sptkcrn":
        box.control(letter)
        box.wait_log(f"command {letter}: ")
    assert box.log().count("the service is not running") == 4
    box.control("s")
    wait_for("alarms to be off", lambda: not box.record.alarms)
    assert (state(box)["machine"], state(box)["deadline_at"]) == ("delay", deadline)
    box.control("d")
    wait_state(box, machine="idle", wanted="down", deadline_at=None)
    box.control("u")
    box.wait_stdout("ready\n", 2)
    wait_state(box, machine="delay")
    box.control("x")
    box.wait_gone()


@pytest.mark.parametrize("way", ["TERM", "INT", "dx"])
def test_supervise_ends_during_a_delay(box: Box, way: str) -> None:
    box.conf(f"[global]\nrestart_delay : {MANY}\n")
    process = box.foreground("sh", "-c", "exit 1")
    box.wait_log("service exited")
    wait_state(box, machine="delay")
    if way == "dx":
        box.control(way)
    else:
        process.send_signal(getattr(signal, f"SIG{way}"))
    assert process.wait(PATIENCE) == 0


def test_a_shorter_delay_is_for_the_next_exit(box: Box) -> None:
    box.conf(f"[global]\nrestart_delay : {MANY}\n")
    box.start("sh", "-c", "echo ready; exit 1")
    wait_state(box, machine="delay")
    box.conf("[global]\nrestart_delay : 1\n")
    box.control("r")
    box.wait_log("command r")
    assert state(box)["machine"] == "delay"
    box.control("u")
    box.wait_stdout("ready\n", 4)


# Nothing is lost over time.

PYTHON = (sys.executable, "-S", "-E", "-c")
# A service with all that there can be about it; it ends when it is told by a file with its number.
SPEAKS = """
import _socket, os, time
to = os.environ["NOTIFY_SOCKET"]
speaker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
speaker.connect("\\0" + to[1:] if to.startswith("@") else to)
speaker.send(b"READY=1\\nSTATUS=%d" % os.getpid())
open("pid.new", "w").write(f"{os.getpid()}\\n")
os.rename("pid.new", "pid")
if not os.fork():
    while True: time.sleep(86399)
os.write(1, b"ready\\n")
os._exit(3)
"""
ROUNDS = rounds(12, 30)


def test_restarts_leave_no_descriptor_and_no_process(box: Box) -> None:
    conf = {
        "plain": "",
        "backoff": "restart_delay_max : 1\nstartsecs : 9",
        "script": "",
        "everything": "notify : yes\npidfile : pid\nwatchdog_secs : 1000\nkillasgroup : yes\nstopwaitsecs : 5",
        "line": "notification_fd : 7",
        "check": "check_command : true\ncheck_interval : 1",
    }
    command = {
        "everything": (*PYTHON, SPEAKS),
        "line": ("sh", "-c", "echo >&7; echo ready; exit 1"),
        "check": ("sh", "-c", "echo ready; sleep 0.5; exit 1"),
    }
    boxes = named(box, " ".join(conf), "".join(f"[{name}]\n{text}\n" for name, text in conf.items()))
    for one in boxes:
        options = ("-r", "true") if one.name == "script" else ()
        one.start(*command.get(one.name, ("sh", "-c", "echo ready; exit 1")), options=options)
    before = {}
    for one in boxes:
        wait_for("some restarts", lambda one=one: state(one)["totals"]["starts"] >= 4, 2 * PATIENCE)
        before[one] = wait_for("it to wait", lambda one=one: at_rest(one), 2 * PATIENCE)
    for one in boxes:
        wait_for("many restarts", lambda one=one: state(one)["totals"]["starts"] >= ROUNDS, 3 * PATIENCE)
        wait_for("no more descriptors", lambda one=one: at_rest(one) == before[one], PATIENCE)
        wait_for("no process", lambda one=one: children(one.supervisor) == {}, PATIENCE)


def at_rest(box: Box) -> list[str]:
    """What supervise has open while no service runs; nothing, if one runs."""
    folder = Path(f"/proc/{box.supervisor}/fd")
    found = []
    for fd in folder.iterdir():
        try:
            found.append(os.readlink(fd).partition(":")[0])
        except FileNotFoundError:
            return []
    return sorted(found) if state(box)["machine"] == "delay" and box.pid == 0 else []
