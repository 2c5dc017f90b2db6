"""svstat's table: its cells, what is left out where the terminal is narrow, and what counts as trouble."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pretended import HEALTHY, PID, SICK, state, status_of
from samples import LAST_EXIT

from supervise.client import Status
from supervise.client.trouble import FAILING, failing, rank, summary
from supervise.client.usage import Usage
from supervise.programs.svstat.table import Row, duration, reason, size, state_of, table
from supervise.programs.width import columns
from supervise.protocol.record import Record

RED, GREEN, YELLOW = "\33[31m", "\33[32m", "\33[33m"


@pytest.mark.parametrize(
    ("fields", "said", "colour"),
    [
        ({}, "up", GREEN),
        ({"phase": "starting"}, "up, starting", YELLOW),
        ({"phase": "ready"}, "up, ready", GREEN),
        ({"phase": "reloading"}, "up, reloading", YELLOW),
        ({"phase": "stopping"}, "up, stopping", YELLOW),
        ({"phase": "\33[1m"}, "up", YELLOW),
        ({"want": "once", "phase": "ready"}, "up once, ready", YELLOW),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 0}}, "down", YELLOW),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 3}}, "ended", RED),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": None, "signal": 9}}, "failed", RED),
        ({"want": "down", "machine": "stopping", "phase": "ready"}, "up, stopping", YELLOW),
        ({"machine": "stopping", "phase": "ready"}, "up, stopping", YELLOW),
        ({"machine": "aborting", "phase": "ready"}, "up, being ended", RED),
        ({"pid": 0, "machine": "delay", "deadline_at": time.monotonic() - 1}, "restarting in 0s", RED),
        ({"pid": 0, "machine": "script"}, "restarting", RED),
        ({"pid": 0, "machine": "script", "last_exit": {"planned": True}}, "restarting", YELLOW),
        ({"health": HEALTHY}, "up", GREEN),
        ({"health": SICK}, "up, failing", RED),
        ({"health": SICK, "phase": "ready"}, "up, failing", RED),
        ({"health": {**SICK, "starting": True}}, "up, starting", YELLOW),
        ({"health": {**HEALTHY, "problem": "no such check"}}, "up, not checked", RED),
        ({"health": SICK, "machine": "aborting"}, "up, being ended", RED),
        ({"quick_exits": 1}, "up", GREEN),
        ({"quick_exits": 2}, "up, unsteady", RED),
        ({"pid": 0, "machine": "cleanup"}, "restarting", RED),
        ({"pid": 0, "machine": "cleanup", "want": "down"}, "stopping", YELLOW),
        ({"pid": 0, "machine": "succession"}, "changing over", YELLOW),
        ({"pid": 0, "machine": "idle", "last_exit": {}}, "finished", YELLOW),
        ({"pid": 0, "machine": "idle", "last_exit": {"code": 2}}, "ended", RED),
        ({"pid": 0, "machine": "idle", "last_exit": {"code": 2, "expected": True}}, "ended", YELLOW),
        ({"pid": 0, "machine": "idle", "last_exit": {"code": None, "signal": 9}}, "failed", RED),
        ({"pid": 0, "machine": "idle", "want": "down", "last_exit": {}}, "down", YELLOW),
    ],
)
def test_how_far_a_service_is_in_the_table(fields: dict[str, Any], said: str, colour: str) -> None:
    status = status_of(**fields)
    assert state_of(status) == said
    row = Row("app", status)
    assert f"{colour}{said}" in table([row], True)[1]


def test_what_services_say_has_a_column_of_its_own() -> None:
    silent, talking = Row("one", status_of()), Row("two", status_of(status_text="\33[31m \u4e2d" + "x" * 100))
    assert "SAYS" not in table([silent], False)[0]
    head, *rows = table([silent, talking], False)
    assert head.split()[-3:] == ["RESTARTS", "SAYS", "REASON"]
    assert rows[1].endswith("  " + r"\x1b[31m " + "\u4e2d" + "x" * 18 + "...") and "x" not in rows[0]
    assert all(columns(text) <= 40 for text in table([silent, talking], False, 40))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"last_exit": {"code": 3}}, "exit status 3, 5m ago"),
        ({"last_exit": {"code": 0, "planned": True}}, "exit status 0, as asked, 5m ago"),
        ({"last_exit": {"code": None, "signal": 11, "core": True}}, "killed by SEGV, core dumped, 5m ago"),
        ({"last_exit": {"code": None, "failure": "no\33"}}, "cannot start: no\\x1b, 5m ago"),
        ({"last_exit": {"code": None}}, "exit status unknown, 5m ago"),
        ({"last_exit": {"code": None, "signal": 6, "fault": "hung"}}, "hung (killed by ABRT), 5m ago"),
        ({"machine": "aborting", "fault": "not ready\n", "last_exit": {"code": 3}}, "not ready\\n"),
        ({"health": SICK, "last_exit": {"code": 3}}, "check: it is sick (2 of 3, 0s)"),
        ({"health": {**SICK, "output": " \n"}}, "check: exited with status 3 (2 of 3, 0s)"),
        ({"health": {**SICK, "starting": True}}, "check: it is sick (for 0s)"),
        ({"health": {**HEALTHY, "problem": "no check"}, "last_exit": {"code": 3}}, "not checked: no check"),
        ({"health": HEALTHY}, ""),
    ],
)  # fmt: skip
def test_the_reason(fields: dict[str, Any], said: str) -> None:
    last = fields.get("last_exit")
    if last:
        fields = {**fields, "last_exit": {**last, "time": time.time() - 330}}
    assert reason(status_of(**fields)) == said


def test_what_is_left_out_where_there_is_no_room() -> None:
    used = Usage()
    used.memory, used.percent = 11 << 20, 2.5
    last = {"code": 3, "time": time.time() - 330}
    rows = [
        Row("web", status_of(status_text="serving"), used),
        Row("worker-of-the-billing-department-01", status_of(last_exit=last)),
        Row("worker-of-the-billing-department-02", status_of(0, machine="delay", deadline_at=1.0, last_exit=last)),
        Row("\u8ba2\u5355\u5904\u7406\u670d\u52a1\u4e00\u4e8c\u4e09\u56db\u4e94", status_of(last_exit=last)),
    ]
    left: list[list[str]] = []
    for width in range(170, 19, -1):
        head, *lines = table(rows, False, width)
        assert all(columns(line) <= width for line in (head, *lines))
        heads = head.split()
        if not left or heads != left[-1]:
            left.append(heads)
        if width >= 80:
            assert all("exit status 3, 5m ago" in line for line in lines[1:]), "the reason is seen"
        if width >= 60:
            assert len({line.split()[0] for line in lines}) == 4, "names stay different"
    order = ["CPU", "MEMORY", "SAYS", "RESTARTS", "PID", "UPTIME"]
    whole = ["SERVICE", "STATE", "PID", "UPTIME", "MEMORY", "CPU", "RESTARTS", "SAYS", "REASON"]
    wanted = [[name for name in whole if name not in order[:count]] for count in range(7)]
    assert [heads for heads in left if heads in wanted] == wanted
    assert table(rows, False)[0].split() == whole and "worker-of-the-billing-department-02" in table(rows, False)[3]


def test_names_that_would_be_the_same_are_not_shortened_so_far() -> None:
    last = {"code": 3}
    rows = [Row(f"a-service-of-{place}-number-one", status_of(last_exit=last)) for place in ("the-east", "the-west")]
    lines = table(rows, False, 80)[1:]
    assert len({line.split()[0] for line in lines}) == 2


# Trouble.


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({}, False),
        ({"want": "down"}, False),
        ({"pid": 0, "want": "down", "machine": "idle", "last_exit": {"code": 3}}, False),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 3}}, True),
        ({"pid": 0, "want": "once", "machine": "cleanup", "last_exit": {"code": 3}}, True),
        ({"pid": 0, "want": "once", "machine": "spawning", "last_exit": {"code": 3}}, False),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 3, "expected": True}}, False),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 3, "planned": True}}, False),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 0}}, False),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": 0, "fault": "hung"}}, True),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": None, "signal": 9}}, True),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": None, "planned": True}}, False),
        ({"pid": 0, "want": "once", "machine": "idle", "last_exit": {"code": None, "failure": "no program"}}, True),
        ({"pid": 0, "want": "once", "machine": "idle"}, False),
        ({"want": "once"}, False),
        ({"phase": "starting"}, False),
        ({"pid": 0, "machine": "succession"}, False),
        ({"pid": 0, "machine": "cleanup", "last_exit": {"planned": True}}, False),
        ({"pid": 0, "machine": "delay", "last_exit": {"code": 3}}, True),
        ({"pid": 0, "machine": "delay", "last_exit": {"code": None, "failure": "no program"}}, True),
        ({"pid": 0, "machine": "idle", "last_exit": {"code": 0}}, False),
        ({"pid": 0, "machine": "idle", "last_exit": {"code": 3}}, True),
        ({"pid": 0, "machine": "idle", "last_exit": {"code": 3, "expected": True}}, False),
        ({"machine": "aborting"}, True),
        ({"health": HEALTHY}, False),
        ({"health": SICK}, True),
        ({"health": SICK, "want": "down", "machine": "stopping"}, False),
        ({"health": {**SICK, "starting": True}}, False),
        ({"health": {**HEALTHY, "problem": "no check"}}, True),
        ({"quick_exits": 2}, True),
    ],
)  # fmt: skip
def test_what_is_failing(fields: dict[str, Any], fails: bool) -> None:
    status = status_of(**fields)
    assert failing(status) is fails
    assert (rank(status) == FAILING) is fails
    assert summary([status]).endswith("1 failing") is fails


def test_without_a_supervise() -> None:
    for want, state_of_it, fails in (("up", {}, True), ("down", {}, False), ("down", {"gave_up": True}, True)):
        status = Status(False, Record(0, False, want, True, 0), state(0, wanted=want, machine="ended", **state_of_it))
        assert failing(status) is fails
    assert failing(None)


def test_a_run_without_a_supervise() -> None:
    for pid, last, fails in ((0, {"code": 3}, True), (0, {"code": 0}, False), (0, None, False), (PID, None, True)):
        ended = {"last_exit": {**LAST_EXIT, **last}} if last else {}
        state_of_it = state(pid, wanted="once", machine="ended", **ended)
        assert failing(Status(False, Record(0, False, "once", True, pid), state_of_it)) is fails


def test_the_summary() -> None:
    paused = Status(True, Record(0, True, "up", True, PID), state(PID, paused=True))
    found = [status_of(), status_of(), None, paused, status_of(0, want="down", machine="idle")]
    assert summary(found) == "2 up, 1 failing, 1 paused, 1 down"
    assert (summary([status_of()]), summary([])) == ("1 up", "no services")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.9, "0s"), (1, "1s"), (61, "1m 1s"), (3600, "1h"), (90061, "1d 1h"), (86405, "1d"), (200000, "2d 7h")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_sizes() -> None:
    assert [size(count) for count in (0, 1024, 11744051, 2**40)] == ["0.0 KiB", "1.0 KiB", "11.2 MiB", "1.0 TiB"]
