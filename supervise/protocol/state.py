"""The `state` file, as JSON: what a later supervise needs for a takeover, and what svstat shows beyond the record.

What lives here: the format, and writing it.  What does not: reading it (state_reader.py), files, processes, clocks.

JSON, one object, readable by people; `version` is 1, and counts up when an older reader would go wrong.  Times named
`..._at` are seconds of CLOCK_MONOTONIC, which all processes of one boot share, so they mean something only with the
same `boot_id`; those named `..._time` are Unix seconds, for people.  How long ago that was, `..._boottime` tells: the
same moment in seconds of CLOCK_BOOTTIME, which no step of the wall clock changes, and which counts the time in which
the system slept.  It is null, or not there, where an older release or another boot does not tell.

`control_obeyed` counts the bytes that were read from `control`, newlines included, since the service was first
supervised here.  They are counted when all that was read with them has been obeyed, and what that leads to was handed
on: started, sent, read.  So who writes letters can know when they were obeyed: by it, and by what was in the FIFO
before them.  It is null, or not there, where an older release does not count.

`deadline_at` is when what the service is at is over: a pause before a start, a stop, its getting ready, its end that it
has told of; null where nothing is, and while it is up.

`startsecs` is that of the configuration in force; `config_problems` lists what was wrong with the file when it was last
read, a line each for people, as `FILE:LINE: what is wrong`, and what of it this supervise cannot do.  Both
are null where an older release did not write them.

`options` says how this supervise was started, for one that is to go on as it did (`--resume` without a command): its
working `directory` (null: it was gone), `conf`, whether the user has named that, `script` (words), `reset`,
`exit_with_service` and `foreground`, and whether `conf` defines the service (`defined`); null where an older release
did not write it.  For one that is `defined`, `started_with` has the values that only a start changes, as they were when
it was started, and of `environment` a hash (config/fingerprint.py); else it is null.  `groups` are those that it is in,
as `conf` last said: the name of each, in UTF-8 as there, and its place in it, that of its program and its number among
the services of that.  Null where no file defines it, or an older release did not write it.

`fault` says in words for people why the service is being ended, `fault_kind` for programs: "hung", "unhealthy",
"not_ready", "late"; null as well where an older release did not write it.

`health` is what the checks of the process that runs have found, null before the first has ended: `failures` in a row,
of `limit` that are a fault, `failing_time` when the first of them was, `failure` what the last one did and `output` how
what it printed begins; `starting` while they are no fault yet.  `problem` says why the service is not checked.

`outputs` says where the service prints to, as it was started last: `stdout` and `stderr`, each an absolute path, or
"NONE", nothing is kept, or "INHERIT", what supervise prints to itself, or empty, its file in the status directory.  It
is null where both are there, it was never started, or an older release did not write it.

`loggers` lists the programs that read from a pipe what the service prints, null where there are none, or an older
release did not write it: of which `stream`, "stdout" or "stderr"; `process` as `service`, null while none runs;
`start_time`, when it was started last, Unix seconds; `retired`, whether the next start prints elsewhere; `ends`, how
often one has ended before it was to; and where none runs that should, `failure`, why, and `waiting`, the bytes that
were in the pipe when that was found.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
_DOCUMENT = "{\n  %s\n}\n"


def form(names: tuple[str, ...]) -> str:
    """What makes a state of fields with these names: `%` puts in their values, each as `text_of` gives it."""
    return _DOCUMENT % ",\n  ".join([f"{_text(name)}: %s" for name in names])


def encode(fields: dict[str, Any]) -> bytes:
    """Serialise to JSON, a field a line."""
    return (_DOCUMENT % ",\n  ".join(_members(fields))).encode("ascii")


def _members(fields: dict[str, Any]) -> list[str]:
    members = []
    for name, value in fields.items():  # a comprehension would make a function each time (docs/performance.md)
        members.append(f"{_text(name)}: {text_of(value)}")
    return members


def text_of(value: Any) -> str:
    """Serialise a value."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(_members(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return repr(value)


def _text(text: str) -> str:
    """A string of JSON."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from _json import encode_basestring_ascii  # nearly nobody needs it, and it takes memory

    return encode_basestring_ascii(text)
