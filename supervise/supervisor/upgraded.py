"""The new side of an upgrade: from the first instruction of the new version until it obeys (upgrade.py).

What lives here: how it takes up what was handed over.  What does not: what that is (replaceable.py).  It is imported
where a supervise replaces another, and so in few processes.
"""

from __future__ import annotations

import posix as os
import sys
import time

from supervise.config.file import open_configuration
from supervise.machine import restore
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.severities import WARNING
from supervise.protocol.state_reader import decode
from supervise.service.launcher import StartError
from supervise.supervisor import preloaded
from supervise.supervisor.build import build_supervisor, conf_file, recorded_config, rename_process
from supervise.supervisor.handoff import GUARDIAN, read_nothing
from supervise.supervisor.loop import Supervisor
from supervise.system.descriptors import HeldDescriptors
from supervise.system.pidfd import Process
from supervise.system.spawn import HELPERS
from supervise.system.statusdir import StatusDir
from supervise.system.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from supervise.protocol.options import Options
else:
    import _signal  # see spawn.py

_LAST_WORDS = 65536  # bytes


def build_upgraded(
    options: Options, env: dict[bytes, bytes], ignored: list[int], kind: type[StatusDir] = StatusDir
) -> Supervisor:
    """Build the supervisor from what another in the same process has handed over.

    `kind` is what the status directory is to be: trial.py has another.  Raises any Exception: whatever it is, the
    old one is still there.
    """
    fields = decode(options.handover.encode())
    descriptors = fields["descriptors"]
    for fd in descriptors.values():
        if fd >= 0:
            os.set_inheritable(fd, False)
    read_nothing()
    rename_process()
    directory = kind.attach(options.path, descriptors["directory"])
    directory.keep()
    kept = HeldDescriptors(descriptors["lock"], descriptors["control"], descriptors["ok"])
    options = options.without_handover()
    if fields.get("configured") and options.conf_text is None:
        find_again(options.conf)
    conf = conf_file(options)
    config, problems = conf.read(recorded_config(fields))
    what = fields["boot_id"], conf, config, problems, fields.get("place", "")
    supervisor, log = build_supervisor(options, directory, kept, env, ignored, *what, Upgraded)
    for problem in problems:
        log.add(WARNING, "%s", problem)
    assert isinstance(supervisor, Upgraded)
    supervisor.restore(fields)
    return supervisor


def find_again(conf: str) -> None:
    """Check that a configuration which is in force can be read.  Raises StartError."""
    try:
        os.close(open_configuration(conf))
    except Untrusted as why:
        raise StartError(f"the configuration {conf}, which is in force, is not believed: {why}") from None
    except OSError as why:
        raise StartError(f"the configuration {conf}, which is in force, cannot be read: {why.strerror}") from None


class Upgraded(Supervisor):
    """A supervisor that replaces another in the same process."""

    _token: dict[str, int]  # what the copy of the other has left, by name: see Guardian.kept

    def restore(self, fields: dict[str, Any]) -> None:
        """Restore what the other was; `fields` as its `handover` has them.

        Nothing is obeyed yet, and nobody reaped: if this fails, the copy of the old one goes on.
        """
        self._wakeup.begin()
        self._complete()
        restore.after_upgrade(self.machine, fields, time.monotonic())
        self._status_writer.restore(fields, self.machine.pid)
        self._service.restore(fields)
        self._service.parts.equip()
        self._service.restore_previous_mains(fields)
        self._status_writer.upgrades = fields["upgrades"]
        self._status_writer.upgrades_refused = fields["upgrades_refused"]
        actions = self._actions
        pid, script = fields["script_pid"], None
        if pid and not fields.get("script_child", True):
            script = Process(pid, False, fields["descriptors"]["script"])
        if pid:
            actions.await_script(pid, script)
        if actions.alarms:
            actions.alarms.restore(fields["alarm_pids"], fields["mailer_missing"])
        actions.signal_retry.restore(self.machine.pid, fields["unsent"], time.monotonic())
        HELPERS.update((int(pid), variable.encode()) for pid, variable in fields.get("helpers", {}).items())
        self._guardian = fields.get("guardian", 0)
        if self._guardian:
            self._reactor.on_exit(self._guardian, self._replaced)
        names = ("token", "alive", "stderr") if self._guardian else ()
        self._token = {name: fields["descriptors"][name] for name in names}
        # What has ended meanwhile has made its signal already: the loop is to look.
        _signal.raise_signal(_signal.SIGCHLD)

    def _arrived(self) -> None:
        """Everything is there, and nothing was obeyed yet: be the supervise.  Raises SystemExit if the copy is."""
        if not self._guardian:
            self._replaced()
            return
        guardian = preloaded.module("supervise.supervisor.guardian")
        said = os.pread(2, _LAST_WORDS, 0)
        os.dup2(self._token["stderr"], 2)
        if not guardian.taken(self._token["token"]):
            raise SystemExit(SYSTEM)
        # Nothing may stop it any more, and nobody is there to stand in for.
        sys._xoptions.pop(GUARDIAN, None)
        for fd in self._token.values():
            guardian.let_go(fd)
        for line in said.splitlines(True):  # what went to the logs meanwhile
            self._log._say(line)
