"""The types of the Python interfaces: what a type checker knows of them from an installed package."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PATIENCE

import supervise
from supervise import client, notify
from supervise.client import conditions, service, status
from supervise.protocol import record, states

# What is wrong here is marked so: a mark that is not needed is an error, too.
USER = """
from supervise.client import ClientError, LastExit, Service, Status, services
from supervise.notify import watchdog

app = Service("app")
now: Status = app.start(10)
now = app.stop()
now = app.restart(seconds=None)
now = app.wait("ready", 3)
now = app.wait(lambda before, after: after.pid != before.pid)
lines: list[bytes] = app.log("warnings", lines=3)
name: object = app.to_dict()["name"]
everyone: list[Service] = services()
last: LastExit | None = now.last_exit

app.wait("redy")  # type: ignore[arg-type]
app.log("out")  # type: ignore[arg-type]
if now.want == "downn":  # type: ignore[comparison-overlap]
    pass
if now.phase == "redy":  # type: ignore[comparison-overlap]
    pass
if now.machine == "run":  # type: ignore[comparison-overlap]
    pass
app.begin()  # type: ignore[attr-defined]


@watchdog(3)
def work(number: int) -> str:
    return str(number)


text: str = work(1)
work("1")  # type: ignore[arg-type]
"""


@pytest.mark.skipif(not find_spec("mypy"), reason="mypy is not installed")
def test_a_users_program_is_checked(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.10", "user.py"]
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE * 3)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", [supervise, client, notify], ids=lambda module: module.__name__)
def test_what_is_public_is_there_and_said(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name)
        if callable(found := getattr(module, name)):
            assert inspect.getdoc(found), f"{name} has no docstring"


def literal(module: ModuleType, name: str) -> tuple[str, ...]:
    """The values of an alias that only type checkers see."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return tuple(ast.literal_eval(node.value.slice))  # type: ignore[attr-defined]
    raise LookupError(name)


def test_each_literal_has_all_that_may_come() -> None:
    assert literal(status, "MachineState") == states.STATES
    phases = (states.STARTING, states.READY, states.RELOADING, states.ENDING)
    assert literal(status, "Phase") == phases
    assert literal(record, "Want") == (record.UP, record.DOWN, record.ONCE)
    assert literal(conditions, "ConditionName") == tuple(conditions.CONDITIONS)
    assert literal(service, "LogName") == tuple(service.LOGS)
