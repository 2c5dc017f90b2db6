"""Splitting a command into words as a shell does, without any expansion.

The rules are those of the POSIX shell's quoting (XCU 2.2): outside of quotes a backslash keeps the next character,
between double quotes only `$`, a backquote, `"`, a backslash or a newline, between single quotes nothing; a backslash
before a newline removes both.  The standard library's shlex differs in the last two.

What a shell would do beyond that is not done (shellsyntax.py says so, to who may have meant it).
"""

from __future__ import annotations

_BLANKS = " \t\n"
_KEPT_IN_DOUBLE_QUOTES = '$`"\\'
QUOTED = "\0"  # stands for a character that was quoted: no command has it
_SYNTAX = frozenset("&|;<>$`~*?[#(")
# What only a shell has, or what only in a shell does what it is there for.
_OWN = ("cd", "exec", "export", "source", ".", "eval", "set", "ulimit", "umask", "if", "for", "while", "{", "(", "!")


class Unbalanced(ValueError):
    """A quote that is not closed, or a backslash with nothing behind it; the message says which."""


def suspicious(text: str, words: list[str]) -> bool:
    """Whether there may be something for shellsyntax.py to say of a command; cheap, and often so in vain."""
    return not _SYNTAX.isdisjoint(text) or "=" in words[0] or words[0] in _OWN or words[0][0] == "("


def split(text: str, masked: bool = False, kept_in_quotes: str = _KEPT_IN_DOUBLE_QUOTES) -> list[str]:
    """Split a command into words; `masked`: with QUOTED for each quoted character.  Raises Unbalanced.

    `kept_in_quotes`: what a backslash keeps between double quotes, where that is not as in a shell.
    """
    found: list[str] = []
    word: list[str] | None = None  # the characters of the word that is being read; None between words
    quote = ""
    chars = iter(text)
    for char in chars:
        if quote == "'" or (quote and char not in '"\\'):
            if char == quote:
                quote = ""
            elif word is not None:
                word.append(QUOTED if masked else char)
            continue
        if char == "\\":
            kept = next(chars, "")
            if not kept:
                raise Unbalanced("a backslash with nothing behind it")
            if kept == "\n":
                continue
            word = [] if word is None else word
            if quote and kept not in kept_in_quotes:
                word.append(QUOTED if masked else char)
            word.append(QUOTED if masked else kept)
        elif char == quote:
            quote = ""
        elif char in "'\"":
            quote = char
            word = [] if word is None else word
        elif char in _BLANKS:
            if word is not None:
                found.append("".join(word))
                word = None
        else:
            word = [] if word is None else word
            word.append(char)
    if quote:
        raise Unbalanced(f"no closing {quote}")
    if word is not None:
        found.append("".join(word))
    return found
