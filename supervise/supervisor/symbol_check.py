"""Symbol check, as a linker does it: whether all modules, functions and attributes that the code names exist.

An interpreter finds out only when it comes to the place.  What is looked at is the compiled code, and, to know what an
attribute is an attribute of, objects as they are when the program runs.

What lives here: reading that.  What does not: making the objects (trial.py).

Theory of operation
-------------------

Rule 1.  A module that a function imports is imported; what it takes from that must be there.
Rule 2.  A global name must be one of its module, or built in.
Rule 3.  In a chain `a.b.c`, where `a` is known, `b` must be an attribute of it, and so on as far as that is known.
         Known are modules and classes by their global names; the first argument of a method; an argument whose
         annotation names a class of this package; what an object that was made holds in an attribute; and a variable
         that was given such a chain.
Rule 4.  Where something is not known nothing is said of it: a sound program is never refused.
"""

from __future__ import annotations

import builtins
import sys
from importlib import import_module
from opcode import EXTENDED_ARG, hasjabs, hasjrel, opname
from types import CodeType, FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_PACKAGE = __name__.partition(".")[0]
_OPTIONAL = ("_ctypes", "ctypes")  # subreaper.py can do without, and service/limits.py says so
_GLOBAL_SHIFT = 1 if sys.version_info >= (3, 11) else 0
_ATTRIBUTE_SHIFT = 1 if sys.version_info >= (3, 12) else 0
_UNKNOWN = object()
_FAST = ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW")
_LOADS = frozenset((*_FAST, "LOAD_DEREF"))
_STORES = ("STORE_FAST", "STORE_DEREF")


class Instance:
    """An instance of a class, of which `made` are examples."""

    def __init__(self, kind: type, made: list[Any]) -> None:
        self.kind = kind
        self.made = made


def ours(name: str) -> bool:
    """Whether a module is one of this package."""
    return name == _PACKAGE or name.startswith(_PACKAGE + ".")


def load_all(*names: str) -> list[ModuleType]:
    """Import modules, and all that functions of this package import that come with them (rule 1).

    The modules of this package.  Raises whatever an import can raise.
    """
    for name in names:
        import_module(name)
    done: dict[str, ModuleType] = {}
    while True:
        new = [found for found in sys.modules if ours(found) and found not in done]
        if not new:
            return list(done.values())
        for found in new:
            done[found] = sys.modules[found]
            for code in _codes(done[found]):
                _import_for(code)


def _import_for(code: CodeType) -> None:
    module = ""
    for name, value in _instructions(code):
        if name == "IMPORT_NAME":
            module = value
            try:
                import_module(module)
            except ImportError:
                if module not in _OPTIONAL:
                    raise
        elif name == "IMPORT_FROM" and ours(module) and not hasattr(sys.modules[module], value):
            try:
                import_module(f"{module}.{value}")
            except ModuleNotFoundError:
                raise ImportError(f"{module} has no {value}, which {code.co_name} imports") from None


def unresolved(modules: Iterable[ModuleType], made: Iterable[object]) -> Iterator[str]:
    """The unresolved names; `made` are objects, which are examples of their classes with all that they refer to."""
    modules = list(modules)
    classes = {kind.__name__: kind for module in modules for kind in _own(module, type)}
    instances: dict[type, list[Any]] = {}
    for one in _reached(made):
        instances.setdefault(type(one), []).append(one)
    for module in modules:
        for function in _own(module, FunctionType):
            yield from _Reader(module, function, None, classes, instances).missing()
        for kind in _own(module, type):
            for function, bound in _methods(kind):
                first = _any(kind, instances) if bound else None
                yield from _Reader(module, function, first, classes, instances).missing()


def _any(kind: type, instances: dict[type, list[Any]]) -> Instance:
    return Instance(kind, [one for found, made in instances.items() if issubclass(found, kind) for one in made])


def _own(module: ModuleType, kind: type) -> Iterator[Any]:
    for value in vars(module).values():
        if isinstance(value, kind) and value.__module__ == module.__name__:
            yield value


def _methods(kind: type) -> Iterator[tuple[FunctionType, bool]]:
    """The functions of a class, and whether their first argument is one of it."""
    for value in vars(kind).values():
        if isinstance(value, FunctionType):
            yield value, value.__name__ != "__new__"
        elif isinstance(value, (staticmethod, classmethod)):
            yield value.__func__, False  # type: ignore[misc]
        elif isinstance(value, property):
            for function in (value.fget, value.fset):
                if isinstance(function, FunctionType):
                    yield function, True


def _codes(module: ModuleType) -> Iterator[CodeType]:
    functions = [*_own(module, FunctionType)]
    functions += [function for kind in _own(module, type) for function, _ in _methods(kind)]
    for function in functions:
        yield from _with_nested(function.__code__)


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)


def _reached(made: Iterable[object]) -> list[object]:
    """Objects of classes of this package, from these on."""
    found: dict[int, object] = {}
    pending = list(made)
    while pending:
        one = pending.pop()
        if id(one) in found or not ours(type(one).__module__):
            continue
        found[id(one)] = one
        pending += [value for value in _attributes(one).values() if not isinstance(value, type)]
    return list(found.values())


def _attributes(one: object) -> dict[str, object]:
    held = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        for name in vars(kind).get("__slots__", ()):
            if hasattr(one, name):
                held[name] = getattr(one, name)
    return held


_read: dict[CodeType, list[tuple[str, Any]]] = {}


def _instructions(code: CodeType) -> list[tuple[str, Any]]:
    """The instructions of a function, and what they name; those that are two in one as two."""
    if code not in _read:
        _read[code] = _decoded(code)
    return _read[code]


_OTHER = ("", None)
_NAMES = {"LOAD_GLOBAL": _GLOBAL_SHIFT, "LOAD_ATTR": _ATTRIBUTE_SHIFT}
_NAMES.update(dict.fromkeys(("LOAD_METHOD", "STORE_ATTR", "IMPORT_NAME", "IMPORT_FROM"), 0))
_VARIABLES = (*_FAST, "STORE_FAST", "LOAD_FAST_AND_CLEAR", "DELETE_FAST")
_PAIRS = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
}
_NOTHING = ("CACHE", "NOP", "RESUME", "PUSH_NULL")
# Tens of thousands are read in one trial, so what is to be made of each is looked up once, by its number.
_SKIPPED, _VARIABLE, _NAME, _REST, _JUMP, _EXTENDED, _CELL, _PAIR, _SWAP = range(9)
_KINDS = [_REST] * len(opname)
for _number in (*hasjrel, *hasjabs):
    _KINDS[_number] = _JUMP
for _number, _name in enumerate(opname):
    if _name in _NAMES:
        _KINDS[_number] = _NAME
    elif _name in _VARIABLES:
        _KINDS[_number] = _VARIABLE
    elif _name in ("LOAD_DEREF", "STORE_DEREF"):
        _KINDS[_number] = _CELL
    elif _name in _PAIRS:
        _KINDS[_number] = _PAIR
    elif _name in ("SWAP", "ROT_TWO"):
        _KINDS[_number] = _SWAP
    elif _name in _NOTHING:
        _KINDS[_number] = _SKIPPED
_KINDS[EXTENDED_ARG] = _EXTENDED


def _decoded(code: CodeType) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    raw, more = code.co_code, 0
    for number, value in zip(raw[::2], raw[1::2]):
        kind = _KINDS[number]
        if kind == _SKIPPED:
            more = 0
            continue
        if kind == _EXTENDED:
            more = (more | value) << 8
            continue
        value, more = value | more, 0
        name = opname[number]
        if kind == _VARIABLE:
            found.append((name, _variable(code, value)))
        elif kind == _NAME:
            found.append((name, code.co_names[value >> _NAMES[name]]))
        elif kind == _REST:
            if not found or found[-1] is not _OTHER:  # many are one
                found.append(_OTHER)
        elif kind == _JUMP:
            found.append(("JUMP", None))
        elif kind == _CELL:
            found.append((name, _cells(code)[value]))
        elif kind == _PAIR:
            first, second = _PAIRS[name]
            found += (first, _variable(code, value >> 4)), (second, _variable(code, value & 15))
        else:
            found.append(("SWAP", 2 if name == "ROT_TWO" else value))
    return found


def _cells(code: CodeType) -> tuple[str, ...]:
    cells = code.co_cellvars
    if sys.version_info >= (3, 11):
        cells = code.co_varnames + tuple(name for name in cells if name not in code.co_varnames)
    return cells + code.co_freevars


def _variable(code: CodeType, number: int) -> str:
    return code.co_varnames[number] if number < len(code.co_varnames) else ""


class _Reader:
    """Reads one function, as rule 3 says."""

    def __init__(
        self,
        module: ModuleType,
        function: FunctionType,
        first: Instance | None,
        classes: dict[str, type],
        instances: dict[type, list[Any]],
    ) -> None:
        self._module = module
        self._code = function.__code__
        self._codes = [*_with_nested(self._code)]
        self._variables: dict[str, object] = {}
        for name, said in function.__annotations__.items():
            kinds = [classes[part.strip()] for part in str(said).split("|") if part.strip() in classes]
            if len(kinds) == 1 and name != "return":
                self._variables[name] = _any(kinds[0], instances)
        if first and self._code.co_argcount:
            self._variables[self._code.co_varnames[0]] = first
        self._stored = [value for code in self._codes for name, value in _instructions(code) if name in _STORES]
        for value in self._stored:
            self._variables.pop(value, None)  # what is given another value anywhere may not be what it began as

    def missing(self) -> Iterator[str]:
        """The unresolved names of this function and those within it."""
        given = self._given({})
        if any(value is not _UNKNOWN for value in given.values()):
            given = self._given(given)  # with what is known by now
        for code in self._codes:
            top: object = _UNKNOWN
            shown = ""
            for name, value in _instructions(code):
                if name in _LOADS:
                    top, shown = self._variables.get(value, given.get(value, _UNKNOWN)), value
                elif name == "LOAD_GLOBAL":
                    if value not in vars(self._module) and not hasattr(builtins, value):
                        yield f"{self._where(code)} uses {value}, which is not there"
                    top, shown = self._known(vars(self._module).get(value)), value
                elif name in ("LOAD_ATTR", "LOAD_METHOD"):
                    shown += f".{value}"
                    if not self._has(top, value):
                        yield f"{self._where(code)} uses {shown}, which is not there"
                        top = _UNKNOWN
                    else:
                        top = self._attribute(top, value)
                else:
                    top = _UNKNOWN

    def _given(self, known: dict[str, object]) -> dict[str, object]:
        """The variables that are given one chain, and nothing else."""
        found: dict[str, object] = {}
        for code in self._codes if self._stored else ():
            stack: list[object] = []
            chosen = False  # what follows a jump may be one of several: `a or b`
            for name, value in _instructions(code):
                if name in _STORES:
                    top = stack.pop() if stack else _UNKNOWN
                    found[value], chosen = _UNKNOWN if chosen else top, False
                elif name in _LOADS:
                    stack.append(self._variables.get(value, known.get(value, _UNKNOWN)))
                elif name in ("LOAD_ATTR", "LOAD_METHOD") and stack:
                    top = stack.pop()
                    stack.append(self._attribute(top, value) if self._has(top, value) else _UNKNOWN)
                elif name == "SWAP" and len(stack) >= value:
                    stack[-1], stack[-value] = stack[-value], stack[-1]
                else:
                    stack.clear()
                    chosen = chosen or name == "JUMP"
        once = {name for name in found if self._stored.count(name) == 1}
        code = self._code
        many = bool(code.co_flags & 4) + bool(code.co_flags & 8)  # *args, **kwargs
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + many]
        return {name: value for name, value in found.items() if name in once and name not in arguments}

    def _where(self, code: CodeType) -> str:
        return f"{self._module.__name__}:{code.co_firstlineno}"

    def _known(self, value: object) -> object:
        """A module, a class or an object of this package, as what it is; anything else is not known."""
        if isinstance(value, ModuleType):
            return value
        if isinstance(value, type):
            return value if ours(value.__module__) else _UNKNOWN
        if value is _UNKNOWN or value is None or not ours(type(value).__module__):
            return _UNKNOWN
        return Instance(type(value), [value])

    def _has(self, known: object, name: str) -> bool:
        if known is _UNKNOWN:
            return True
        if isinstance(known, Instance):
            if hasattr(known.kind, name) or hasattr(known.kind, "__getattr__"):
                return True
            return any(hasattr(one, name) for one in known.made) or name in _assigned(known.kind)
        return hasattr(known, name)

    def _attribute(self, known: object, name: str) -> object:
        if not isinstance(known, Instance):
            return _UNKNOWN if known is _UNKNOWN else self._known(getattr(known, name, _UNKNOWN))
        if isinstance(getattr(known.kind, name, None), (property, FunctionType)):
            return _UNKNOWN
        for one in known.made:
            value = self._known(getattr(one, name, None))
            if value is not _UNKNOWN:
                return value
        return _UNKNOWN


_names: dict[type, set[str]] = {}


def _assigned(kind: type) -> set[str]:
    """The attributes that the methods of a class give its objects."""
    if kind not in _names:
        _names[kind] = {
            value
            for base in kind.__mro__
            for function, _ in _methods(base)
            for code in _with_nested(function.__code__)
            for name, value in _instructions(code)
            if name == "STORE_ATTR"
        }
        _names[kind].update(name for base in kind.__mro__ for name in vars(base).get("__annotations__", ()))
    return _names[kind]
