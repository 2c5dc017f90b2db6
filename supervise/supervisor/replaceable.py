"""The old side of an upgrade: what a supervise hands over to the new version, and how its copy goes on.

What lives here: what is handed over, and how a copy goes on.  What does not: when it comes to that, and the exec
(upgrade.py); the wait of the copy (guardian.py); how the new version takes it up (upgraded.py).
"""

from __future__ import annotations

from supervise.protocol import states
from supervise.protocol.filenames import fsdecode
from supervise.protocol.severities import FATAL
from supervise.supervisor.loop import Supervisor
from supervise.system.pidfd import Process
from supervise.system.spawn import HELPERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping
    from typing import Any

    from supervise.protocol.options import Options
else:
    import _signal  # see spawn.py


class Replaceable(Supervisor):
    """A supervisor that can be replaced, as upgrade.py asks.  Any becomes one when `e` comes."""

    _held: Process | None = None  # a restart script that is a child, in case that it will not be

    def prepare(self) -> list[int] | None:
        """Write everything: the descriptors to keep, none if supervise ends, None if it cannot be replaced now.

        Raises OSError.
        """
        # Who was reaped already, and the signals and letters that were read before: all that only this process knows.
        # Later signals wait for the new version's handlers, later letters in the FIFO.
        self._actions.deal()
        while self._ended:
            self._child_ended(*self._ended.pop(0))
        self._control.by_signal()
        self._control.finish()
        if self.machine.state == states.ENDED or self._control.quit:
            return []
        if self.machine.state in (states.CLEANUP, states.SUCCESSION):
            return None
        self._service.close(leaving=True)
        self._actions.obeyed(0)  # who waits for what was closed is not answered by the new version
        self._service.hold()
        if self._actions.script_pid and not self._actions.script:
            self._held = Process(self._actions.script_pid)
            self._held.hold()
        self._settle()
        self._log.flush(ending=True)
        return [fd for fd in self._descriptors().values() if fd >= 0]

    def _descriptors(self) -> dict[str, int]:
        script = self._actions.script.fd if self._actions.script else -1
        parts = self._service.descriptors()
        return {**self._kept.numbers(), "directory": self._directory.fd, "script": script, **parts}

    def handover(self, trial: bool, more: Mapping[str, Any] | None = None) -> Options:
        """The options for the new version, with all that this supervise knows, and `more`."""
        process = self._service.process
        added = {**more} if more else {}
        fields = {
            **self._status_writer.fields(),
            "deadline_at": self.machine.deadline,  # in the same process it holds on
            "child": process.child if process else True,
            "script_pid": self._actions.script_pid,
            "script_child": not self._actions.script,
            "configured": self._conf.present,
            "alarm_pids": sorted(self._actions.alarms.pids) if self._actions.alarms else [],
            "helpers": {str(pid): variable.decode() for pid, variable in HELPERS.items()},
            "mailer_missing": bool(self._actions.alarms and self._actions.alarms.nobody_can_send),
            # Where the working directory is gone, a relative path leads nowhere.
            "place": fsdecode(self._env[b"SUPERVISE_STATUS_DIR"]),
            **added,
            "descriptors": {**self._descriptors(), **added.get("descriptors", {})},
        }
        return self._options.with_handover(fields, trial)

    def refused(self) -> None:
        """Go on, for the upgrade was refused."""
        self._status_writer.upgrades_refused += 1
        if self._held:
            self._held.close()
            self._held = None

    # In a copy of it (guardian.py).

    def superseded(self) -> bool:
        """Whether the new version has written the state."""
        return self._status_writer.superseded()

    def go_on(self, signals: list[str]) -> None:
        """Go on as the supervise in the copy, which has no children; `signals` are to be obeyed."""
        self._wakeup.names += signals
        self._reactor.disown()
        self._status_writer.move()
        if self._actions.alarms:  # they deliver what they have, and say it in the log if they cannot
            self._actions.alarms.pids.clear()
        script, self._held = self._held or self._actions.script, None
        if script and script.child:
            script.child = False
            self._actions.await_script(script.pid, script)
        if not self._service.go_on() or (script and script.fd < 0):
            self._log.add(FATAL, "cannot supervise a service that is not a child: the kernel has no pidfds")
            self._control.quit = True
        _signal.raise_signal(_signal.SIGCHLD)  # the loop is to look
