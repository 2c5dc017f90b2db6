"""The process that stays, from its first instruction until its service runs.

    daemon.py [report=FD] PATH ... -- COMMAND [ARG ...]        (see options.py)

A fresh interpreter, without site-packages, rather than a fork of the one that read the command line: what docopt
and its imports take would stay in memory as long as the service runs.  Until the service runs, 2 is still the
caller's standard error; then one byte on descriptor `report`, the exit code, tells the caller how it went.
"""

from __future__ import annotations

import os

from supervise.conffile import ConfFile
from supervise.log import FATAL, NOTICE, WARNING, Log, one_line
from supervise.options import REPORT, SYSTEM, Options, environment
from supervise.service import ignored_signals
from supervise.statusdir import LOG_WF, StatusDir, StatusDirError, service_name
from supervise.supervisor import StartError, Supervisor


def say(severity: str, text: str) -> None:
    """One line for the caller of `supervise`."""
    try:
        os.write(2, f"supervise: {severity}: {one_line(text)}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def settle_descriptors(report: int | None) -> None:
    """0 reads nothing, 1 and 2 exist, and of the rest only `report` is left.

    What the caller left open (the write end of a pipe, a lock of its own) must not stay open for months.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null < 3:  # the caller had closed one of the three: this is it now, and another is needed
        null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        names = [str(fd) for fd in range(3, 1024)]
    for name in names:
        fd = int(name)
        if fd > 2 and fd != report:
            try:
                os.close(fd)
            except OSError:
                pass  # the one that listdir read
    if report is not None:
        os.set_inheritable(report, False)


def detach() -> None:
    """Let go of the caller's output and error."""
    for fd in (1, 2):
        os.dup2(0, fd)


def rename_process() -> None:
    """So that `pgrep supervise` and `killall supervise` find it: it runs as `python3` otherwise."""
    try:
        with open("/proc/self/comm", "wb") as comm:
            comm.write(b"supervise")
    except OSError:
        pass


def main(words: list[str]) -> int:
    """Supervise one service until the end; the exit code."""
    report = None
    if words[0].startswith(REPORT):
        report = int(words.pop(0)[len(REPORT) :])
    options = Options.from_words(words)
    env = environment()
    ignored = ignored_signals()
    settle_descriptors(report)
    if not options.foreground:
        os.setsid()
    rename_process()
    supervisor = launch(options, env, ignored)
    code = 0 if supervisor else SYSTEM
    if report is not None:
        if supervisor:
            detach()
        os.write(report, bytes((code,)))
        os.close(report)
    return supervisor.run() if supervisor else code


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

