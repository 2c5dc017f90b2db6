"""What a file of definitions is: a supervise.conf, a supervisord.conf, or a Procfile.

Rule 1.  It is a Procfile by its name, `Procfile` or `Procfile.*`; or if it is not called `*.conf` or `*.ini`, and each
         line that is neither blank nor a comment is `name: command`, with no name that is a key of supervise.conf.
Rule 2.  It is a supervisord.conf by that name or supervisor.conf, by lying where supervisor looks for what it includes
         (supervisor/conf.d, supervisord.d), or by a section that only supervisor has: [supervisord], [supervisorctl],
         [unix_http_server], [inet_http_server], [rpcinterface:...], [ctlplugin:...], [eventlistener:...],
         [fcgi-program:...].  Where all sections could be supervisor's, a key that only supervisor has (of output:
         rotation, capture, events, syslog) makes it one, too.  What has [program:...] and no more is a supervise.conf.
Rule 3.  Anything else is a supervise.conf.
"""

from __future__ import annotations

from supervise.config.config import KEYS as CONFIG_KEYS
from supervise.config.definition import KEYS
from supervise.protocol.filenames import basename, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.sources import Source

_NOT_PROCFILES = (".conf", ".ini", ".cfg")
_SECTIONS = (
    *(b"[supervisord]", b"[supervisorctl]", b"[unix_http_server]", b"[inet_http_server]"),
    *(b"[rpcinterface:", b"[ctlplugin:", b"[eventlistener:", b"[fcgi-program:"),
)
_NAMES = ("supervisord.conf", "supervisor.conf")
_FOLDERS = ("supervisord.d", "supervisor.d")
_SHARED = (b"[program:", b"[group:", b"[include]", b"[DEFAULT]", b"[global]")  # with a supervise.conf
_KEYS = tuple(
    stream + what
    for stream in (b"stdout_", b"stderr_")
    for what in (b"logfile_maxbytes", b"logfile_backups", b"capture_maxbytes", b"events_enabled", b"syslog")
)


def is_procfile(source: Source) -> bool:
    """Whether a file is a Procfile (rule 1)."""
    name = basename(source.path)
    if name == "Procfile" or name.startswith("Procfile."):
        return True
    if name.endswith(_NOT_PROCFILES) or source.data[:1] == b"[" or b"\n[" in source.data:
        return False
    from supervise.config.procfile import lines_of

    names = [name for _, _, name, _ in lines_of(source.data)]
    return bool(names) and all(names) and not any(name in CONFIG_KEYS or name in KEYS for name in names)


def is_supervisords(source: Source) -> bool:
    """Whether a file is a supervisord.conf (rule 2)."""
    if basename(source.path) in _NAMES or _is_included(source.folder):
        return True
    return _has(source.data, _SECTIONS) or (_has(source.data, _KEYS) and _could_be(source.data))


def _is_included(folder: str) -> bool:
    """Whether a supervisord.conf is where distributions have it include what lies in a folder."""
    above, name = split(folder)
    return name in _FOLDERS or (name == "conf.d" and basename(above) in ("supervisor", "supervisord"))


def _has(data: bytes, words: tuple[bytes, ...]) -> bool:
    """Whether one of these stands somewhere with nothing but blanks before it."""
    for word in words:
        found = data.find(word)
        while found >= 0:
            if not data[data.rfind(b"\n", 0, found) + 1 : found].strip():
                return True
            found = data.find(word, found + 1)
    return False


def _could_be(data: bytes) -> bool:
    """Whether no section is a service's by its bare name."""
    at = 0 if data.startswith(b"[") else data.find(b"\n[") + 1
    while data.startswith(b"[", at):
        if not data.startswith(_SHARED, at):
            return False
        at = data.find(b"\n[", at) + 1
        if not at:
            break
    return True
