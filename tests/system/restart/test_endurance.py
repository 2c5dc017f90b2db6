"""Thousands of restarts and letters, and many launchers at once: nothing grows, nothing is left.

Here some of them; bench/endurance.py has 5,000 restarts and a million letters (`make bench`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import PATIENCE, ROOT, SUPERVISE, Box, rounds, wait_for
from system import marked

sys.path.insert(0, str(ROOT / "bench"))
from endurance import Endured, letters, restarts


def nothing_grows(before: Endured, after: Endured) -> None:
    assert abs(after.descriptors - before.descriptors) <= 1  # the service may be between two processes
    # Pages that an allocator happens to touch; what is lost each time would be many times this.
    assert after.memory <= before.memory + 64


def test_restarts_leave_nothing(tmp_path: Path) -> None:
    before, after = restarts(tmp_path, 100, 400)
    assert after.starts - before.starts >= 400
    nothing_grows(before, after)


def test_letters_leave_nothing(tmp_path: Path) -> None:
    before, after = letters(tmp_path, 50_000, 200_000)
    nothing_grows(before, after)
    # All that was said about them.
    assert after.logged - before.logged < 64 << 10


def test_many_starters_at_once(box: Box) -> None:
    """As with twelve (test_bad_input.py)."""
    number = rounds(25, 100)
    box.env["MARK"] = str(box.folder)
    args = [SUPERVISE, "-u", "status/app", "sh", "-c", "echo started; exec sleep 1000"]
    running = [
        subprocess.Popen(args, cwd=box.folder, env=box.env, stderr=subprocess.PIPE, text=True) for _ in range(number)
    ]
    ended = [(process.communicate(timeout=PATIENCE * 4)[1], process.returncode) for process in running]
    assert sorted(code for _, code in ended) == [0] + [111] * (number - 1)
    for said, code in ended:
        assert re.fullmatch(r"supervise: fatal: [^\n]+\n" if code else "", said), said
    assert box.wait_stdout("started\n") == "started\n"
    wait_for("these two alone", lambda: set(marked(box)) == {box.pid, box.supervisor})
