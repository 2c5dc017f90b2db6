"""`supervise --check`: print a configuration as it is understood, and its problems."""

from __future__ import annotations

import errno
import os
import signal
import sys

from supervise.config.config import PLACED, Config
from supervise.config.file import names_for, open_configuration, read_from
from supervise.config.from_descriptor import Unreadable, read
from supervise.config.lookup import ABSENT, UNKNOWN, look, named
from supervise.config.oversize import harmless as looked_through
from supervise.config.parser import split_file, understood
from supervise.config.sections import Problem, Problems, Sections, names_services
from supervise.protocol.exitcodes import USAGE
from supervise.protocol.exitstatus import from_wait_status
from supervise.protocol.filenames import from_file, in_file
from supervise.protocol.text import one_line, shown_name
from supervise.system.errors import lost_directory
from supervise.system.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.lookup import Finding

OK, PROBLEMS = 0, USAGE
_BLOCKS = " (the service is not started)"

_DEFAULTS = Config()
_PATIENCE = 30  # seconds
_CHECKS = ("check_interval", "check_timeout", "check_failures", "check_delay")


def check(path: str, name: str | None) -> int:
    """Print what `path` means for the service `name`, or for every section, and every problem as `FILE:LINE: ...`.

    `name` is as it was typed; sections are compared with it byte by byte, whatever the locale says.
    Whoever may read the file may see what it says, so the variables of `environment` are shown with their values.
    What cannot be told is printed and is no problem: whoever starts supervise may be allowed to look.
    Returns 0, or 100 if there is a problem.
    """
    disbelieved = ""
    try:
        text = read(path)
    except Unreadable as why:
        print(one_line(str(why)) + _BLOCKS)
        return PROBLEMS
    try:
        try:
            fd = open_configuration(path) if text is None else -1
        except Untrusted as why:  # by supervise, if this user starts it; what it says is looked at all the same
            disbelieved = f"{shown_name(path)}: not believed: {one_line(str(why))}"
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        data, cut, status = read_from(fd) if text is None else (text, False, os.stat("/"))
    except OSError as why:
        lost = lost_directory(path)
        print(f"{shown_name(path)}: cannot be read: {why.strerror}{lost}{_BLOCKS if why.errno != errno.ENOENT else ''}")
        return PROBLEMS
    base = path if text is None else "-"  # in the current directory
    harmless = cut and looked_through(path, data, status)
    general = Problems()
    split = split_file(data, general, cut, None)
    sections = split.keys
    services = [section for section in sections if section != "global" and not names_services(section)]
    names = services if name is None else [in_file(name)]
    names = names or [""]
    asked = {*names}
    # What to sort by: problems of the whole file first, the count of those not listed last.
    found: dict[str, float] = {disbelieved: 0} if disbelieved else {}
    blocking = {disbelieved}
    unknown: list[str] = []
    looked: dict[str, list[Finding]] = {}
    configs: dict[str, Config] = {}
    # Every problem of the file, whichever service was asked for.
    for service in dict.fromkeys((*sections, *names)):
        problems = general.copy()
        expanded = names_for(base, service)
        config = configs[service] = understood(split, problems, service, None, cut, expanded, harmless)
        kept = [*problems.kept, *without_effect(split, service, config)]
        found.update((problem.at(shown_name(path)), problem.line) for problem in kept)
        if problems.dropped:
            found[problems.lines(shown_name(path))[-1]] = float("inf")
        absent = []
        for key, kind, said in look_apart(service, config, looked):
            problem = Problem(problems.places.get(key) or problems.places.get("user", 0), one_line(said))
            if kind == ABSENT:
                absent.append(problem)
            else:
                unknown.append(f"{problem.at(shown_name(path))} (it is looked for when the service is started)")
        found.update((problem.at(shown_name(path)), problem.line) for problem in absent)
        if service in asked:
            blocking.update(problem.at(shown_name(path)) for problem in [*problems.blocking, *absent])
    for service in names:
        config = configs[service]
        _describe(service, service in sections)
        for key, value in config.items():
            print(f"  {key} : {one_line(value)}".rstrip())
        if not config.alarm_interval:
            print("  (alarm_interval is 0: no alarms, no limit of restarts)")
    for line in sorted(found, key=found.__getitem__):
        print(line + (_BLOCKS if line in blocking else ""))
    for line in dict.fromkeys(unknown):
        print(line)
    return PROBLEMS if found else OK


def without_effect(sections: Sections, service: str, config: Config) -> list[Problem]:
    """The problems of keys that cannot have an effect, for another key is missing.

    What [global] says may be meant for some services only.
    """
    found = []
    for key, (line, text) in sections.keys.get(service, {}).items():
        if not text or getattr(config, key) == getattr(_DEFAULTS, key):
            continue
        if key == "restart_delay_max" and config.restart_delay_max < config.restart_delay:
            found.append(Problem(line, f"{key}: less than restart_delay, {config.restart_delay}: counts as that"))
        elif service == "global":
            continue
        elif key in _CHECKS and not config.check_command:
            found.append(Problem(line, f"{key}: of no effect without check_command"))
        elif key.startswith(("stdout_logfile", "stderr_logfile")) and getattr(config, f"{key[:6]}_command"):
            found.append(Problem(line, f"{key}: of no effect with {key[:6]}_command"))
        elif key == "stderr_command" and config.redirect_stderr:
            found.append(Problem(line, f"{key}: of no effect with redirect_stderr"))
        elif key == "starttimeoutsecs" and not (config.notify or config.notification_fd or config.check_command):
            found.append(Problem(line, f"{key}: of no effect without notify or notification_fd"))
    return found


def look_apart(service: str, config: Config, looked: dict[str, list[Finding]]) -> list[Finding]:
    """Look for what a configuration names, in a child, which becomes the service's user where this is root.

    `looked`: what was found already, by what was looked for.
    """
    values = named(config)
    if service == "global" and not config.cgroup:
        values = {key: text for key, text in values.items() if key not in ("memory_max", "cpu_max")}
    if service == "global":  # %(program_name)s is another for each service
        values = {key: text for key, text in values.items() if key not in PLACED}
    known = repr(values)
    if values and known not in looked:
        looked[known] = _found_by_child(values)
    return looked.get(known, [])


def _found_by_child(values: dict[str, str]) -> list[Finding]:
    sys.stdout.flush()
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError as why:
        os.close(reading)
        os.close(writing)
        return [(next(iter(values)), UNKNOWN, f"cannot fork: {why.strerror}")]
    if pid == 0:
        try:
            signal.alarm(_PATIENCE)
            with open(writing, "wb") as answer:
                texts = [text for finding in look(values) for text in finding]
                answer.write("\0".join([*texts, ""]).encode("utf-8", "surrogateescape"))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as said:
        parts = said.read().decode("utf-8", "surrogateescape").split("\0")[:-1]
    how = from_wait_status(os.waitpid(pid, 0)[1])
    if how.code == 0:
        return list(zip(parts[::3], parts[1::3], parts[2::3]))
    late = f"no answer within {_PATIENCE} seconds" if how.signal == signal.SIGALRM else f"the process that looks {how}"
    return [(next(iter(values)), UNKNOWN, f"cannot tell whether there is what it names: {late}")]


def _describe(service: str, has_section: bool) -> None:
    if not service:
        print("any service:")
    elif has_section:
        print(f"service {shown_name(from_file(service))}:")
    else:
        print(f"service {shown_name(from_file(service))}, which has no section of its own:")
