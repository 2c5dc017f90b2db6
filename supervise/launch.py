"""The process that stays, from its first instruction until its service runs.

It is told what to do on its standard input (options.py); what arguments it has are for people with ps(1).

A fresh interpreter, without site-packages, rather than a fork of the one that read the command line: what docopt
and its imports take would stay in memory as long as the service runs.  Until the service runs, 2 is still the
caller's standard error, and 1 is where one byte, the exit code, tells the caller how it went.
"""

from __future__ import annotations

import fcntl
import os

from supervise.conffile import ConfFile
from supervise.log import FATAL, NOTICE, WARNING, Log, one_line
from supervise.options import SYSTEM, Options, environment
from supervise.service import ignored_signals
from supervise.statusdir import LOG_WF, StatusDir, StatusDirError, service_name
from supervise.supervisor import StartError, Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # see service.py


def say(severity: str, text: str) -> None:
    """One line for the caller of `supervise`."""
    try:
        os.write(2, f"supervise: {severity}: {one_line(text)}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def settle_descriptors(reporting: bool) -> int:
    """0 reads nothing, 1 and 2 exist, and of the rest only one is left: where to report to, -1 if nowhere.

    What the caller left open (the write end of a pipe, a lock of its own) must not stay open for months.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null < 3:  # the caller had closed one of the three: this is it now, and another is needed
        null = os.open(os.devnull, os.O_RDWR)
    report = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3) if reporting else -1
    os.dup2(null, 0)
    if reporting:
        os.dup2(null, 1)
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        names = [str(fd) for fd in range(3, 1024)]
    for name in names:
        if int(name) > 2 and int(name) != report:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listdir read
    return report


def rename_process() -> None:
    """So that `pgrep supervise` and `killall supervise` find it: it runs as `python3` otherwise."""
    try:
        with open("/proc/self/comm", "wb") as comm:
            comm.write(b"supervise")
    except OSError:
        pass


def main() -> int:
    """Supervise one service until the end; the exit code."""
    if _signal.getsignal(_signal.SIGINT) == _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # a traceback is no answer to a caller's ^C
    told = read_to_end(0)
    if not told:
        return 0  # the command line was wrong, or asked for something else
    options = Options.decode(told)
    env = environment()
    ignored = ignored_signals()
    report = settle_descriptors(not options.foreground)
    if not options.foreground:
        os.setsid()
    rename_process()
    supervisor = launch(options, env, ignored)
    code = 0 if supervisor else SYSTEM
    if report >= 0:
        if supervisor:
            os.dup2(0, 2)
        try:
            os.write(report, bytes((code,)))
        except BrokenPipeError:
            pass  # the caller did not wait for it
        os.close(report)
    return supervisor.run() if supervisor else code


def read_to_end(fd: int) -> bytes:
    """All that can be read.  Nothing, if that fails."""
    parts: list[bytes] = []
    try:
        while True:
            part = os.read(fd, 65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
    except OSError:
        return b""


def launch(options: Options, env: dict[bytes, bytes], ignored: list[int]) -> Supervisor | None:
    """Directory, lock, configuration, first start; None, with the reason said, if it failed."""
    name = service_name(options.path)
    directory = None
    locked = False
    try:
        directory = StatusDir(options.path)
        directory.lock()
        locked = True
        fifos = directory.open_fifos()
        log = Log(directory, echo=2 if options.foreground else None)
        conf = ConfFile(options.conf, name, options.conf_named)
        env[b"SUPERVISE_SERVICE"] = os.fsencode(name)
        env[b"SUPERVISE_STATUS_DIR"] = os.path.join(os.getcwdb(), os.fsencode(options.path))
        config, problems = conf.read()
        supervisor = Supervisor(options, name, directory, fifos, conf, config, log, env, ignored)
        if conf.named and not conf.present:
            problems.append(f"{options.conf} does not exist: no policy")
        for problem in problems:
            if not options.foreground:  # there the log is copied to standard error anyway
                say("warning", problem)
            log.add(WARNING, "%s", problem)
        if conf.present:
            log.add(NOTICE, "configuration %s: %s", options.conf, config)
        supervisor.start()
        directory.keep()
    except (StatusDirError, StartError, OSError) as why:
        say("fatal", str(why))
        if directory and locked:
            if directory.has(LOG_WF):
                record = Log(directory)
                record.add(FATAL, "%s", why)
                record.flush()
            directory.undo()
        return None
    return supervisor

