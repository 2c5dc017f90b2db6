"""Values of the keys that limit a service (`rlimit_nofile`, `nice`, `cgroup`...): parsing them.

What lives here: each kind of value, and its one form.  What does not: setting them (service/limits.py).  This is in
memory only where there is a configuration that has such a key.

What is read is kept as text in one form, which means the same when it is read again: so it is in the state and in the
log as it is here, and nothing but this file and service/limits.py has to know what is in it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class BadLimit(Exception):
    """A text that cannot be used; `text` is the part of it that is wrong, `why` the end of a sentence about that."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(text, why)
        self.text = text
        self.why = why


UNLIMITED = "unlimited"  # of an rlimit
MOST = 2**63 - 1
_WORDS = (UNLIMITED, "infinity")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
LAST_CPU = 8191
PERIOD = 100_000  # microseconds: the kernel's own for cpu.max
_PERIODS = (1_000, 1_000_000)  # the shortest and the longest that the kernel takes
_LEAST_QUOTA = 1_000
CLASSES = {"none": 0, "realtime": 1, "best-effort": 2, "idle": 3}  # linux/ioprio.h
_OTHER_NAMES = {"rt": "realtime", "be": "best-effort", **{str(number): name for name, number in CLASSES.items()}}
_LEVEL = 4  # where none is given, as ionice(1)


def _whole(text: str, least: int, most: int) -> int:
    """A number with an optional sign.  Raises BadLimit."""
    digits = text[1:] if text[:1] in ("-", "+") and least < 0 else text
    if not (digits.isascii() and digits.isdigit()):
        raise BadLimit(text, "is not a whole number")
    if len(digits) > 20 or not least <= int(text) <= most:
        raise BadLimit(text, f"is out of range ({least} to {most})")
    return int(text)


def _count(text: str) -> str:
    return UNLIMITED if text.lower() in _WORDS else str(_whole(text, 0, MOST))


def _size(text: str) -> str:
    """Bytes, with a unit or without; in the greatest unit that divides them."""
    if text.lower() in _WORDS:
        return UNLIMITED
    unit = _UNITS.get(text[-1:].upper(), 0)
    size = _whole(text[:-1] if unit else text, 0, MOST) * (unit or 1)
    if size > MOST:
        raise BadLimit(text, f"is out of range (0 to {MOST})")
    for name, factor in reversed(_UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{name}"
    return str(size)


def bytes_of(text: str) -> int:
    """The number that a text in its one form stands for; not for `unlimited`."""
    unit = _UNITS.get(text[-1], 0)
    return int(text[:-1]) * unit if unit else int(text)


def _rlimit(text: str, one: Callable[[str], str]) -> str:
    """N for both limits, or SOFT:HARD."""
    first, colon, second = (part.strip() for part in text.partition(":"))
    soft = one(first)
    hard = one(second) if colon else soft
    if hard != UNLIMITED and (soft == UNLIMITED or bytes_of(soft) > bytes_of(hard)):
        raise BadLimit(text, "has a soft limit above the hard one")
    return soft if soft == hard else f"{soft}:{hard}"


def _nice(text: str) -> str:
    return str(_whole(text, -20, 19))


def _oom_score_adj(text: str) -> str:
    return str(_whole(text, -1000, 1000))


def _ionice(text: str) -> str:
    """CLASS or CLASS:LEVEL, as ionice(1) names them."""
    first, colon, level = (part.strip() for part in text.partition(":"))
    name = _OTHER_NAMES.get(first.lower(), first.lower())
    if name not in CLASSES:
        raise BadLimit(first, "is neither realtime nor best-effort nor idle nor none")
    if name in ("idle", "none"):
        if colon:
            raise BadLimit(text, f"gives a level to {name}, which has none")
        return name
    return f"{name}:{_whole(level, 0, 7) if colon else _LEVEL}"


def _cpus(text: str) -> str:
    """Numbers and ranges, separated by commas or blanks; in their order, without repeats."""
    found: set[int] = set()
    for word in text.replace(",", " ").split():
        first, dash, last = word.partition("-")
        start = _whole(first, 0, LAST_CPU)
        end = _whole(last, 0, LAST_CPU) if dash else start
        if end < start:
            raise BadLimit(word, "is not a range of processors")
        found.update(range(start, end + 1))
    if not found:
        raise BadLimit(text, "names no processor")
    ranges: list[list[int]] = []
    for cpu in sorted(found):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def cpus_of(text: str) -> set[int]:
    """The processors that a text in its one form names."""
    found: set[int] = set()
    for word in text.split(","):
        first, _, last = word.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _cgroup(text: str) -> str:
    if text[0] != "/":
        raise BadLimit(text, "is not an absolute path")
    if "\0" in text or ".." in text.split("/"):
        raise BadLimit(text, "is not a path without '..'")
    return text


def _memory_max(text: str) -> str:
    return "max" if text.lower() == "max" or text.lower() in _WORDS else _size(text)


def _cpu_max(text: str) -> str:
    """QUOTA PERIOD in microseconds, as the kernel has it, or N% of one processor, or max."""
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise BadLimit(text, "is neither max nor N% nor QUOTA PERIOD in microseconds")
    period = _whole(words[1], *_PERIODS) if len(words) == 2 else PERIOD
    if words[0].lower() == "max" or words[0].lower() in _WORDS:
        quota = "max"
    elif words[0].endswith("%") and len(words) == 1:
        quota = str(_whole(words[0][:-1], 1, 1_000_000) * (PERIOD // 100))
    else:
        quota = str(_whole(words[0], _LEAST_QUOTA, MOST // 1000))
    return f"{quota} {period}"


_PARSERS: dict[str, Callable[[str], str]] = {
    "rlimit_nofile": lambda text: _rlimit(text, _count),
    "rlimit_core": lambda text: _rlimit(text, _size),
    "rlimit_nproc": lambda text: _rlimit(text, _count),
    "rlimit_as": lambda text: _rlimit(text, _size),
    "nice": _nice,
    "ionice": _ionice,
    "oom_score_adj": _oom_score_adj,
    "cpu_affinity": _cpus,
    "cgroup": _cgroup,
    "memory_max": _memory_max,
    "cpu_max": _cpu_max,
}


def parse_limit(key: str, text: str) -> str:
    """The value of one of these keys in its one form.  Raises BadLimit."""
    return _PARSERS[key](text)
