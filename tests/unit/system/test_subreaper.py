"""Orphans come to supervise (supervise/system/subreaper.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import supervise

PACKAGE = str(Path(supervise.__file__).parent.parent)

# A child that starts a child and ends: whose is that one then?
ORPHAN = """
import os, sys
sys.path.insert(0, sys.argv[1])
{before}
from supervise.system import subreaper
print(subreaper.become())
reading, writing = os.pipe()
if not os.fork():
    if not os.fork():
        os.close(writing)
        os.read(reading, 1)
        os._exit(7)
    os._exit(0)
os.close(reading)
os.wait()
sys.stdout.flush()
{after}
os.close(writing)
try:
    print(os.waitstatus_to_exitcode(os.wait()[1]))
except ChildProcessError:
    print("not ours")
print(*sorted(name for name in sys.modules if "ctypes" in name))
"""


def run(before: str = "", after: str = "") -> list[str]:
    program = ORPHAN.format(before=before, after=after)
    args = [sys.executable, "-S", "-E", "-c", program, PACKAGE]
    done = subprocess.run(args, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_orphans_come_to_a_subreaper() -> None:
    assert run() == ["None", "7", "_ctypes"]


def test_where_it_cannot_be_it_says_why() -> None:
    said, orphan, _ = run(before="sys.modules['_ctypes'] = None")
    assert said.startswith("prctl cannot be called: ")
    assert "_ctypes" in said
    assert orphan == "not ours"


def test_a_refusal_is_said() -> None:
    assert run(before="import _ctypes; _ctypes.call_function = lambda *_: -1")[:2] == ["prctl is refused", "not ours"]


def test_an_unknown_python_is_no_obstacle() -> None:
    said = run(before="import _ctypes; del _ctypes.dlsym")[0]
    assert said.startswith("prctl cannot be called: ")


def test_an_exec_keeps_it() -> None:
    # As the replacement by a newer version does it (supervise/supervisor/upgrade.py).
    again = "import os; os.close({writing}); print(os.waitstatus_to_exitcode(os.wait()[1]), 'after exec')"
    after = f"""
os.set_inheritable(writing, True)
os.execv(sys.executable, [sys.executable, "-c", {again!r}.replace("{{writing}}", str(writing))])
"""
    assert run(after=after) == ["None", "7 after exec"]
