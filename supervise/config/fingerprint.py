"""What a service was started with, as far as only another start changes it: recorded, and compared with its file.

The variables of `environment` may be secrets, and more people may read the state than the configuration: so of them a
keyed hash is recorded, with a key of its own each time.
"""

from __future__ import annotations

import posix as os

from supervise.config.config import LIMITS, Config
from supervise.config.written import COMMANDS, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCHED = (
    *("user", "group", "umask", "directory", "environment"),
    *("stdout_logfile", "stderr_logfile", "redirect_stderr", "stdout_command", "stderr_command"),
    *LIMITS,
    *("notify", "notification_fd", "watchdog_secs"),
)
_KEY = 8  # bytes
_DEFAULTS = Config().frozen()


def fingerprint(config: Config) -> dict[str, str]:
    """The values of LAUNCHED that are not at their defaults, as they are recorded.  Raises OSError, ImportError."""
    said = _said(config)
    if "environment" in said:
        said["environment"] = _hidden(said["environment"], os.urandom(_KEY))
    return said


def differing(recorded: Mapping[str, object], config: Config) -> list[str]:
    """The keys of LAUNCHED in which a configuration is not what was recorded.  Raises ImportError."""
    said = _said(config)
    found = []
    for key in LAUNCHED:
        was, now = recorded.get(key), said.get(key)
        if key == "environment" and isinstance(was, str) and now is not None:
            now = _hidden(now, _key_of(was))
        if was != now:
            found.append(key)
    return found


def _said(config: Config) -> dict[str, str]:
    values = ((key, getattr(config, key)) for key in LAUNCHED)
    said = ((key, value) for key, value in values if value != getattr(_DEFAULTS, key))
    # Of a logger the service has the pipe, whatever reads that.
    return {key: "a pipe" if key in COMMANDS else written(key, value) for key, value in said}


def _hidden(text: str, key: bytes) -> str:
    """`KEY:HASH`, both in hexadecimal digits."""
    from _blake2 import blake2b  # what is in C of hashlib, which brings OpenSSL

    return f"{key.hex()}:{blake2b(text.encode('utf-8', 'surrogateescape'), key=key, digest_size=16).hexdigest()}"


def _key_of(recorded: str) -> bytes:
    try:
        return bytes.fromhex(recorded.partition(":")[0])[:_KEY]
    except ValueError:
        return b""
