"""The keys of a supervisord.conf as those of supervise.conf, and what is said of those that are not carried over.

What lives here: one program at a time.  What does not: which programs there are (supervisord.py).

Rule 1.  Where supervisor's default is not ours, it is said in the [global] of what a supervise reads, unless the file
         itself has a [global] that says otherwise: autorestart unexpected, stopwaitsecs 10.
Rule 2.  A key of a program that neither of the two has is handed on as it is: parser.py says that it is unknown, and
         starts nothing where it may have been meant for one that restricts the service.  So is what may have been meant
         for one in [supervisord].
Rule 3.  The variables of `environment` go the way of every other line, unless there is a line break in one, or they are
         longer than a line can be: then they are the definition's.
"""

from __future__ import annotations

import posix as os

from supervise.config.config import INHERIT, NONE, PLACED
from supervise.config.definition import KEYS, Definition, Entry
from supervise.config.misspellings import restricting
from supervise.config.sections import LINE_LIMIT
from supervise.config.written import EXPANDED, unexpanded, written_environment
from supervise.protocol.filenames import join
from supervise.protocol.names import STDERR, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervise.config.sources import Report

_DEFAULTS = {
    "autorestart": "unexpected",
    "stopwaitsecs": "10",
    **{f"{stream}_logfile_maxbytes": "50MB" for stream in ("stdout", "stderr")},
}
_UMASK = "022"
_TRUE, _FALSE = ("yes", "true", "on", "1"), ("no", "false", "off", "0")

FILES = {"stdout": STDOUT, "stderr": STDERR}
_OUTPUT_KEYS = ("logfile", "capture_maxbytes", "events_enabled", "syslog")
_NOWHERE = ("none", "off", "/dev/null")
_AUTO = ("", "auto")
_SYSLOG = "syslog"
_OWN_OUTPUT = (
    *("/dev/tty", "/dev/stdout", "/dev/stderr"),
    *(f"{folder}/fd/{fd}" for folder in ("/dev", "/proc/self", "/proc/1") for fd in (1, 2)),
)

_LOG = ("logfile", "logfile_maxbytes", "logfile_backups", "loglevel", "silent", "strip_ansi", "childlogdir")
_SILENT = ("nodaemon", "nocleanup")  # they say how supervisord runs, which the verbs of svall do
_CARRIED = ("environment", "directory", "user", "umask", "minfds", "minprocs")
_SECTIONS = {
    "unix_http_server": "svc and svstat need no server",
    "inet_http_server": "there is no server on the network",
    "supervisorctl": "svall, svc and svstat take its place",
    "rpcinterface": "svc, svstat --json and the Python interface take its place",
    "ctlplugin": "svall, svc and svstat take its place",
    "eventlistener": "alarm_mail, alarm_gsm and svstat --watch tell of what happens",
    "fcgi-program": "let the program open its socket itself, in a [program:...]",
}


def not_carried_over(title: str) -> str:
    """The warning about a section that defines no service."""
    instead = _SECTIONS.get(title.partition(":")[0])
    return f"[{title}]: " + (f"not carried over: {instead}" if instead else "not a section of supervisor's: skipped")


class Translation:
    """From the keys of a program to the lines that govern its services; `base` are those of [supervisord]."""

    def __init__(
        self, base: Mapping[str, Entry], global_keys: Mapping[str, Entry], folder: str, report: Report
    ) -> None:
        self._base = base
        self._global = global_keys
        self._folder = folder
        self._report = report
        self._for_all: dict[str, tuple[str, Entry]] = {}  # key -> text and where that comes from

    def read(self, expanded: Callable[[Entry], str | None]) -> None:
        """Read what [supervisord] says of all programs."""
        for key in ("user", "umask", "directory"):
            if (entry := self._base.get(key)) and (text := expanded(entry)):
                self._for_all[key] = (text, entry)
        for key, entry in self._base.items():
            if key not in _CARRIED and restricting(key) and (text := expanded(entry)) is not None:
                self._for_all[key] = (text, entry)
        if "directory" in self._for_all:
            text, entry = self._for_all["directory"]
            self._folder = join(self._folder, text)
            self._for_all["directory"] = (unexpanded(self._folder), entry)
        for key, ours, limit in (("minfds", "rlimit_nofile", "NOFILE"), ("minprocs", "rlimit_nproc", "NPROC")):
            if (entry := self._base.get(key)) and (text := expanded(entry)):
                if not (text.isascii() and text.isdigit() and len(text) < 10):
                    self._report.error(entry.source.path, entry.line, f"{key}: not a whole number")
                elif raised := _raised(int(text), limit):
                    self._for_all[ours] = (raised, entry)

    def govern(
        self,
        made: Definition,
        keys: Mapping[str, Entry],
        expanded: Callable[[Entry], str | None],
        variables: Mapping[str, str],
    ) -> None:
        """Say in `lines`, and where need be in `environment`, what governs a service."""
        head = (made.file, made.line)
        lines = [(*head, "[global]")]
        lines += [(*head, f"{key} : {value}") for key, value in _DEFAULTS.items() if key not in self._global]
        for key, (value, entry) in self._for_all.items():
            if key not in self._global:
                lines.append((entry.source.path, entry.line, f"{key} : {_flat(value)}"))
        if "umask" not in self._for_all and "umask" not in self._global and not self._in_foreground():
            lines.append((*head, f"umask : {_UMASK}"))
        for key, entry in self._global.items():
            if key not in KEYS:
                lines.append((entry.source.path, entry.line, f"{key} : {_flat(entry.text)}"))
        lines.append((*head, f"[{made.name}]"))
        for key, entry in keys.items():
            if key in KEYS or key == "environment":
                continue
            instead = _instead(key, entry.text.strip(), keys)
            if instead is not None:
                if instead:
                    self._report.leave_out(entry.source.path, entry.line, f"{key}: not carried over: {instead}")
                continue
            text = expanded(entry)
            if text is None:
                continue  # it is reported: nothing is started
            value = _flat(text)
            if key == "directory" and value:
                value = join(self._folder, value)
            if key in PLACED:
                value = self._logfile(value)
            if key == "stopwaitsecs" and value == "0":
                value = "1"  # which is nearer to at once than our 0, which is never
            lines.append((entry.source.path, entry.line, f"{key} : {unexpanded(value) if key in EXPANDED else value}"))
            if key == "stopasgroup" and "killasgroup" not in keys:
                lines.append((entry.source.path, entry.line, f"killasgroup : {value}"))
        said = keys.get("environment") or self._base.get("environment")
        place = (said.source.path, said.line) if said else head
        own = {"SUPERVISOR_ENABLED": "1", "SUPERVISOR_PROCESS_NAME": made.name, "SUPERVISOR_GROUP_NAME": made.group}
        pairs = tuple({**own, **variables}.items())
        line = f"environment : {written_environment(pairs)}"
        if all(map(_fits_a_line, variables.values())) and len(line.encode("utf-8", "surrogateescape")) <= LINE_LIMIT:
            lines.append((*place, line))
        else:
            made.environment = pairs
        made.lines = lines

    def _logfile(self, value: str) -> str:
        """The value of a log file in our words, a path as absolute: it is relative to where supervisord runs."""
        word = value.lower()
        if word in _AUTO:
            return ""
        if word in _NOWHERE:
            return NONE
        if word in _OWN_OUTPUT or word == INHERIT.lower():
            return INHERIT
        if value.startswith("~/"):
            value = os.environ.get(b"HOME", b"~").decode("utf-8", "surrogateescape") + value[1:]
        return join(self._folder, value)

    def look_through(self) -> None:
        """Report what [supervisord] says that is not carried over."""
        log = next((key for key in self._base if key in _LOG), "")
        for key, entry in self._base.items():
            if key in _CARRIED or key in _SILENT or key in self._for_all or (key in _LOG and key != log):
                continue
            if key == log:
                text = "not carried over: each service has its own supervise.log"
            elif key == "pidfile":
                text = "not carried over: each service has its own supervise, whose pid svstat shows"
            elif key == "identifier":
                text = "not carried over: services are told apart by their status directories"
            else:
                text = "not a key of [supervisord]: skipped"
            self._report.leave_out(entry.source.path, entry.line, f"{key}: {text}")

    def _in_foreground(self) -> bool:
        entry = self._base.get("nodaemon")
        return entry is not None and entry.text.strip().lower() in _TRUE


def _flat(value: str) -> str:
    """A value of several lines as one of one."""
    return " ".join(value.split("\n")) if "\n" in value else value


def _fits_a_line(value: str) -> bool:
    return not any(char < " " or "\x7f" <= char < "\xa0" or char in "\u2028\u2029" for char in value)


def _raised(least: int, limit: str) -> str:
    """Both limits, where the soft one is less than `least`, which is what supervisord raises it to; else nothing."""
    import resource

    soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{limit}"))
    if soft == resource.RLIM_INFINITY or soft >= least:
        return ""
    return f"{least}:{'unlimited' if hard == resource.RLIM_INFINITY else max(least, hard)}"


def _instead(key: str, text: str, keys: Mapping[str, Entry]) -> str | None:
    """What there is in place of a key that is not carried over: empty where nothing is lost; None for any other key."""
    if key == "serverurl":
        return "" if text.upper() in ("", "AUTO") else "there is no server"
    stream, _, what = key.partition("_")
    if stream not in FILES or what not in _OUTPUT_KEYS or text.upper() == INHERIT:
        return None
    redirected = keys.get("redirect_stderr")
    if stream == "stderr" and redirected is not None and redirected.text.strip().lower() in _TRUE:
        return ""
    word, file = text.lower(), FILES[stream]
    if what == "logfile":
        return f"what it prints is in {file}" if word == _SYSLOG else None
    if word in ("", "0", *_FALSE):
        return ""
    syslog = f"what it prints is in {file}; {stream}_command : logger pipes it to syslog"
    return syslog if what == "syslog" else "there are no events"
