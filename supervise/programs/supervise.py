"""The program `supervise`: it starts the process that stays, hands it the options, and ends."""

from __future__ import annotations

import gc
import posix as os
import sys

from supervise.programs.daemon_process import Daemon
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.filenames import DEVNULL
from supervise.protocol.options import set_apart
from supervise.protocol.text import say
from supervise.system.isolated import callers_environment

_NO_DAEMON = ("-h", "--help", "-v", "--version", "--check")  # alone
_ITSELF = "--foreground"  # or so much of it that docopt knows it: this process is to become the supervise


def main() -> int:
    """The program; the exit code."""
    gc.disable()  # it ends soon
    argv = sys.argv[1:]
    daemon = None
    env, apart = set_apart(callers_environment())
    try:
        daemon = Daemon(argv, env) if _may_need_a_daemon(argv) else None
        from supervise.programs.command_line import run  # while its interpreter starts

        code = run(argv, env, apart, daemon)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads the help has read enough
        os.dup2(os.open(DEVNULL, os.O_WRONLY), 1)
        return 0
    except OSError as why:
        say("supervise", "fatal", f"cannot start: {why.strerror}" if why.strerror else str(why))
        return SYSTEM
    except (ImportError, MemoryError) as why:  # a low limit
        say("supervise", "fatal", f"cannot start: {type(why).__name__}: {why}")
        return SYSTEM
    except KeyboardInterrupt:
        return 130
    finally:
        if daemon:
            daemon.dismiss()


def _may_need_a_daemon(argv: list[str]) -> bool:
    """Whether to start it before the command line is read: one that is not needed has to be waited for."""
    itself = any(len(arg) > 2 and _ITSELF.startswith(arg) for arg in argv)
    return bool(argv) and argv[0] not in _NO_DAEMON and not itself
