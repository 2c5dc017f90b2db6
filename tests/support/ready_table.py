"""Which services are ready, by what record and state say of them."""

from __future__ import annotations

from typing import Any

from pretended import PID

READY: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"phase": "starting"}, False),
    ({"phase": "ready"}, True),
    ({"phase": "reloading"}, True),
    ({"phase": "stopping"}, False),
    ({"phase": "ready", "want": "once"}, True),
    ({"machine": "stopping"}, False),
    ({"machine": "stopping", "phase": "ready"}, False),
    ({"machine": "aborting", "phase": "ready"}, False),
    ({"pid": 0}, False),
    ({"pid": 0, "machine": "delay"}, False),
    ({"pid": 0, "machine": "cleanup"}, False),
    ({"pid": 0, "machine": "succession", "phase": "ready"}, False),
    # The state is that of the process before: it is replaced after the record.
    ({"phase": "ready", "service": {"pid": PID + 1, "start_ticks": 1, "pidfd_inode": None, "start_time": 1.0}}, False),
    ({"phase": "ready", "service": None}, False),
]
