"""Common to the programs over status directories: command line, messages, exit codes, SIGPIPE.

What lives here: nothing about services.  The messages are as daemontools has them, `svc: fatal: cannot ...: why`; the
exit codes 0, 100 ("you"), 111 ("the system"), 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys

from supervise.client.errors import ClientError
from supervise.protocol.exitcodes import USAGE
from supervise.protocol.text import one_line
from supervise.system.isolated import reach_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_INTERRUPTED = 130


class UsageError(ClientError):
    """The command line asks for something that cannot be; the message says what."""

    exit_code = USAGE


def run(name: str, main: Callable[[list[str]], int]) -> int:
    """Run a program, and turn its exceptions into messages; its exit code.

    A reader of its output that leaves early (`| head -1`) ends it silently: nobody is there any more to tell.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not end anything
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
        # Everything is said: what is left is the end of an interpreter, which takes as long as its beginning.
        os._exit(code)
    except ClientError as why:
        complain(name, why)
        return why.exit_code
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # for what is still in the buffer, which Python would write at the end
        return 0
    except OSError as why:
        complain(name, f"cannot write: {why.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ClientError.exit_code
    except ImportError as why:
        complain(name, f"cannot start: {why}")
        return ClientError.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def complain(name: str, why: object) -> None:
    """Print an error message, after what was printed before it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        print(f"{name}: fatal: {one_line(str(why))}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except (OSError, AttributeError):
        pass  # standard error is closed


def parse(name: str, usage: str, argv: list[str], grammar: str = "") -> dict[str, Any] | None:
    """The command line as docopt reads it; None when it asked for help or the version, which is printed then.

    `usage` is for people, and for docopt as well unless there is a `grammar`.  Raises UsageError.
    """
    if argv[:1] in (["--help"], ["-h"]):
        print(usage, end="")
        return None
    if argv[:1] == ["--version"]:
        from supervise import __version__

        print(f"{name} {__version__}")
        return None
    reach_others()
    from docopt import DocoptExit, docopt

    try:
        args: dict[str, Any] = docopt(grammar or usage, argv, help=False)
        return args
    except DocoptExit as why:
        said = str(why).partition("\n")[0]
        detail = "" if said.lower().startswith("usage:") or not said else f": {said}"
        raise UsageError(f"wrong usage{detail}; see {name} --help") from None


def seconds(option: str, text: str) -> float:
    """A number of seconds, fractions included.  Raises UsageError."""
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(text) <= 12):
        raise UsageError(f"{option} takes a number of seconds, not {text!r}")
    return float(text)
