"""What all copies of a process write, gathered in few pages of memory.

To execute a function writes to it and to its code (how many refer to them, what the interpreter has learned), and to
use a constant writes to that.  Where they were loaded, between ten that are never used, each costs every copy a page
of its own.  They cannot be moved, but copied, one after the other.

Rule 1.  What is copied keeps its place: else what is made later would be as scattered as it was.
Rule 2.  A copy takes the place of the first wherever modules, their classes and their dictionaries name it.  Who else
         refers to the first goes on with that, which does the same.
Rule 3.  It comes before what is executed is rehearsed: all that the interpreter has learned of the first is lost.
"""

from __future__ import annotations

import gc
import sys
from _operator import is_

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
    from typing import Any

_DEEP = 3  # dictionaries within one another


class Executed:
    """Notes what is executed in a `with` block."""

    def __init__(self, noting: bool = True) -> None:
        """`noting`: or does not, to do the same without."""
        self._noting = noting
        self._codes: dict[int, CodeType] = {}

    def __enter__(self) -> None:
        if self._noting:
            sys.setprofile(self._note)

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            self._codes[id(frame.f_code)] = frame.f_code

    def gather(self, modules: Iterable[ModuleType]) -> list[object]:
        """Have copies of all that in one place, as far as it is of these modules; what is to be kept."""
        gc.unfreeze()
        return _Gathering(self._codes, list(modules)).kept


class _Gathering:
    """The copies that are made; `kept`: what they are copies of."""

    def __init__(self, codes: dict[int, CodeType], modules: list[ModuleType]) -> None:
        self._copies: dict[int, Any] = {}  # by the id of the first
        self._values: dict[tuple[type, object], Any] = {}
        self.kept: list[object] = []
        names = {module.__name__ for module in modules}
        for one in gc.get_objects():
            if type(one) is _FUNCTION and id(one.__code__) in codes and one.__module__ in names:
                self.kept.append(one)
                self._copy_code(one.__code__)
        if self.kept:
            for module in modules:
                self._name_anew(module)

    def _value(self, value: Any) -> Any:
        """A copy of a constant, or the same."""
        kind = type(value)
        if kind is _CODE:
            return self._copy_code(value)
        if kind is tuple:
            return tuple([self._value(one) for one in value])
        if kind not in (str, bytes) or len(value) < 2:
            return value
        known = self._values.get((kind, value))
        if known is None:
            self.kept.append(value)
            known = self._values[kind, value] = value[:1] + value[1:]
        return known

    def _copy_code(self, code: CodeType) -> CodeType:
        copy: CodeType | None = self._copies.get(id(code))
        if copy is None:
            self.kept.append(code)
            consts = tuple([self._value(one) for one in code.co_consts])
            copy = self._copies[id(code)] = code.replace(co_consts=consts)
        return copy

    def _copy_function(self, function: FunctionType) -> FunctionType:
        """A copy of a function that is executed, or the one that there is."""
        copy: FunctionType | None = self._copies.get(id(function))
        if copy is None and id(function.__code__) in self._copies:
            code = self._copies[id(function.__code__)]
            made = _FUNCTION(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
            for name in ("__kwdefaults__", "__annotations__", "__doc__", "__module__", "__qualname__"):
                setattr(made, name, getattr(function, name))
            made.__dict__.update(function.__dict__)
            copy = self._copies[id(function)] = made
        return copy or function

    def _name_anew(self, module: ModuleType) -> None:
        names = vars(module)
        for name, value in list(names.items()):
            kind = type(value)
            if kind is _FUNCTION:
                names[name] = self._copy_function(value)
            elif kind is type and value.__module__ == module.__name__:
                self._class_anew(value)
            elif kind in (str, bytes) and not name.startswith("__"):
                names[name] = self._value(value)
            elif kind is dict and not name.startswith("__"):
                self._dict_anew(value, _DEEP)

    def _dict_anew(self, values: dict[Any, Any], deep: int) -> None:
        for key, value in list(values.items()):
            if type(value) is _FUNCTION:
                values[key] = self._copy_function(value)
            elif type(value) is dict and deep > 1:
                self._dict_anew(value, deep - 1)

    def _class_anew(self, kind: type) -> None:
        value: Any
        new: Any
        for name, value in list(vars(kind).items()):
            if type(value) is _FUNCTION:
                new = self._copy_function(value)
            elif type(value) is property:
                ours: list[Any] = [value.fget, value.fset, value.fdel]
                parts = [one and self._copy_function(one) for one in ours]
                new = value if all(map(is_, parts, ours)) else property(parts[0], parts[1], parts[2], value.__doc__)
            elif type(value) in (staticmethod, classmethod):
                one = self._copy_function(value.__func__)
                new = type(value)(one) if one is not value.__func__ else value
            else:
                continue
            if new is not value:
                self.kept.append(value)
                setattr(kind, name, new)


_FUNCTION: Any = type(Executed.gather)
_CODE = type(Executed.gather.__code__)
