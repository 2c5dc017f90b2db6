"""supervise.notify, what it watches: real processes that hang, and others that only look so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE

from supervise import notify

HEAD = f"""
import os, sys, threading, time
sys.path.insert(0, {str(Path(notify.__file__).parents[1])!r})
from supervise.notify import watchdog
"""


def run(folder: Path, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    program = folder / "program.py"
    program.write_text(HEAD + code)
    # Python 3.12 and later warn of forks beside other threads, also beside one that was not there at the fork.
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(program)],
        env={**{name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        except ProcessLookupError:
            pass
        process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def ends_by_watchdog(folder: Path, code: str, *where: str, says: str = "", **env: str) -> str:
    """Run a program that must hang, and have these functions on a thread's stack; what is on stderr."""
    done = run(folder, code, **env)
    assert (done.returncode, done.stdout) == (1, says), done.stderr
    assert done.stderr.startswith("Timeout (0:00:0"), done.stderr
    for name in where:
        assert f" in {name}\n" in done.stderr
    return done.stderr


def goes_well(folder: Path, code: str, says: str = "well\n", **env: str) -> None:
    """Run a program that must not hang, nor say anything else."""
    done = run(folder, code, **env)
    assert (done.returncode, done.stdout, done.stderr) == (0, says, "")


# Hangs.

LOCK = "lock = threading.Lock(); lock.acquire(); lock.acquire()"
SLEEP = "time.sleep(100)"
BUSY = "while True: pass"
WITHOUT_GIL = "import ctypes; ctypes.CDLL(None).sleep(100)"
WITH_GIL = "import ctypes; ctypes.PyDLL(None).sleep(100)"
READ = "os.read(os.pipe()[0], 1)"


@pytest.mark.parametrize("hang", [LOCK, SLEEP, BUSY, WITHOUT_GIL, WITH_GIL, READ])
def test_a_function_that_hangs(tmp_path: Path, hang: str) -> None:
    before = time.monotonic()
    code = f"@watchdog(1)\ndef work():\n    {hang}\ndef main():\n    work()\nmain()"
    ends_by_watchdog(tmp_path, code, "work", "main", "<module>")
    assert time.monotonic() - before >= 1


@pytest.mark.parametrize("hang", [LOCK, BUSY, WITH_GIL])
def test_a_loop_that_hangs(tmp_path: Path, hang: str) -> None:
    code = f"""
def turn(number):
    if number == 15:
        {hang}
    time.sleep(0.1)
began = time.monotonic()
with watchdog(1) as dog:
    for number in range(20):
        turn(number)
        dog.kick()
        if number == 14:
            print(time.monotonic() - began > dog.timeout, flush=True)
"""
    ends_by_watchdog(tmp_path, code, "turn", "<module>", says="True\n")


def test_every_thread_is_shown(tmp_path: Path) -> None:
    code = """
started = threading.Barrier(4)
def waiter():
    started.wait()
    threading.Event().wait()
def reader():
    started.wait()
    os.read(os.pipe()[0], 1)
def culprit():
    lock = threading.Lock()
    started.wait()
    with watchdog(1), lock, lock:
        pass
for target in (waiter, reader, culprit):
    threading.Thread(target=target).start()
def main():
    started.wait()
    threading.Event().wait()
main()
"""
    stacks = ends_by_watchdog(tmp_path, code, "waiter", "reader", "culprit", "main")
    assert stacks.count("(most recent call first)") == 4


def test_a_hang_while_others_kick(tmp_path: Path) -> None:
    code = """
def busy():
    with watchdog(20) as dog:
        while True:
            time.sleep(0.01)
            dog.kick()
@watchdog(1)
def hung():
    threading.Event().wait()
for target in (busy, busy, hung, busy):
    threading.Thread(target=target).start()
"""
    ends_by_watchdog(tmp_path, code, "busy", "hung")


@pytest.mark.parametrize(("outer", "inner"), [(1, 50), (50, 1)])
def test_the_shorter_of_two(tmp_path: Path, outer: int, inner: int) -> None:
    code = f"with watchdog({outer}):\n    with watchdog({inner}):\n        {SLEEP}"
    ends_by_watchdog(tmp_path, code)


def test_what_is_inside_does_not_prolong_what_is_outside(tmp_path: Path) -> None:
    code = """
@watchdog(50)
def inner():
    time.sleep(0.01)
with watchdog(1):
    with watchdog(40) as dog:
        while True:
            inner()
            dog.kick()
"""
    ends_by_watchdog(tmp_path, code)


def test_a_recursion_that_hangs(tmp_path: Path) -> None:
    code = """
@watchdog(1)
def deeper(depth):
    if depth == 0:
        threading.Event().wait()
    deeper(depth - 1)
deeper(10)
"""
    assert ends_by_watchdog(tmp_path, code).count(" in deeper\n") == 11


@pytest.mark.parametrize(
    "stderr",
    [
        "import io; sys.stderr = io.StringIO()",
        "sys.stderr = None",
        "sys.stderr = sys.stdout",
        "sys.stderr = open(os.dup(2), 'w'); sys.stderr.close()",
    ],
)
def test_the_stacks_go_to_descriptor_2(tmp_path: Path, stderr: str) -> None:
    ends_by_watchdog(tmp_path, f"{stderr}\nwith watchdog(0.5):\n    {SLEEP}", "<module>")


def test_no_stderr_at_all(tmp_path: Path) -> None:
    done = run(tmp_path, f"os.close(2)\nwith watchdog(0.5):\n    {SLEEP}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


# What is no hang.


def test_it_ends_with_what_it_watches(tmp_path: Path) -> None:
    code = """
@watchdog(1)
def adds(a, *, b=2):
    return a + b
@watchdog(1)
def fails():
    raise ValueError("on purpose")
assert adds(1, b=3) == 4 and adds(1) == 3
try:
    fails()
except ValueError as why:
    assert str(why) == "on purpose"
with watchdog(1) as dog:
    dog.kick()
with watchdog(1), watchdog(0.9):
    dog = watchdog(1)
    for _ in range(2):
        with dog:
            adds(3)
            dog.kick()
try:
    with watchdog(1):
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
time.sleep(1.5)
assert len(os.listdir("/proc/self/task")) == 1
print("well")
"""
    goes_well(tmp_path, code)


def test_kicking_prolongs(tmp_path: Path) -> None:
    code = """
with watchdog(1) as dog, watchdog(30) as other:
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        time.sleep(0.01)
        dog.kick()
        other.kick()
print("well")
"""
    goes_well(tmp_path, code)


def test_another_thread_may_kick(tmp_path: Path) -> None:
    code = """
def kicks():
    for _ in range(100):
        time.sleep(0.02)
        dog.kick()
with watchdog(1) as dog:
    thread = threading.Thread(target=kicks)
    thread.start()
    thread.join()
print("well")
"""
    goes_well(tmp_path, code)


def test_many_threads_at_once(tmp_path: Path) -> None:
    code = """
sys.setswitchinterval(1e-5)
@watchdog(20)
def call():
    pass
def works():
    for number in range(300):
        call()
        with watchdog(15 + number % 7) as dog:
            for _ in range(number % 5):
                dog.kick()
                call()
threads = [threading.Thread(target=works) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
from supervise import notify
assert not notify._running and notify._armed is None
print("well")
"""
    goes_well(tmp_path, code)


# Mistakes.


@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan"), float("inf"), -float("inf"), 10**400])
def test_no_such_time(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"watchdog\(\) takes a number of seconds above 0 and at most 1000000000, not"):
        notify.watchdog(timeout)


@pytest.mark.parametrize("timeout", [None, "3", b"3", True, [3], 3j])
def test_no_number(timeout: object) -> None:
    with pytest.raises(TypeError, match=r"watchdog\(\) takes a number of seconds, not "):
        notify.watchdog(timeout)  # type: ignore[arg-type]


def test_without_a_number() -> None:
    with pytest.raises(TypeError, match=r"watchdog\(\) takes a number of seconds, not <function"):

        @notify.watchdog  # type: ignore[arg-type]
        def work() -> None: ...


@pytest.mark.parametrize("thing", [None, 3, int, notify.watchdog])
def test_not_a_function(thing: object) -> None:
    with pytest.raises(TypeError, match=r"watchdog\(3\) is for a function, not for"):
        notify.watchdog(3)(thing)  # type: ignore[type-var]


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_above_a_method_kind(kind: type) -> None:
    with pytest.raises(TypeError, match=rf"watchdog\(3\) goes below @{kind.__name__}, not above it"):
        notify.watchdog(3)(kind(print))


def test_two_blocks_at_once() -> None:
    dog = notify.watchdog(60)
    with dog:
        with pytest.raises(RuntimeError, match=r"watchdog\(60\) is in use already"), dog:
            pass
        dog.kick()
    with dog:
        dog.kick()


def test_kicking_nothing() -> None:
    dog = notify.watchdog(2.5)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"watchdog\(2.5\).kick\(\) outside of `with`"):
            dog.kick()
        with dog:
            dog.kick()


# What supervise is told by kicks.


def test_kicks_do_not_flood(tmp_path: Path) -> None:
    code = """
import socket
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind("\\0" + os.environ["NOTIFY_SOCKET"][1:])
ear.setblocking(False)
def heard():
    found = []
    while True:
        try:
            found.append(ear.recv(100))
        except BlockingIOError:
            return found
def kicks(timeout):
    for _ in range(2000):
        with watchdog(timeout) as dog:
            for _ in range(3):
                dog.kick()
kicks(4000)
assert heard() == [b"WATCHDOG=1"]
kicks(3000)
assert heard() == []
# Where supervise has said how often it wants to be told, that counts.
for usec in ("0", "x", "-5", "9" * 30):
    os.environ["WATCHDOG_USEC"] = usec
    kicks(4000)
    assert heard() == []
os.environ["WATCHDOG_USEC"] = "400000"
began, count = time.monotonic(), 0
with watchdog(4000) as dog:
    while count < 6:
        dog.kick()
        count += len(heard())
assert time.monotonic() - began >= 0.5, "too often"
print("well")
"""
    goes_well(tmp_path, code, NOTIFY_SOCKET=f"@{tmp_path}")


def test_kicks_where_nobody_listens(tmp_path: Path) -> None:
    code = "with watchdog(60) as dog:\n    for _ in range(1000):\n        dog.kick()\nprint('well')"
    goes_well(tmp_path, code)
    goes_well(tmp_path, code, NOTIFY_SOCKET="/nowhere/notify", WATCHDOG_USEC="1")
