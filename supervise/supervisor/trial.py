"""The trial of an upgrade: whether this version could go on where a running supervise is (upgrade.py, rule 1).

It runs in a child of that supervise, with its limits, its working directory, its environment, and what it would hand
over, but without its descriptors.  Everything is loaded and built, and nothing is touched: what this writes goes
nowhere, nobody is signalled, and no FIFO is read.
"""

from __future__ import annotations

import posix as os
import sys

from supervise.protocol.filenames import DEVNULL, join
from supervise.protocol.state_reader import decode
from supervise.protocol.text import one_line
from supervise.runtime.internal_errors import InternalErrors
from supervise.supervisor import handoff, preloaded, symbol_check
from supervise.supervisor.upgraded import build_upgraded
from supervise.system import helper
from supervise.system.installed import PACKAGE
from supervise.system.statusdir import StatusDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.protocol.options import Options
    from supervise.supervisor.loop import Supervisor

_HELPERS = [helper.script(name) for name in ("alarm_helper", "inotify_helper", "lookup_helper")]
_MODULES = [join(PACKAGE, name) for name in ("alarms/mail.py", "config/lookup.py", "system/accounts.py")]
_OTHERS = (handoff.DAEMON, *_HELPERS, *_MODULES)  # in other processes
_FAILED = 1


class Untouched(StatusDir):
    """A status directory to which nothing is written."""

    def bind_notify(self, bind: Callable[[str], None]) -> None:
        """Do nothing."""

    def remove_notify(self) -> None:
        """Do nothing."""

    def replace(self, name: str, data: bytes) -> None:
        """Do nothing."""

    def read(self, name: str) -> bytes | None:
        """Do nothing."""
        return None

    def open_output(self, name: str) -> int:
        """Do nothing."""
        return os.open(DEVNULL, os.O_WRONLY | os.O_CLOEXEC)

    def append(self, name: str, text: bytes) -> int:
        """Do nothing."""
        return len(text)


def run_trial(options: Options, env: dict[bytes, bytes], ignored: list[int]) -> int:
    """Try this version: exit code 0, or 1 with one line on standard error that says what is wrong."""
    try:
        modules = symbol_check.load_all("supervise.supervisor.startup", *preloaded.NAMES)
        for path in _OTHERS:
            with open(path, "rb") as file:
                compile(file.read(), path, "exec", dont_inherit=True)
        supervisor = build(options, env, ignored)
        complete(supervisor)
        problem = next(symbol_check.unresolved(modules, [supervisor]), "")
    except Exception as why:
        what = str(why)
        problem = what if type(why).__module__.startswith("supervise.") else f"{type(why).__name__}: {what}"
    if problem:
        sys.stderr.write(one_line(problem) + "\n")
    return _FAILED if problem else 0


def _tell(errors: InternalErrors, why: BaseException) -> None:
    """Fail the trial for an internal error, which a running supervise would survive."""
    raise why


def build(options: Options, env: dict[bytes, bytes], ignored: list[int]) -> Supervisor:
    """Build the supervisor that would go on.  Raises any Exception."""
    import _socket

    InternalErrors.note = _tell  # type: ignore[assignment, method-assign]
    fields = decode(options.handover.encode())
    env = {name: value for name, value in env.items() if name != b"NOTIFY_SOCKET"}  # systemd is to hear nothing
    descriptors: dict[str, int] = fields["descriptors"]
    for name, fd in descriptors.items():
        if name == "service" or fd < 0:
            descriptors[name] = -1  # its pid is enough
        elif name.startswith("notify"):  # and those before it
            descriptors[name] = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM).detach()
        else:
            # As many as there will be.
            descriptors[name] = os.open("/" if name == "directory" else DEVNULL, os.O_RDONLY | os.O_CLOEXEC)
    supervisor = build_upgraded(options.with_handover(fields, False), env, ignored, Untouched)
    supervisor._settle()
    supervisor._timeout()
    return supervisor


def complete(supervisor: Supervisor) -> None:
    """Make the parts that another configuration would need."""
    from supervise.service.parts import KINDS
    from supervise.service.pidfile import PidFile
    from supervise.supervisor.replaceable import Replaceable
    from supervise.supervisor.systemd import Forwarder, Systemd
    from supervise.supervisor.upgrade import Upgrader

    log, reactor = supervisor._log, supervisor._reactor
    made = supervisor._service.parts
    made.make(KINDS)
    if made.successor and not made.successor._file:
        made.successor._file = PidFile("pid", "")
    supervisor._forwarder = supervisor._forwarder or Forwarder(Systemd({}))
    supervisor.__class__ = Replaceable
    assert isinstance(supervisor, Replaceable)
    supervisor._actions.upgrader = Upgrader(supervisor, reactor, [], log)
