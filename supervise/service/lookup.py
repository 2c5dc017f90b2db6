"""Looking for what a configuration that was read again names outside of its file: a user, a directory, a cgroup.

Theory of operation
-------------------

Rule 1.  Who looks is a helper (helpers/lookup_helper.py): what does not answer holds up nobody but that, and neither
         the answers of a name service nor ctypes stay in memory here.
Rule 2.  Meanwhile the configuration is in force as it was read: whoever writes `rR` is to get a process under the new
         one.  A start that comes before the answer fails as that says.  The state names what was in force before.
Rule 3.  Where something is not there, all keys that restrict go back to what was in force before, as where one cannot
         be understood (restrictions.py); that is posted as another configuration.
Rule 4.  What cannot be told is said, and stays: the next start tells.  So it is for a file that the service prints to:
         that restricts nothing.
Rule 5.  Whoever has asked for the file to be read (the letter r) is told that it was when there is an answer.
"""

from __future__ import annotations

import posix as os
import time

from supervise.config.config import PLACED
from supervise.config.restrictions import copy, keep, named, stays
from supervise.protocol.severities import WARNING
from supervise.protocol.states import CONFIG
from supervise.protocol.text import one_line
from supervise.service.part import Part
from supervise.system import helper
from supervise.system.descriptors import close
from supervise.system.spawn import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervise.config.config import Config
    from supervise.config.file import ConfFile
    from supervise.machine.machine import Machine
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor

PATIENCE = 10.0  # seconds; svc waits for 30
_LONGEST = 1 << 16  # bytes of an answer
_ABSENT = "absent"  # lookup.py, which is not for this process


class Lookup(Part):
    """The search for what the configuration names, each time that it was read again."""

    def __init__(
        self, conf: ConfFile, env: Mapping[bytes, bytes], ignored: Sequence[int], reactor: Reactor, log: Log
    ) -> None:
        """`env` is the service's environment, `ignored` as spawn.py says."""
        self._conf = conf
        self._env = env
        self._ignored = ignored
        self._reactor = reactor
        self._log = log
        self._config: Config | None = None  # in force
        self._pid = 0  # of the helper
        self._file = -1  # that it answers in
        self._size = 0  # bytes of the question
        self._at: float | None = None

    @property
    def due(self) -> float | None:
        """When to begin, or to give up."""
        return self._at

    def configure(self, config: Config) -> None:
        """Another configuration: what was asked for the one before is of no interest."""
        self._config = config
        self._drop()
        self._at = time.monotonic() if self._conf.unsure else None

    def housekeeping(self, machine: Machine) -> None:
        """Begin anew where an upgrade has failed (`close`, `disown`)."""
        if self._conf.unsure and self._at is None:
            self._at = time.monotonic()

    def on_time(self, now: float) -> None:
        """Begin; or, where there is no answer, say so."""
        if not self._conf.unsure:  # the service could be started
            self._drop()
        elif self._pid:
            self._drop()
            self._unknown(f"no answer within {PATIENCE:.0f} seconds")
        else:
            self._begin(now)

    def disown(self) -> None:
        """Forget the helper, which is no child of this copy."""
        self._pid = 0
        self._drop()

    def close(self, leaving: bool) -> None:
        """End the helper.  Who waits for its answer is told what is known."""
        self._drop()
        self._conf.awaited = False

    def _begin(self, now: float) -> None:
        data = question(self._config) if self._config else b""
        try:
            self._file = os.memfd_create("lookup")
            self._size = os.pwrite(self._file, data, 0)
            pid = helper.start("lookup_helper", [str(len(data))], self._env, self._ignored, self._file)
        except OSError as why:
            self._drop()
            self._unknown(f"cannot start the helper that looks: {why.strerror}")
            return
        self._pid, self._at = pid, now + PATIENCE
        self._reactor.on_exit(pid, lambda how: self._ended(pid, how))

    def _drop(self) -> None:
        if self._pid:
            send(self._pid, "KILL", True)
        close(self._file)
        self._pid, self._file, self._at = 0, -1, None

    def _ended(self, pid: int, how: ExitStatus) -> None:
        """The helper has ended, or one that was dropped."""
        if pid != self._pid:
            return
        self._pid = 0
        try:
            data = os.pread(self._file, _LONGEST, self._size)
        except (OSError, MemoryError) as why:
            self._drop()
            self._unknown(f"cannot read what the helper that looks has found: {why}")
            return
        self._drop()
        if not self._conf.unsure:
            return
        texts = data.decode("utf-8", "surrogateescape").split("\0") if data else []
        if how.code != 0 or len(texts) % 3:
            self._unknown(f"the helper that looks {how}")
            return
        lines: dict[bool, list[str]] = {True: [], False: []}
        for key, kind, text in zip(texts[::3], texts[1::3], texts[2::3]):
            lines[kind == _ABSENT and key not in PLACED].append(f"{self._conf.where(key)}: {one_line(text)}")
        self._decide(lines[True], lines[False])

    def _unknown(self, why: str) -> None:
        keys = ", ".join(named(self._config)) if self._config else ""
        self._decide([], [f"{self._conf.path}: cannot tell whether there is what it names ({keys}): {why}"])

    def _decide(self, absent: list[str], unknown: list[str]) -> None:
        """Say what was found, and go back to what was in force if something is absent (rule 3)."""
        conf = self._conf
        before, conf.before, conf.unsure = conf.before, None, False
        lines = [*absent, *(f"{line}; the next start tells" for line in unknown)]
        for line in lines:
            self._log.add(WARNING, "%s", line)
        conf.problems = [*conf.problems, *lines]
        if absent and self._config:
            config = copy(self._config)
            if before:
                keep(config, before)
            if before is None or before.blocked:
                config.blocked = absent[0]
            conf.held = True
            self._log.add(WARNING, "%s: %s", conf.path, stays(config))
            self._reactor.post(CONFIG, config.frozen())


def question(config: Config) -> bytes:
    """What is to be looked for: keys and values, separated by NULs."""
    pairs = named(config).items()
    return b"\0".join(text.encode("utf-8", "surrogateescape") for pair in pairs for text in pair)
