"""What the formats say, written out: a state with every field as it is at first, and the letters that are signals."""

from __future__ import annotations

from typing import Any

from supervise.protocol.state import VERSION

TOTALS = ("starts", "exits", "crashes", "cores", "failures", "planned")  # that the first release had

SAMPLE: dict[str, Any] = {
    "version": VERSION,
    "supervise_version": "0.1.0",
    "supervise_pid": 4711,
    "session": 4711,
    "boot_id": "8672b627-8f6b-453d-93b4-6e9e06aa1f81",
    "command": ["sleep", "1000"],
    "machine": "running",
    "wanted": "up",
    "paused": False,
    "alarms": True,
    "leaving": False,
    "service": {
        **{"pid": 4712, "start_ticks": 465805, "pidfd_inode": 26159, "start_time": 1795229305.176},
        **{"group": 4712, "session": 4711},
    },
    "remains": None,
    "started_at": 4658.05,
    "exited_at": None,
    "script_exits": 0,
    "window": {"opened_at": None, "exits": 0, "cores": 0},
    "totals": {**dict.fromkeys((*TOTALS, "expected", "hangs"), 0), "starts": 1},
    "last_exit": None,
    "gave_up": False,
    "deadline_at": None,
    "directory": None,
    "next_mark": None,
    "pid_namespace": None,
    "upgrades": 0,
    "upgrades_refused": 0,
    "loggers": None,
    "control_obeyed": None,
    "phase": None,
    "phase_time": None,
    "phase_boottime": None,
    "changed_boottime": None,
    "health": None,
    "status_text": None,
    "quick_exits": 0,
    "watchdog": None,
    "fault": None,
    "fault_kind": None,
    "notify_address": None,
    "restrictions": None,
    "startsecs": None,
    "config_problems": None,
}
LAST_EXIT: dict[str, Any] = {
    "code": 3,
    "signal": None,
    "core": False,
    "failure": None,
    "planned": False,
    "uptime": 1.5,
    "time": 1795229306.676,
    "fault": None,
    "fault_kind": None,
    "boottime": None,
    "expected": None,
}
# The specification, 4.
SIGNAL_LETTERS = {
    "t": "TERM",
    "k": "KILL",
    "h": "HUP",
    "a": "ALRM",
    "i": "INT",
    "q": "QUIT",
    "1": "USR1",
    "2": "USR2",
    "w": "WINCH",
}


def known(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what later releases may add."""
    return {name: value for name, value in fields.items() if name in SAMPLE}
