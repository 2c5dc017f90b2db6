"""Durations that people are shown, when somebody sets the wall clock: by faketime(1) for the program that looks, or by
stamps of another time in what it reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Box
from pretended import PID, pretended
from tools import BIN, run_tool

from supervise.client import clocks
from supervise.protocol.record import decode
from supervise.system.procfs import boot_id, stat_of

DAY = 86400
faketime = shutil.which("faketime")
Look = Callable[[Box], dict[str, Any]]


def found(text: str) -> dict[str, Any]:
    service: dict[str, Any] = json.loads(text)["services"][0]
    return service


def plainly(box: Box) -> dict[str, Any]:
    return found(run_tool(box, "svstat", "--json", "app").stdout)


def in_another_time(box: Box) -> dict[str, Any]:
    """All clocks of the program that looks are 400 days ahead, the monotonic one as well."""
    words = [str(faketime), "-f", "+400d", str(BIN / "svstat"), "--json", "app"]
    done = subprocess.run(words, cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["time"] > time.time() + 399 * DAY, "faketime has no effect"
    return found(done.stdout)


needs_faketime = pytest.mark.skipif(faketime is None, reason="needs faketime, which tests/debian.sh installs")
BOTH = pytest.mark.parametrize("look", [plainly, pytest.param(in_another_time, marks=needs_faketime)])


def set_back(box: Box, seconds: float) -> int:
    """What is there when the wall clock was so much behind at the last change of pid."""
    record = decode((box.status / "status").read_bytes())
    record.changed_ns -= round(seconds * 1e9)
    (box.status / "status").write_bytes(record.encode())
    return record.changed_ns


@BOTH
def test_the_uptime_is_that_of_the_process(box: Box, look: Look) -> None:
    pid = box.start("sleep", "1000")
    changed = set_back(box, 300 * DAY)
    seconds = look(box)["seconds"]
    since = clocks.since_boot() - clocks.started(stat_of(pid).start_ticks)
    assert 0 <= seconds <= since < DAY
    assert look(box)["changed"] == round(changed / 1e9, 3), "the record keeps the wall clock"
    assert decode((box.status / "status").read_bytes()).changed_ns == changed


@BOTH
def test_how_long_it_is_down_and_when_it_ended(box: Box, look: Look) -> None:
    began = clocks.since_boot()
    box.conf("[app]\nautorestart : no\n")
    box.start("sh", "-c", "exit 3")
    box.wait_down()
    box.wait_log("not restarted")
    set_back(box, -300 * DAY)
    fields = look(box)
    assert 0 <= fields["seconds"] <= clocks.since_boot() - began
    assert 0 <= fields["last_exit"]["seconds"] <= clocks.since_boot() - began


@BOTH
def test_what_is_still_to_come_and_how_far_it_is(box: Box, look: Look) -> None:
    with pretended(box) as supervise:
        now = clocks.since_boot()
        supervise.write(phase="starting", phase_time=1e9, phase_boottime=now - 100)
        assert 99 < look(box)["phase_seconds"] < 100 + PATIENCE
        health = {"failures": 2, "limit": 3, "starting": False, "failure": "exited with status 1", "output": "no"}
        health.update(failing_time=1e9, failing_boottime=now - 200, problem=None)
        supervise.write(health=health)
        assert 199 < look(box)["health"]["seconds"] < 200 + PATIENCE
        supervise.write(0, machine="delay", deadline_at=time.monotonic() + 1000, changed_boottime=now - 300)
        fields = look(box)
        assert 1000 - PATIENCE < fields["next_start_seconds"] < 1001
        assert 299 < fields["seconds"] < 300 + PATIENCE


@pytest.mark.parametrize("fields", [{}, {"boot_id": "another", "changed_boottime": 1.0}], ids=["older", "another boot"])
def test_where_the_state_does_not_tell_the_wall_clock_does(box: Box, fields: dict[str, Any]) -> None:
    with pretended(box) as supervise:
        last = {"time": time.time() - 1000, "boottime": 1.0 if fields else None}
        supervise.write(0, machine="idle", want="down", last_exit=last, **fields)
        set_back(box, 500)
        found = plainly(box)
        assert 500 <= found["seconds"] < 500 + PATIENCE
        assert 1000 <= found["last_exit"]["seconds"] < 1000 + PATIENCE
        # A state of the process before: the record was replaced, the state not yet.
        supervise.write_record(PID + 1)
        set_back(box, 500)
        assert 500 <= plainly(box)["seconds"] < 500 + PATIENCE


def test_the_clocks_are_the_kernels() -> None:
    assert abs(clocks.since_boot() - time.clock_gettime(time.CLOCK_BOOTTIME)) < PATIENCE
    assert abs(clocks.monotonic() - time.monotonic()) < PATIENCE
    assert clocks.same_boot(boot_id()) and not clocks.same_boot("") and not clocks.same_boot("x")


def test_an_uptime_that_is_not_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As lxcfs shows in some containers: what was started before it would have run for ever."""
    real = open

    def another(name: Any, *args: Any, **more: Any) -> Any:
        return real(tmp_path / "uptime" if name == "/proc/uptime" else name, *args, **more)

    for text in ("0.00 0.00\n", "nonsense\n", ""):
        (tmp_path / "uptime").write_text(text)
        monkeypatch.setattr(clocks, "_ahead", [])
        monkeypatch.setattr("builtins.open", another)
        assert abs(clocks.since_boot() - time.clock_gettime(time.CLOCK_BOOTTIME)) < PATIENCE


@needs_faketime
def test_waiting_takes_as_long_as_was_asked_for(box: Box) -> None:
    box.start("sleep", "1000")
    words = [str(faketime), "-f", "+400d", str(BIN / "svwait"), "-d", "-t", "0.2", "app"]
    done = subprocess.run(words, cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 99 and "not so within 0.2 seconds" in done.stderr
