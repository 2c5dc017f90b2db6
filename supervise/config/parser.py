"""The parser of supervise.conf: from bytes to a Config (config.py) and a list of problems.

What lives here: the keys, which sections govern a service.  What does not: the syntax (sections.py), the kinds of
values (values.py), files (file.py), what follows from a configuration that blocks (restrictions.py).

The format is that of the C `supervise`: INI, with these rules.

Rule 1.  `[section]`, `key : value` (or `=`), `#` and `;` begin a comment line.  A key or a header counts only
         at the start of its line; an indented one is skipped.  Lines beyond 2,048 bytes are cut there, and
         what is cut short is skipped: a word of a list, or the value.
Rule 2.  A service is governed by `[NAME]` alone, if it stands before `[global]`; else by `[global]`, and over
         it by `[NAME]`.  The lists of the two are joined, without repeats, and so are the variables of
         `environment`.
Rule 3.  A bad value is skipped and the rest applies, but for rule 7.  On a re-read, what a broken file fails to say
         stays as it was: a bad value keeps the key's earlier value, and a file whose sections cannot be told apart
         (a broken header, a NUL, a cut end) keeps the earlier values of all keys that it does not set.
Rule 4.  Everything skipped is a problem with the number of its line, and so is what only a shell would understand.
         Nothing here ever raises.
Rule 5.  An empty value is the key's default, an empty list is empty.
Rule 6.  What stands in `environment`, or seems to, is quoted in no problem and in no log.
Rule 7.  A key that restricts is never passed over.  A bad value of one blocks the service, and so does what may have
         been meant for one where it does not count: a word that is one typing error away from it, one without a sign
         or without its end, indented, in a line with a NUL, outside of any section, under a header that is none or
         whose name is not quite the right one, behind what is read of a file.  What stands in a section of another
         service does not.
"""

from __future__ import annotations

from supervise.config.config import PLACED, RESTRICTING, SIZE_LIMIT, Config
from supervise.config.expand import BadText, Names, expand, split_environment, usable, without_names
from supervise.config.misspellings import misplaced, value_mentions
from supervise.config.sections import Problems, Sections, split, without_torn_line
from supervise.config.shellwords import suspicious
from supervise.config.values import GSM_LIMIT, LISTS, RESERVED, SCALARS, BadValue, show
from supervise.config.written import COMMANDS, EXPANDED
from supervise.system.installed import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PLACED = (*RESTRICTING, *PLACED)
ADVISED = (*EXPANDED, "environment")  # where people write what a shell would expand
_DEFAULTS = Config().frozen()


def parse(
    data: bytes,
    name: str,
    previous: Config | None = None,
    cut: bool = False,
    strict: bool = False,
    names: Names | None = None,
    harmless: bool = False,
) -> tuple[Config, Problems]:
    """Parse `data`: the configuration of the service `name`, and the problems.

    `previous` is the configuration in force until now (rule 3).  `cut` says that the file is longer than
    `data`; `harmless`, that no key that restricts is in the rest.  Problems inside sections of other services are
    reported only if `strict`.  `names` are what can be expanded; without them, the name of the service only.
    """
    problems = Problems()
    sections = split_file(data, problems, cut, None if strict else {name, "global"})
    return understood(sections, problems, name, previous, cut, names, harmless), problems


def split_file(data: bytes, problems: Problems, cut: bool, reported: set[str] | None) -> Sections:
    """The sections of `data`; the problems in those that are `reported`, None for all, are added."""
    return split(without_torn_line(data) if cut else data, problems, reported)


def understood(
    sections: Sections,
    problems: Problems,
    name: str,
    previous: Config | None = None,
    cut: bool = False,
    names: Names | None = None,
    harmless: bool = False,
) -> Config:
    """What `sections` mean for a service, with the arguments of `parse`; its problems are added to those there are."""
    if cut:
        longer = f"longer than {SIZE_LIMIT} bytes: the rest is not read"
        (problems.add if harmless else problems.block)(0, longer)
        sections.broken = True
    config = Config()
    names = names or Names(program=name)
    said: dict[str, tuple[int, bool]] = {}  # key -> line and whether it is usable, of the last section that has it
    for section in governing(sections, name):
        for key, (line, text) in sections.keys[section].items():
            complaints = problems.count
            usable_value = text is not None and _apply(config, key, text, line, names, problems)
            if key not in RESTRICTING and text and problems.count > complaints:
                meant = value_mentions(text, key == "environment")
                if meant:
                    problems.block(line, f"{key}: {meant} stands in its value, which cannot be understood")
            if usable_value and text and key in ADVISED:
                _advise(config, key, text, line, problems)
            # Where variables of one section are missing, those of the other do not make up for them.
            said[key] = line, usable_value and (key != "environment" or said.get(key, (0, True))[1])
    _block_doubtful(sections, said, name, problems)
    if previous is not None:
        for key in Config.__slots__:
            if not said.get(key, (0, not sections.broken))[1]:
                setattr(config, key, getattr(previous, key))
    if other_group(config):
        problems.block(said.get("group", said.get("user", (0,)))[0], "group: not the one that user names")
    if previous is not None and (problems.blocking or sections.broken):
        config.blocked = previous.blocked
        for key in RESTRICTING if problems.blocking else ():
            setattr(config, key, getattr(previous, key))
    problems.places = {key: said[key][0] for key in _PLACED if key in said}
    return config


def other_group(config: Config) -> bool:
    """Whether user and group name different groups."""
    _, colon, group = config.user.partition(":")
    return bool(colon and config.group and group != config.group)


def _block_doubtful(sections: Sections, said: dict[str, tuple[int, bool]], name: str, problems: Problems) -> None:
    """Block starts where it is doubtful what restricts the service (rule 7)."""
    for key in RESTRICTING:
        line, usable_value = said.get(key, (0, True))
        if not usable_value:
            texts = [problem.text for problem in problems.kept if problem.line == line]
            for text in texts or [f"{key}: cannot be understood"]:
                problems.block(line, text)
    # In doubt is what stands in no section, in one that governs, or that was meant to; not what is another service's.
    titles: set[str | None] = {None, *governing(sections, name), *{name, "global"}.difference(sections.keys)}
    near: Iterable[str | None] = (*sections.keys, *sections.doubts)
    if name in sections.keys:  # then one is only in doubt for what is missing beside it
        near = () if "global" in sections.keys else sections.nearly_global
    for title in [title for title in near if title and title not in titles]:
        meant = misplaced(title, name) if title != "global" else ""
        if meant and meant not in sections.keys:
            titles.add(title)
            for key, (line, _) in sections.keys.get(title, {}).items():
                if key in RESTRICTING:
                    problems.block(line, f"{key}: in section [{show(title)[1:-1]}]; should that be [{meant}]?")
    for section in titles & sections.doubts.keys():
        for line, text in sections.doubts[section]:
            problems.block(line, text)


def _apply(config: Config, key: str, text: str, line: int, names: Names, problems: Problems) -> bool:
    """Set one key; False if the value is of no use."""
    if key in LISTS:
        return _join(config, key, text, line, problems)
    if key == "environment":
        return _set_variables(config, text, line, names, problems)
    try:
        meant = expand(text, names) if key in EXPANDED else text
        empty = not meant and key != "exitcodes"
        setattr(config, key, getattr(_DEFAULTS, key) if empty else SCALARS[key](meant))
    except BadText as why:
        problems.add(line, f"{key}: {show(text)}: {why}")
        return False
    except BadValue as why:
        problems.add(line, f"{key}: {why}")
        return False
    return True


def _advise(config: Config, key: str, text: str, line: int, problems: Problems) -> None:
    """Say what no shell reads in a value that is of use: it stays so, and is no reason to doubt the rest."""
    words = list(getattr(config, key)) if key in COMMANDS else []
    text = without_names(text) if words else text
    if not (suspicious(text, words) if words else "$" in text or text[0] == "~") or replaced():
        return  # (what would be loaded may be another version's)
    try:
        from supervise.config import shellsyntax

        if words:
            found = shellsyntax.in_command(text, key)
        elif key == "environment":
            found = [one for name, value in split_environment(text) for one in shellsyntax.in_variable(name, value)]
        else:
            found = shellsyntax.in_path(text)
    except (ImportError, OSError, MemoryError, ValueError):
        return  # a limit; or the text is only of use when it is expanded
    for one in found:
        problems.add(line, f"{key}: {one}")


def _join(config: Config, key: str, text: str, line: int, problems: Problems) -> bool:
    good, complaints = LISTS[key](text)
    for complaint in complaints:
        problems.add(line, f"{key}: {complaint}")
    words = list(dict.fromkeys((*getattr(config, key), *good)))
    if key == "alarm_gsm" and len(words) > GSM_LIMIT:
        problems.add(line, f"alarm_gsm: more than {GSM_LIMIT} numbers: the rest are skipped")
        del words[GSM_LIMIT:]
    setattr(config, key, tuple(words))
    return bool(good) or not complaints


def _set_variables(config: Config, text: str, line: int, names: Names, problems: Problems) -> bool:
    """False if the variables are not all there."""
    try:
        pairs = split_environment(text)
    except BadText as why:
        problems.add(line, f"environment: {why}")
        return False
    complete = True
    found: dict[str, str] = {}
    for number, (name, value) in enumerate(pairs, 1):
        if not usable(name):
            problems.add(line, f"environment: pair {number} has no usable name: skipped")
        elif name in RESERVED:
            problems.add(line, f"environment: {name} is set by supervise: skipped")
        else:
            if name in found:
                problems.add(line, f"environment: {name} again: the last one counts")
            try:
                found[name] = expand(value, names)
            except BadText as why:
                problems.add(line, f"environment: {name}: {why}: skipped")
                complete = False
    config.environment = tuple({**dict(config.environment), **found}.items())
    return complete


def governing(sections: Sections, name: str) -> list[str]:
    """The sections that govern the service `name`, the weaker first (rule 2)."""
    if name in sections.before_global:
        return [name]
    return [section for section in dict.fromkeys(("global", name)) if section in sections.keys]
