"""A service that hangs: it is found out, leaves its stacks or a core, is counted, alarmed and started again."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

import pytest
from conftest import Box, alive, wait_for
from heirs import state
from mailers import POLICY, is_alarm, record, recorded
from speaking import Speaker, ignoring, wait_until

HUNG = "hung: no WATCHDOG=1 for 1 seconds"

# Works, and then two threads wait for each other's lock; but not a second time.
DEADLOCK = """
import faulthandler, os, threading, time
from supervise.notify import alive, ready, status
faulthandler.enable()
one, other = threading.Lock(), threading.Lock()
both = threading.Barrier(2)

def take_one_then_the_other():
    with one:
        both.wait()
        with other:
            pass

def take_the_other_then_one():
    with other:
        both.wait()
        with one:
            pass

ready()
if os.path.exists("again"):
    status("works again")
    while True:
        alive()
        time.sleep(0.1)
open("again", "w").close()
thread = threading.Thread(target=take_one_then_the_other)
thread.start()
take_the_other_then_one()
"""


def ended(speaker: Speaker) -> dict[str, object]:
    """Wait for the first end of a service that is not restarted; its last_exit."""
    speaker.wait_state(machine="idle")
    found = speaker.state("last_exit")
    assert isinstance(found, dict)
    return found


# Found out by the watchdog.


def test_a_deadlock(box: Box) -> None:
    """Stacks of both threads, one count, one mail, another process."""
    record(box, "mail")
    box.conf(POLICY + "notify : yes\nwatchdog_secs : 3\n")
    pid = box.start(sys.executable, "-c", DEADLOCK)
    hung = "hung: no WATCHDOG=1 for 3 seconds"
    box.wait_warning(f"service (pid {pid}) {hung}: sending ABRT")
    again = box.wait_new_pid(pid)
    box.wait_log("through mail: handed over")
    how = rf"was killed by signal 6 \(ABRT\)(, core dumped)?, ended by supervise: {hung}"
    assert re.search(rf"service {how} \(pid {pid}, up \d+\.\d seconds\)$", box.log(), re.MULTILINE)
    stacks = box.log("__stderr")
    assert stacks.startswith("Fatal Python error: Aborted\n")
    assert stacks.count("hread 0x") == 2
    for function in ("take_one_then_the_other", "take_the_other_then_one"):
        assert f"in {function}" in stacks
    (arguments,) = recorded(box, "mail")
    assert is_alarm(arguments[1], "hung!")
    assert re.search(rf"^Service app {how}; it is being restarted\.$", arguments[-1], re.MULTILINE)
    wait_for("the next to work", lambda: state(box)["status_text"] == "works again")
    found = state(box)
    assert (found["phase"], found["totals"]["hangs"], found["totals"]["crashes"]) == ("ready", 1, 1)
    assert found["last_exit"]["fault"] == hung
    wait_until("the time of the next", time.monotonic() + 3.5)
    assert box.pid == again


def test_one_that_does_not_end_by_it_is_killed(speaker: Speaker) -> None:
    box = speaker.box
    speaker.command = ignoring("ABRT", speaker.command)
    pid = speaker.start("watchdog_secs : 1\nautorestart : never")
    speaker.wait_state(machine="aborting", fault=HUNG, fault_kind="hung")
    assert f", being ended: {HUNG}, 0 restarts, 1 hang" in speaker.svstat()
    box.wait_warning(f"service (pid {pid}) does not end: sending KILL")
    last = ended(speaker)
    assert (last["signal"], last["fault"], last["fault_kind"], last["planned"]) == (9, HUNG, "hung", False)
    assert float(str(last["uptime"])) >= 1 + 5
    assert f"was killed by signal 9 (KILL), ended by supervise: {HUNG}" in speaker.svstat()
    assert not alive(pid)


@pytest.mark.parametrize("name", ["USR1", "SIGQUIT", "2"])
def test_another_signal(speaker: Speaker, name: str) -> None:
    """Of which the service may make what it likes; that it hung is known all the same."""
    box = speaker.box
    speaker.start(f"watchdog_secs : 60\nwatchdog_signal : {name}\nautorestart : never")
    for one in ("USR1", "QUIT", "INT"):
        speaker.ask(f"on({one!r}, lambda: (print('got {one}', flush=True), os._exit(7)))")
    speaker.tell("send('WATCHDOG=trigger')")
    last = ended(speaker)
    assert (last["code"], last["signal"], last["fault"]) == (7, None, "hung: it sent WATCHDOG=trigger")
    said = {"USR1": "USR1", "SIGQUIT": "QUIT", "2": "INT"}[name]
    assert f"got {said}\n" in box.stdout()
    assert speaker.state("totals")["hangs"] == 1


def test_a_hang_is_no_crash_if_it_was_stopped_anyway(speaker: Speaker) -> None:
    """`d` while it is being ended: planned, but it gets no more time by that."""
    box = speaker.box
    speaker.command = ignoring("ABRT TERM", speaker.command)
    pid = speaker.start("watchdog_secs : 1")
    speaker.wait_state(machine="aborting")
    box.control("d")
    box.wait_warning(f"service (pid {pid}) did not end in time after it was told to: sending KILL")
    last = ended(speaker)
    assert (last["planned"], last["fault"], last["signal"]) == (True, "did not end in time after it was told to", 9)


def test_giving_up_after_hangs(speaker: Speaker) -> None:
    box = speaker.box
    record(box, "mail")
    speaker.start(f"{POLICY[9:]}watchdog_secs : 1\nmax_tries : 1")
    box.wait_gone()
    box.wait_log("through mail: handed over", 2)
    first, last = sorted(recorded(box, "mail"), key=lambda run: "gave up" in run[1])
    assert is_alarm(first[1], "hung!") and is_alarm(last[1], "gave up after 1 restarts!")
    assert HUNG in first[-1] and HUNG in last[-1]
    assert speaker.state("gave_up", "totals")[1]["hangs"] == 2


# Signs of life.


@pytest.mark.parametrize("who", ["itself", "a child"])
def test_signs_of_life(speaker: Speaker, who: str) -> None:
    """It lives as long as it gives them, and `watchdog_secs` longer."""
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 4\nautorestart : never")
    sending = "keep_sending('WATCHDOG=1', 0.05)"
    speaker.ask(sending if who == "itself" else f"in_child(lambda: ({sending}, time.sleep(60)), wait=False)")
    speaker.say("READY=1")
    wait_until("more time than it has", time.monotonic() + 5)
    assert (box.pid, speaker.state("machine")) == (pid, "running")
    last_sign = speaker.ask("[time.monotonic(), send('WATCHDOG=1')][0]")
    (box.folder / "enough").touch()
    last = ended(speaker)
    assert last["fault"] == "hung: no WATCHDOG=1 for 4 seconds"
    assert speaker.state("started_at") + last["uptime"] >= last_sign + 4 - 0.01


def test_none_is_expected_before_it_is_ready_nor_when_it_stops(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 1\nautorestart : never")
    wait_until("more time than it has", time.monotonic() + 1.5)
    assert (box.pid, speaker.state("phase", "machine")) == (pid, ("starting", "running"))
    speaker.say("STOPPING=1", "WATCHDOG=1")
    wait_until("more time than it has", time.monotonic() + 1.5)
    assert (box.pid, speaker.state("phase", "machine")) == (pid, ("stopping", "running"))
    speaker.say("READY=1")
    assert ended(speaker)["fault"] == HUNG


def test_reloading_is_no_excuse(speaker: Speaker) -> None:
    speaker.start("notify : yes\nwatchdog_secs : 2\nautorestart : never")
    speaker.ask("send('READY=1', 'RELOADING=1')")
    assert ended(speaker)["fault"] == "hung: no WATCHDOG=1 for 2 seconds"


def test_trigger(speaker: Speaker) -> None:
    """It knows itself that it hangs; that needs no watchdog_secs."""
    box = speaker.box
    pid = speaker.start("notify : yes")
    speaker.tell("send('WATCHDOG=trigger')")
    again = box.wait_new_pid(pid)
    speaker.wait_state(machine="running", phase="starting")
    last, totals = speaker.state("last_exit", "totals")
    assert (last["signal"], last["fault"], totals["hangs"]) == (6, "hung: it sent WATCHDOG=trigger", 1)
    assert again == box.pid


def test_another_time_from_the_service(speaker: Speaker) -> None:
    """WATCHDOG_USEC= counts for the process that said it, in its fractions of a second."""
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 60")
    speaker.say("READY=1\nWATCHDOG_USEC=90000000")
    speaker.wait_state(watchdog=90)
    speaker.tell("send('WATCHDOG_USEC=1500000')")
    box.wait_new_pid(pid)
    speaker.wait_state(machine="running", watchdog=60)
    last = speaker.state("last_exit")
    assert last["fault"] == "hung: no WATCHDOG=1 for 1.5 seconds"
    assert last["uptime"] >= 1.5


@pytest.mark.parametrize("usec", [0, 2**64 - 1])
def test_the_service_takes_its_watchdog_off(speaker: Speaker, usec: int) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 1")
    speaker.say(f"WATCHDOG_USEC={usec}\nREADY=1")
    speaker.wait_state(phase="ready", watchdog=None)
    wait_until("more time than it had", time.monotonic() + 1.5)
    assert (box.pid, speaker.state("totals")["hangs"]) == (pid, 0)


def test_one_that_is_paused_is_not_expected_to_give_any(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 60\nautorestart : never")
    # Its child is not paused with it, and has the time made short only then.
    code = "in_child(lambda: ([time.sleep(0.01) for _ in iter(lambda: os.path.exists('now'), True)], "
    child = speaker.ask(f"{code}say('WATCHDOG_USEC=1000000'), signal.pause()), wait=False)")
    speaker.say("READY=1")
    box.control("p")
    wait_for("it to be paused", lambda: box.record.paused)
    (box.folder / "now").touch()
    speaker.wait_state(watchdog=1)
    wait_until("more time than it has", time.monotonic() + 1.5)
    assert (box.pid, speaker.state("machine")) == (pid, "running")
    assert "paused, ready" in speaker.svstat()
    continued = time.monotonic()
    box.control("c")
    last = ended(speaker)
    assert last["fault"] == HUNG
    assert speaker.state("started_at") + last["uptime"] >= continued + 1
    os.kill(child, signal.SIGKILL)


def test_one_that_somebody_else_has_stopped_hangs(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("watchdog_secs : 2\nautorestart : never")
    os.kill(pid, signal.SIGSTOP)
    last = ended(speaker)
    assert (last["signal"], last["fault"]) == (6, "hung: no WATCHDOG=1 for 2 seconds")
    assert "KILL" not in box.warnings


def test_signs_of_life_that_wait_to_be_read_count(speaker: Speaker) -> None:
    """supervise was stopped meanwhile, as it may be on a machine that is suspended or short of memory."""
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 3")
    speaker.say("READY=1")
    os.kill(box.supervisor, signal.SIGSTOP)
    speaker.ask("keep_sending('WATCHDOG=1', 0.2)")  # until there is no room for more, and then it waits
    wait_until("more time than it has", time.monotonic() + 3.5)
    os.kill(box.supervisor, signal.SIGCONT)
    box.control("w")
    box.wait_log("command w")
    assert (box.pid, speaker.state("machine"), box.warnings) == (pid, "running", "")


# supervise.notify in a service.


def test_a_loop_that_kicks(box: Box) -> None:
    """`kick()` tells supervise as well, often enough; when the loop stands still, the process ends by itself."""
    code = (
        "import os, time\n"
        "from supervise.notify import ready, status, watchdog\n"
        "with watchdog(4) as dog:\n"
        "    ready()\n"
        "    status(f'turns of {os.getpid()}')\n"
        "    while not os.path.exists('stand still'):\n"
        "        time.sleep(0.01)\n"
        "        dog.kick()\n"
        "    os.rename('stand still', 'stood still')\n"
        "    time.sleep(1000)\n"
    )
    box.conf("[global]\nnotify : yes\nwatchdog_secs : 4\n")
    pid = box.start(sys.executable, "-c", code)
    wait_for("it to be ready", lambda: state(box)["phase"] == "ready")
    wait_for("its status", lambda: state(box)["status_text"] == f"turns of {pid}")
    wait_until("more time than supervise gives it", time.monotonic() + 6)
    assert (box.pid, state(box)["totals"]["hangs"]) == (pid, 0)
    # Now both find it out at about the same time: one of them ends it.
    (box.folder / "stand still").touch()
    again = box.wait_new_pid(pid)
    wait_for("the next to be ready", lambda: state(box)["phase"] == "ready")
    assert alive(again)
    assert "Timeout (0:00:04" in box.log("__stderr") or state(box)["totals"]["hangs"] == 1


def test_a_function_that_overruns_its_limit(box: Box) -> None:
    """The process prints its stacks and ends with status 1: a crash like others, and a restart."""
    code = (
        "import os, threading\n"
        "from supervise.notify import ready, watchdog\n"
        "lock = threading.Lock()\n"
        "@watchdog(1)\n"
        "def takes_a_lock():\n"
        "    with lock: pass\n"
        "takes_a_lock()\n"
        "ready()\n"
        "if os.path.exists('again'): threading.Event().wait()\n"
        "open('again', 'w').close()\n"
        "lock.acquire()\n"
        "takes_a_lock()\n"
    )
    record(box, "mail")
    box.conf(POLICY + "notify : yes\nwatchdog_secs : 600\n")
    pid = box.start(sys.executable, "-c", code)
    box.wait_log(f"service exited with status 1 (pid {pid}, up ")
    stacks = box.log("__stderr")
    assert stacks.startswith("Timeout (0:00:01")
    assert "in takes_a_lock" in stacks
    box.wait_new_pid(pid)
    wait_for("the next to be ready", lambda: state(box)["phase"] == "ready")
    totals = state(box)["totals"]
    assert (totals["crashes"], totals["hangs"]) == (1, 0)
    box.wait_log("through mail: handed over")
    assert is_alarm(recorded(box, "mail")[0][1], "exited!")


def test_an_extended_start_told_by_supervise_notify(box: Box) -> None:
    code = (
        "import os, time\n"
        "from supervise.notify import extend, ready, reloading, stopping\n"
        "extend(600)\n"
        "while not os.path.exists('ready'): time.sleep(0.01)\n"
        "ready(); reloading()\n"
        "while not os.path.exists('stop'): time.sleep(0.01)\n"
        "ready(); stopping()\n"
        "time.sleep(1000)\n"
    )
    box.conf("[global]\nnotify : yes\nstarttimeoutsecs : 4\n")
    pid = box.start(sys.executable, "-c", code)
    wait_until("more time than it has", time.monotonic() + 4.5)
    (box.folder / "ready").touch()
    wait_for("it to reload", lambda: state(box)["phase"] == "reloading")
    (box.folder / "stop").touch()
    wait_for("it to stop", lambda: state(box)["phase"] == "stopping")
    assert box.pid == pid
    assert box.warnings == ""
