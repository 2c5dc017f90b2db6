"""Shell syntax that no shell will read: what was probably meant by it, and the way to that.

What lives here: advice on commands (-f, -r, and the keys that are some) and on what is expanded in supervise.conf.
What does not: splitting (shellwords.py), and when to look at all: this is loaded where something is suspicious.

Rule 1.  Quoted characters are meant as they stand, whichever the quotes: `sh -c "exec app >$LOG"` is in order.
Rule 2.  What is written without quotes in a shell as well is left alone: `http://h/?a=1`, `[::1]:80`, `{}`.
Rule 3.  It is advice: nothing else comes of it.
"""

from __future__ import annotations

from supervise.config.shellwords import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OPERATORS = "&|;<>("
_SAME_OUTPUT = "2>&1"
_TO_SAME_OUTPUT = {
    "-f": f"no shell reads {_SAME_OUTPUT}: use the key redirect_stderr",
    "check_command": f"no shell reads {_SAME_OUTPUT}: leave it out, what is printed on stderr counts as well",
    **{f"{stream}_command": f"no shell reads {_SAME_OUTPUT}: leave it out" for stream in ("stdout", "stderr")},
}
_KEYS = {"cd": "the key directory", "export": "the key environment", "umask": "the key umask"}
_SHELLS_OWN = ("source", ".", "eval", "set", "ulimit", "if", "for", "while", "{", "!")
_SHOWN = 5


def in_command(text: str, of: str = "-f") -> list[str]:
    """What will not do in a command what it does in a shell, each with the way to do it.

    `of` says what command it is: "-f", "-r", or the key, of which names of variables are not shown.
    Raises Unbalanced.
    """
    words, masked = split(text), split(text, masked=True)
    names_shown = of in ("-f", "-r")
    found = []
    comment = next((at for at, word in enumerate(masked) if word[:1] == "#"), None)
    if comment is not None:
        found.append("no shell reads #: leave the comment out, or quote what is meant so")
        del masked[comment:]
        if not masked:
            return found
    variables = list(_assignments(masked))
    if variables:
        shown = ", ".join(f"{name}=" for name in variables[:_SHOWN])
        found.append(f"no shell reads {shown} before the program: use the key environment, or env {shown}...")
    program = masked[len(variables)] if len(variables) < len(masked) else ""
    if program == "exec":
        found.append("no shell reads exec: leave it out")
    elif program in _KEYS:
        found.append(f"no shell reads {program}: use {_KEYS[program]}, or sh -c '...'")
    elif (program in _SHELLS_OWN or program[:1] == "(") and words != ["."]:
        found.append(f"no shell reads {program}: use sh -c '...'")
        masked[len(variables)] = program.lstrip("(")
    if _SAME_OUTPUT in masked and of in _TO_SAME_OUTPUT:
        found.append(_TO_SAME_OUTPUT[of])
        masked = [word for word in masked if word != _SAME_OUTPUT]
    if masked[-1:] == ["&"] and not any(set(_OPERATORS) & set(word) for word in masked[:-1]):
        found.append("no shell reads &: leave it out, a service is in the background")
    elif operators := _listed(run for word in masked for run in _runs(word)):
        found.append(f"no shell reads {operators}: use sh -c '...', or quote what is meant so")
    expansions = [_shown(one, names_shown) for word in masked for one in _expansions(word)]
    expansions += [one for word in masked[len(variables) :] for one in _patterns(word)]
    if expansions:
        found.append(f"no shell expands {_listed(expansions)}: use sh -c '...', or quote what is meant so")
    if any(_is_home(word) for word in masked):
        found.append("no shell expands ~: write the path in full, or quote what is meant so")
    return found


def in_path(text: str) -> list[str]:
    """The same of a path in supervise.conf."""
    found = [f"no shell expands {_shown(one, True)}: use %(ENV_...)s" for one in _expansions(text)]
    return [*found[:1], *(["no shell expands ~: write the path in full"] if _is_home(text) else [])]


def in_variable(name: str, value: str) -> list[str]:
    """The same of a variable of `environment` that seems to be meant to have its own former value in it.

    Of any other `$` nothing can be said: it may well be in a password.
    """
    if not name or not any(one in (f"${name}", "${" + name) for one in _expansions(value)):
        return []
    return [f"{name}: no shell expands ${name}: use %(ENV_{name})s"]


def _assignments(masked: list[str]) -> Iterator[str]:
    """The names of the variables that are assigned before the program."""
    for word in masked:
        name, equals, _ = word.partition("=")
        if not equals or not name.isascii() or not name.isidentifier():
            return
        yield name


def _runs(word: str) -> Iterator[str]:
    """Operators as they are written together: `>`, `>>`, `&&`, `>&`; a bracket that belongs to a `$` is none."""
    run = ""
    for char in word.replace("$((", "$").replace("$(", "$") + " ":
        if char in _OPERATORS:
            run += char
        elif run:
            yield run
            run = ""


def _expansions(word: str) -> Iterator[str]:
    """What a shell would expand in a word: `$NAME`, `${NAME`, `$(...)`, a backquote."""
    if "`" in word:
        yield "`...`"
    for part in word.split("$")[1:]:
        brace = "{" if part[:1] == "{" else ""
        name = ""
        for char in part[len(brace) :]:
            if not (char.isascii() and (char.isalnum() or char == "_")):
                break
            name += char
        if name or brace:
            yield f"${brace}{name}"
        elif part[:1] == "(":
            yield "$(...)"


def _patterns(word: str) -> Iterator[str]:
    """What makes a word a pattern for the names of files: `*`, `?`, `[...]`."""
    bare, *parts = word.split("$")
    for part in parts:  # `$*`, `$?` and what is in `${...}` make none
        bare += part.partition("}")[2] if part[:1] == "{" else part[1:] if part[:1] in ("*", "?") else part
    if "*" in bare:
        yield "*"
    if "?" in bare and "://" not in bare.partition("?")[0]:
        yield "?"
    at = bare.find("[")
    while at >= 0:
        end = bare.find("]", at + 2)
        if end < 0:
            return
        if not _is_address(bare[at + 1 : end]):
            yield "[...]"
            return
        at = bare.find("[", end)


def _is_address(text: str) -> bool:
    """Whether it may be an address of IPv6, as it is written in brackets."""
    number = text.partition("%")[0]
    return ":" in number and all(char in "0123456789abcdefABCDEF:." for char in number)


def _shown(expansion: str, names: bool) -> str:
    if expansion[:2] == "${":
        return expansion + "}" if names else "${...}"
    return expansion if names or expansion[0] == "`" or expansion == "$(...)" else "$..."


def _is_home(word: str) -> bool:
    name = word.partition("/")[0]
    return name[:1] == "~" and all(char.isascii() and (char.isalnum() or char in "_.-") for char in name[1:])


def _listed(found: Iterable[str]) -> str:
    each = list(dict.fromkeys(found))
    return ", ".join(each[:_SHOWN]) + (" ..." if len(each) > _SHOWN else "")
