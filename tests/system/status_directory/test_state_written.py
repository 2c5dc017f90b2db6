"""The file `state`, as a real supervise writes it."""

from __future__ import annotations

import json

from conftest import Box, wait_for
from samples import known

from supervise.protocol.state_reader import decode


def test_what_a_real_supervise_writes(box: Box) -> None:
    pid = box.start("sh", "-c", "exec sleep 86399", "n\u00e4me", "\udcff\n")
    data = (box.status / "state").read_bytes()
    fields = decode(data)
    assert known(json.loads(data)) == known(fields)
    assert fields["service"]["pid"] == pid
    assert fields["supervise_pid"] == fields["session"] == box.supervisor
    assert fields["command"] == ["sh", "-c", "exec sleep 86399", "n\u00e4me", "\udcff\n"]
    assert fields["totals"]["starts"] == 1
    assert fields["last_exit"] is None
    assert (fields["phase"], fields["phase_time"], fields["fault"], fields["quick_exits"]) == (None, None, None, 0)
    box.control("k")
    box.wait_new_pid(pid)
    box.wait_log("service started", 2)

    def counted() -> bool:
        now = decode((box.status / "state").read_bytes())
        last = now["last_exit"]
        crashed = last and last["signal"] == 9 and not last["planned"] and last["fault"] is None
        return bool(now["totals"]["crashes"] == 1 and crashed)

    wait_for("the exit in the state", counted)
