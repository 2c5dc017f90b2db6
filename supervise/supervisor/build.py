"""Building a Supervisor from options, directory and configuration, for a first start and for an upgrade."""

from __future__ import annotations

import posix as os
import sys

from supervise.config.file import ConfFile
from supervise.config.restrictions import stays
from supervise.protocol.filenames import fsencode, join
from supervise.protocol.options import NO_ORPHANS
from supervise.protocol.paths import service_name
from supervise.protocol.severities import NOTICE, WARNING
from supervise.runtime.event_log import Log
from supervise.supervisor.loop import Supervisor
from supervise.system.errors import lost_directory
from supervise.system.spawn import HELPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.config.config import Config
    from supervise.protocol.options import Options
    from supervise.system.descriptors import HeldDescriptors
    from supervise.system.statusdir import StatusDir


def rename_process(name: bytes = b"supervise") -> None:
    """Set the process name for pgrep(1) and killall(1), which is `python3` otherwise."""
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, name)
        finally:
            os.close(fd)
    except OSError:
        pass


def conf_file(options: Options) -> ConfFile:
    """The configuration that the options name."""
    name = service_name(options.path)
    if options.defined:
        from supervise.config.defined import DefinedConf

        return DefinedConf(options.conf, name)
    return ConfFile(options.conf, name, options.conf_named, options.conf_text)


def recorded_config(fields: dict[str, Any]) -> Config | None:
    """The configuration that a state has recorded (config/from_state.py); None if it has none."""
    from supervise.config import from_state

    return from_state.config_from_state(fields)


def build_supervisor(
    options: Options,
    directory: StatusDir,
    kept: HeldDescriptors,
    env: dict[bytes, bytes],
    ignored: list[int],
    boot: str,
    conf: ConfFile,
    config: Config,
    problems: list[str],
    place: str = "",
    kind: type[Supervisor] = Supervisor,
) -> tuple[Supervisor, Log]:
    """Build a supervisor and its log; problems are added to `problems`, those of its configuration.

    `place`: the absolute path of the directory, where it is known already.
    """
    name = service_name(options.path)
    log = Log(directory, echo=2 if options.foreground else None)
    log.configure(config)
    env[b"SUPERVISE_SERVICE"] = fsencode(name)
    env[b"SUPERVISE_STATUS_DIR"] = absolute(fsencode(place or options.path))
    if NO_ORPHANS in sys._xoptions:
        log.add(WARNING, "no subreaper: processes that the service leaves behind go to process 1")
    if conf.present:
        log.add(NOTICE, "configuration %s: %s", conf.shown_path, config)
        if options.conf_text is not None:
            log.add(NOTICE, "configuration %s stays as it is: what it leads to is read once", conf.shown_path)
    elif conf.named:
        problems.append(f"{options.conf} does not exist: no policy{lost_directory(options.conf)}")
    if conf.held or config.blocked:
        problems.append(f"{options.conf}: {stays(config)}")
    forwarder = None
    if options.foreground and b"NOTIFY_SOCKET" in env:
        from supervise.supervisor.systemd import Forwarder, Systemd

        forwarder = Forwarder(Systemd(env))
    for variable in (b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID", HELPER):
        env.pop(variable, None)  # who set them meant supervise
    made = kind(options, name, directory, kept, conf, config, log, env, ignored, boot, forwarder)
    return made, log


def absolute(path: bytes) -> bytes:
    """Make a path absolute.  Raises OSError if it is relative to a directory that is gone."""
    return path if path.startswith(b"/") else join(os.getcwdb(), path)
