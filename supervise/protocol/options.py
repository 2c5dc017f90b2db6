"""The options of a supervise, and how they are handed to the process that stays: words that end in NUL.

What lives here: the two directions of that.  What does not: what users type (supervise.py).
"""

from __future__ import annotations

import posix as os

from supervise.protocol.filenames import fsdecode, fsencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


_FLAGS = ("foreground", "resume", "exit_with_service", "trial", "defined", "inherits")
_LAUNCHER = b"__PYVENV_LAUNCHER__"
NO_ORPHANS = "no_orphans"  # an option -X of the daemon's interpreter: it is no subreaper


class Options:
    """The options of one supervise: paths as typed, `reset` in seconds or None, `command` as its words.

    `handover` is for a supervise that replaces another in the same process: what that one knew (upgrade.py);
    `trial`: only find out whether it could.  `variables`: what `set_apart` has taken out of the environment.
    `advice`: warnings about the command line, to be said at the start.
    `conf_text`: what `conf` said, where that is a descriptor, which is read once; else None.  `defined`: `conf` defines
    the service (config/definitions.py).  `inherits`: 1 and 2 are somebody's, to whom the service may print, as in the
    foreground.
    """

    __slots__ = (
        *("path", "conf", "conf_named", "conf_text", "script", "reset", "command"),
        *(*_FLAGS, "handover", "variables", "advice"),
    )

    def __init__(
        self,
        path: str,
        command: list[str],
        conf: str = "supervise.conf",
        conf_named: bool = False,
        script: list[str] | None = None,
        reset: int | None = None,
        foreground: bool = False,
        resume: bool = False,
        exit_with_service: bool = False,
        trial: bool = False,
        handover: str = "",
        variables: dict[bytes, bytes] | None = None,
        advice: list[str] | None = None,
        conf_text: bytes | None = None,
        defined: bool = False,
        inherits: bool = False,
    ) -> None:
        self.path = path
        self.command = command
        self.conf = conf
        self.conf_named = conf_named
        self.conf_text = conf_text
        self.script = script or []
        self.reset = reset
        self.foreground = foreground
        self.resume = resume
        self.exit_with_service = exit_with_service
        self.trial = trial
        self.handover = handover
        self.variables = variables or {}
        self.advice = advice or []
        self.defined = defined
        self.inherits = inherits

    def with_handover(self, fields: dict[str, Any], trial: bool) -> Options:
        """A copy for the supervise that replaces this one; `fields`: the state that it takes over."""
        from supervise.protocol import state  # which reading a command line can do without

        return self._with(trial, state.encode(fields).decode("ascii"))

    def without_handover(self) -> Options:
        """A copy without the state of the supervise that was replaced."""
        return self._with(False, "")

    def _with(self, trial: bool, handover: str) -> Options:
        copy = Options(self.path, self.command)
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.trial, copy.handover = trial, handover
        return copy

    def for_state(self) -> dict[str, Any]:
        """What the state says of them, as state.py describes it."""
        try:
            directory = os.getcwd()
        except OSError:
            directory = None
        return {
            "directory": directory,
            "conf": self.conf,
            "conf_named": self.conf_named,
            "script": self.script,
            "reset": self.reset,
            "exit_with_service": self.exit_with_service,
            "foreground": self.foreground,
            "defined": self.defined,
        }

    def encode(self) -> bytes:
        """Serialise the options."""
        words = [self.path, f"{'conf' if self.conf_named else 'default-conf'}={self.conf}"]
        if self.conf_text is not None:
            words.append(f"conf-text={fsdecode(self.conf_text)}")
        words += [f"script={word}" for word in self.script]
        if self.reset is not None:
            words.append(f"reset={self.reset}")
        words += [flag for flag in _FLAGS if getattr(self, flag)]
        words += [f"variable={fsdecode(name)}={fsdecode(value)}" for name, value in self.variables.items()]
        words += [f"advice={text}" for text in self.advice]
        if self.handover:
            words.append(f"handover={self.handover}")
        return b"".join(fsencode(word) + b"\0" for word in [*words, "--", *self.command])

    @classmethod
    def decode(cls, data: bytes) -> Options:
        """Parse what `encode` made."""
        words = [fsdecode(word) for word in data.split(b"\0")[:-1]]
        end = words.index("--", 1)
        options = cls(words[0], words[end + 1 :])
        for word in words[1:end]:
            key, _, value = word.partition("=")
            if key in ("conf", "default-conf"):
                options.conf, options.conf_named = value, key == "conf"
            elif key == "conf-text":
                options.conf_text = fsencode(value)
            elif key in ("script", "advice"):
                getattr(options, key).append(value)
            elif key == "reset":
                options.reset = int(value)
            elif key == "variable":
                name, _, its = fsencode(value).partition(b"=")
                options.variables[name] = its
            elif key == "handover":
                options.handover = value
            elif key in _FLAGS:
                setattr(options, key, True)
        return options


def environment() -> dict[bytes, bytes]:
    """The environment exactly as the caller gave it.

    os.environ is not that: in the C locale Python sets LC_CTYPE in it (PEP 538), and programs started from here
    would behave other than those the caller starts himself.
    """
    try:
        with open("/proc/self/environ", "rb", buffering=0) as block:
            data = block.readall()
    except OSError:
        return dict(os.environ)
    pairs = (entry.partition(b"=") for entry in (data or b"").split(b"\0"))
    return {name: value for name, equals, value in pairs if name and equals}


def set_apart(env: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Split an environment: without the variables for Python, and those.

    Isolated as it may be (-I), Python 3.11 to 3.13 take the place of their standard library from a pyvenv.cfg beside
    what PYTHONEXECUTABLE or __PYVENV_LAUNCHER__ names.
    """
    apart = {name: value for name, value in env.items() if name.startswith(b"PYTHON") or name == _LAUNCHER}
    return {name: value for name, value in env.items() if name not in apart}, apart
