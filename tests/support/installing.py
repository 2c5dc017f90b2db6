"""An installation of its own for a test, so that a part of it can be broken."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import sys
import warnings
from pathlib import Path

from box import SUPERVISE, Box

import supervise

PROGRAMS = ("supervise", "svall", "svc", "svlog", "svok", "svstat", "svwait")
OTHERS = ("docopt", "pyinotify", "asyncore", "asynchat")  # the last two where the standard library lacks them


def install(prefix: Path) -> Path:
    """Put a copy of what is installed below a folder, as pip does; where its modules are."""
    modules = prefix / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"
    modules.mkdir(parents=True)
    shutil.copytree(Path(supervise.__file__).parent, modules / "supervise", ignore=shutil.ignore_patterns("*.opt-*"))
    install_others(modules)
    with warnings.catch_warnings():  # those that docopt's regular expressions call forth in newer Pythons
        warnings.simplefilter("ignore")
        compileall.compile_dir(modules, quiet=2)
    (prefix / "bin").mkdir()
    for name in (*PROGRAMS, "supervise-python"):
        shutil.copy(Path(SUPERVISE).with_name(name), prefix / "bin")
    return modules


def install_others(modules: Path) -> None:
    """Put copies of what the package needs beside it."""
    for name in OTHERS:
        spec = importlib.util.find_spec(name)
        if spec and spec.origin and "site-packages" in spec.origin:
            path = Path(spec.origin)
            if path.name == "__init__.py":
                shutil.copytree(path.parent, modules / name)
            else:
                shutil.copy2(path, modules)
                compiled = modules / "__pycache__"
                compiled.mkdir(exist_ok=True)
                for one in path.with_name("__pycache__").glob(f"{name}.*"):
                    shutil.copy2(one, compiled)


def own(box: Box) -> Path:
    """Have the box use an installation of its own; where its modules are."""
    prefix = box.folder / "own"
    modules = install(prefix)
    box.program = str(prefix / "bin" / "supervise")
    box.env["PATH"] = f"{prefix / 'bin'}{os.pathsep}{box.env['PATH']}"
    return modules
