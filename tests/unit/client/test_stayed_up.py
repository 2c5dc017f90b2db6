"""When a start was a success: the service has been up for its startsecs; and what is said when it was none."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from box import PATIENCE
from pretended import PID, Pretended, state

from supervise.client import DidNotStayUp, Service, Status, TimeLimit
from supervise.client.conditions import Obeyed, back_up, kept_up, run_once, startsecs, stayed_up
from supervise.client.wait import outcomes
from supervise.protocol.record import Record

ENDED = {"code": 3, "uptime": 0.25}


def status(pid: int = PID, want: str = "up", up: float = 100.0, supervised: bool = True, **fields: Any) -> Status:
    """`up`: seconds since the start."""
    made = {"wanted": want, "started_at": time.monotonic() - up, **fields}
    return Status(supervised, Record(time.time_ns() - int(up * 1e9), False, want, True, pid), state(pid, **made))


def without_state(pid: int = PID, up: float = 100.0) -> Status:
    return Status(True, Record(time.time_ns() - int(up * 1e9), False, "up", True, pid), None)


DOWN = status(0, "down", machine="idle")


def test_up_for_long_enough() -> None:
    assert kept_up(DOWN, status(startsecs=10))
    assert not kept_up(DOWN, status(startsecs=1000))
    assert kept_up(DOWN, status(up=0.0, startsecs=0))


@pytest.mark.parametrize("fields", [{"phase": "starting"}, {"want": "down"}, {"machine": "stopping"}, {"pid": 0}])
def test_that_alone_is_not_enough(fields: dict[str, Any]) -> None:
    assert not kept_up(DOWN, status(**fields))
    assert kept_up.seconds(DOWN, status(**fields)) is None


def test_in_how_many_seconds_it_may_be() -> None:
    left = kept_up.seconds(DOWN, status(up=2.0, startsecs=10))
    assert left is not None and 7 < left <= 8
    assert kept_up.seconds(DOWN, status(startsecs=10)) == 0


def test_a_restart_is_another_start() -> None:
    before = status()
    assert not back_up(before, status())
    assert back_up(before, status(totals={"starts": 2}))
    assert stayed_up(before, status())


def test_a_supervise_that_does_not_tell_means_a_second() -> None:
    """The C implementation, and an older release."""
    for made in (without_state, lambda up: status(up=up)):
        assert startsecs(made(up=0.0)) == 1
        assert not stayed_up(DOWN, made(up=0.5))
        assert stayed_up(DOWN, made(up=1.5))
    assert not stayed_up.failed(without_state(), without_state(0))


def test_a_clock_of_another_time_namespace_is_not_believed() -> None:
    later: dict[str, Any] = {"started_at": time.monotonic() + 5000}
    later["boot_id"] = "another"  # so that how long it is up is told by the record alone
    assert stayed_up(DOWN, status(up=100.0, **later))
    assert not stayed_up(DOWN, status(up=0.0, **later))


# Failing.


def ended(exits: int = 1, quick: int = 1, **fields: Any) -> Status:
    totals = {"exits": exits, "crashes": exits, "starts": exits, **fields.pop("totals", {})}
    made = {"machine": "delay", "last_exit": ENDED, "quick_exits": quick, **fields}
    return status(**{"pid": 0, "totals": totals, **made})


@pytest.mark.parametrize("pid", [0, PID])
def test_an_exit_before_that_is_a_failure_whatever_came_then(pid: int) -> None:
    for condition in (kept_up, back_up, stayed_up):
        assert condition.failed(DOWN, ended(pid=pid, machine="running" if pid else "delay"))


def test_an_exit_after_that_is_none_where_it_is_started_again() -> None:
    assert not kept_up.failed(DOWN, ended(quick=0))


def test_an_exit_that_came_before_is_none() -> None:
    assert not kept_up.failed(ended(), ended())


def test_the_exit_that_a_restart_asks_for_is_none() -> None:
    assert not back_up.failed(status(), ended(quick=1))
    assert back_up.failed(status(), ended(exits=2, quick=1))
    assert not back_up.failed(status(), ended(exits=2, quick=0, totals={"planned": 1}))


def test_one_that_stays_down_has_failed() -> None:
    assert kept_up.failed(DOWN, ended(quick=0, machine="idle"))
    assert kept_up.failed(DOWN, ended(quick=0, machine="ended", gave_up=True, supervised=False))


@pytest.mark.parametrize("machine", ["cleanup", "script", "idle"])
def test_one_that_has_ended_as_expected_has_run(machine: str) -> None:
    now = ended(machine=machine, totals={"crashes": 0, "expected": 1})
    assert not kept_up.failed(DOWN, now)
    assert kept_up(DOWN, now) == (machine == "idle")


def test_nothing_has_failed_before_the_letters_were_obeyed() -> None:
    before = status(0, "down", machine="idle", control_obeyed=4)
    condition = Obeyed(2, kept_up)
    for count, obeyed in ((5, False), (6, True)):
        now = ended(control_obeyed=count)
        assert not condition(before, now)
        assert condition.failed(before, now) == obeyed
    running = status(up=0.0, control_obeyed=6)
    assert not condition(before, running) and condition.seconds(before, running)
    assert Obeyed(2, None).seconds(before, running) is None and not Obeyed(2, None).failed(before, running)


def test_one_that_runs_once() -> None:
    assert run_once(DOWN, status(want="once"))
    running = status(want="once", up=0.25)
    assert not run_once(DOWN, running)
    left = run_once.seconds(DOWN, running)
    assert left is not None and 0 < left <= 0.75
    has_run = ended(want="once", machine="idle", totals={"starts": 2})
    assert run_once(DOWN, has_run) and run_once.seconds(DOWN, has_run) is None
    # The state of its process, beside the record of before.
    assert not run_once(DOWN, status(0, "once", totals={"starts": 2}, service={"pid": PID}))


# Waiting.


@pytest.fixture
def service(played: Pretended) -> Service:
    return Service(played.path)


def test_it_is_looked_at_when_the_time_is_over_though_nothing_changes(service: Service, played: Pretended) -> None:
    played.write(started_at=time.monotonic(), startsecs=1)
    began = time.monotonic()
    assert service.wait("stayed_up", PATIENCE).pid == PID
    assert time.monotonic() - began > 0.9


def test_a_limit_that_is_shorter(service: Service, played: Pretended) -> None:
    played.write(started_at=time.monotonic(), startsecs=1000)
    with pytest.raises(TimeLimit):
        service.wait("stayed_up", 0.1)


def failure(service: Service, played: Pretended, **fields: Any) -> str:
    """What is said when a service ends like this while it is waited for."""
    before = status(0, "down", machine="idle")
    made = {"machine": "delay", "quick_exits": 1, "totals": {"exits": 1}, **fields}
    played.write(**{"pid": 0, "last_exit": {**ENDED, "time": time.time()}, **made})
    ((_, found),) = outcomes({service: (before, stayed_up)}, PATIENCE)
    assert isinstance(found, DidNotStayUp) and found.exit_code == 1 and found.status.state
    assert str(found) == f"cannot wait for {service.path}: {found.why}"
    return found.why


def test_how_it_ended_and_what_follows(service: Service, played: Pretended) -> None:
    assert failure(service, played) == "it exited with status 3 after 0.2 seconds, and is started again"
    assert failure(service, played, machine="idle").endswith("seconds, and is not restarted")
    assert failure(service, played, machine="ended", gave_up=True).endswith("seconds, and supervise has given up")
    fault = {"signal": 15, "code": None, "fault": "not ready within 2 seconds", "time": time.time()}
    assert failure(service, played, last_exit=fault) == (
        "it was killed by signal 15 (TERM), ended by supervise: not ready within 2 seconds, and is started again"
    )
    none = {"code": None, "failure": "cannot execute 'x': No such file or directory", "time": time.time()}
    (played.path / "__stderr").write_text("of another\n")
    assert failure(service, played, last_exit=none) == (
        "it could not be started: cannot execute 'x': No such file or directory, and is started again"
    )


def test_the_last_line_that_it_printed(service: Service, played: Pretended) -> None:
    (played.path / "__stdout").write_text("hello\n")
    assert failure(service, played).endswith("; the last line of its stdout: hello")
    (played.path / "__stderr").write_bytes(b"first\n no \xff port\n\n  \n")
    assert failure(service, played).endswith("; the last line of its stderr: no \\xff port")
    (played.path / "__stderr").write_text("x" * 1000)
    assert failure(service, played).endswith(f"stderr: {'x' * 200}...")


def test_a_line_of_an_earlier_process_is_not_its(service: Service, played: Pretended) -> None:
    (played.path / "__stderr").write_text("long ago\n")
    (played.path / "__stdout").symlink_to("__stderr")
    os.utime(played.path / "__stderr", (time.time() - 100, time.time() - 100))
    assert "last line" not in failure(service, played)
