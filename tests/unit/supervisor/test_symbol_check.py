"""What code names and is not there is found before the code is run; and a sound program is never refused."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from supervise.supervisor import symbol_check

NAME = "supervise.supervisor._tried"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)


def module(text: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the package with this text."""
    made = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, made)
    exec(compile("from __future__ import annotations\n" + text, NAME, "exec"), vars(made))
    return made


def missing(text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is not there, of the names in it; `made` is an object that there is, if the text makes one."""
    tried = module(text, monkeypatch)
    return [said.partition(" uses ")[2] for said in symbol_check.unresolved([tried], [vars(tried).get("made")])]


CLASS = """
class Other:
    def __init__(self): self.known = 1
    def method(self): pass

class Some:
    __slots__ = ("other", "free")
    def __init__(self):
        self.other = Other()
    @property
    def prop(self): return self.other
"""

UNSOUND: dict[str, tuple[str, str]] = {
    "a global name": ("def f(): return nowhere", "nowhere"),
    "of a module": ("import os\ndef f(): return os.nowhere", "os.nowhere"),
    "of a module of ours": ("from supervise.protocol import names\ndef f(): return names.NOWHERE", "names.NOWHERE"),
    "of a class": (f"{CLASS}\ndef f(): return Other.nowhere", "Other.nowhere"),
    "of self": ("class A:\n def f(self): return self.nowhere", "self.nowhere"),
    "of an argument": (f"{CLASS}\ndef f(other: Other): return other.nowhere", "other.nowhere"),
    "of an optional argument": (f"{CLASS}\ndef f(other: Other | None): return other.nowhere", "other.nowhere"),
    "of what the object that was made holds": (
        f"{CLASS}\ndef f(some: Some): return some.other.nowhere\nmade = Some()",
        "some.other.nowhere",
    ),
    "of a variable": (
        f"{CLASS}\ndef f(some: Some):\n other = some.other\n return other.nowhere\nmade = Some()",
        "other.nowhere",
    ),
    "within a function in it": (
        f"{CLASS}\ndef f(other: Other):\n def g(): return other.nowhere\n return g",
        "other.nowhere",
    ),
    "in a property": ("class A:\n @property\n def p(self): return self.nowhere", "self.nowhere"),
    "in a lambda": ("def f(): return lambda: nowhere", "nowhere"),
}
SOUND = {
    "what any method gives it": "class A:\n def f(self): self.later = 1\n def g(self): return self.later",
    "what is annotated": "class A:\n later: int\n def g(self): return self.later",
    "a slot": f"{CLASS}\ndef f(some: Some): return some.free",
    "a built-in": "def f(): return len",
    "what nothing is known of": "def f(one): return one.anything.at.all",
    "an argument that is given another value": f"{CLASS}\ndef f(other: Other):\n other = open('x')\n return other.read",
    "one of two": f"{CLASS}\ndef f(one, some: Some):\n x = one or some.other\n return x.anything\nmade = Some()",
    "an argument of two kinds": f"{CLASS}\ndef f(x: Some | Other): return x.known",
    "what __getattr__ may give": "class A:\n def __getattr__(self, name): return 1\n def f(self): return self.anything",
    "a class of somebody else's": "from pathlib import Path\ndef f(path: Path): return path.anything",
    "a loop variable": f"{CLASS}\ndef f(other: Other):\n for other in [1]: return other.real",
}


@pytest.mark.parametrize("what", UNSOUND)
def test_what_is_not_there_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, name = UNSOUND[what]
    assert missing(text, monkeypatch) == [f"{name}, which is not there"]


@pytest.mark.parametrize("what", SOUND)
def test_of_what_is_there_or_not_known_nothing_is_said(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(SOUND[what], monkeypatch) == []


def test_it_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = module("\n\ndef f():\n    return nowhere", monkeypatch)
    assert [*symbol_check.unresolved([tried], [])] == [f"{NAME}:4 uses nowhere, which is not there"]


# Rule 1.


@pytest.mark.parametrize(
    "text",
    [
        "def f(): import supervise.nowhere",
        "def f(): from supervise.nowhere import x",
        "def f(): from supervise.protocol import nowhere",
        "def f(): from supervise.protocol.names import NOWHERE",
        "class A:\n def f(self):\n  def g(): from supervise.protocol import nowhere",
    ],
)
def test_what_a_function_imports_must_be_there(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module(text, monkeypatch)
    with pytest.raises(ImportError):
        symbol_check.load_all()


def test_what_it_can_do_without_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ctypes", None)
    module("def f(): import _ctypes", monkeypatch)
    symbol_check.load_all()


def test_a_module_that_cannot_be_imported_is_told_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError):
        symbol_check.load_all("supervise.nowhere")
