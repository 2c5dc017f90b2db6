"""What a file of definitions is: a supervise.conf, a supervisord.conf, or a Procfile.

Rule 1.  It is a Procfile by its name, `Procfile` or `Procfile.*`; or if it is not called `*.conf` or `*.ini`, and each
         line that is neither blank nor a comment is `name: command`, with no name that is a key of supervise.conf.
Rule 2.  It is a supervisord.conf by that name, or by a section that only supervisor has: [supervisord],
         [supervisorctl], [unix_http_server], [inet_http_server], [rpcinterface:...], [ctlplugin:...],
         [eventlistener:...], [fcgi-program:...].  A file with nothing but [program:...] is a supervise.conf.
Rule 3.  Anything else is a supervise.conf.
"""

from __future__ import annotations

from supervise.config.config import KEYS as CONFIG_KEYS
from supervise.config.definition import KEYS
from supervise.protocol.filenames import basename

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.sources import Source

_NOT_PROCFILES = (".conf", ".ini", ".cfg")
_SECTIONS = (
    *(b"[supervisord]", b"[supervisorctl]", b"[unix_http_server]", b"[inet_http_server]"),
    *(b"[rpcinterface:", b"[ctlplugin:", b"[eventlistener:", b"[fcgi-program:"),
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
    if basename(source.path) == "supervisord.conf":
        return True
    for title in _SECTIONS:
        found = source.data.find(title)
        while found >= 0:
            start = source.data.rfind(b"\n", 0, found) + 1
            if not source.data[start:found].strip():
                return True
            found = source.data.find(title, found + 1)
    return False
