"""A configuration as svall uses it: what it defines, in which order, and where the services of it are."""

from __future__ import annotations

import os
import posix

from supervise.config.config import NONE
from supervise.config.defined import DefinedConf
from supervise.config.definitions import read
from supervise.config.sources import at
from supervise.fleet.order import Order
from supervise.protocol.filenames import from_file, in_file, join
from supervise.protocol.names import STDERR, STDOUT
from supervise.protocol.selection import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from supervise.config.config import Config
    from supervise.config.definition import Definition


class Loaded:
    """What the file `conf` defines; the services of it live in the directory `root`.

    `errors`: lines for each of which nothing is to be started; `warnings`: lines that are said, and no more.
    `carries`: what is carried over from another program's file matters, so that what is not is among the warnings.
    """

    def __init__(
        self, conf: str, root: str, environ: Mapping[bytes, bytes] | None = None, carries: bool = True
    ) -> None:
        self.conf = conf
        self.root = root
        self.fleet = read(conf, environ)
        self.services: dict[str, Definition] = self.fleet.services
        self.order = Order(self.services.values())
        for problem in self.order.problems:
            self.fleet.add_error(*problem)
        self.errors = self.fleet.errors
        self.warnings = [line for line in self.fleet.warnings if carries or line not in self.fleet.left_out]
        if not self.services and not self.errors:
            self.warnings.append(at(conf, 0, "defines no service"))

    def path(self, name: str) -> str:
        """The status directory of a service."""
        return join(self.root, from_file(name))

    def select(self, words: Iterable[str], there: bool = False) -> tuple[list[str], list[str]]:
        """The services that the words of a command line name, in the order of the file, all for none; and errors.

        `there`: they may name what is in the directory and not defined, too.  Raises ClientError if so: what there is
        cannot be known.
        """
        words, names = list(words), [*self.services]
        if not words:
            return names, []
        if there and not all(word in self.services for word in words):
            names += self.undefined()
        return select(words, names, self.fleet.groups)

    def undefined(self) -> list[str]:
        """The services in the directory that the file does not define.  Raises ClientError: that cannot be known."""
        from supervise.client.resolve import listed  # which few ask for

        there = map(in_file, listed(self.root) if os.path.isdir(self.root) else ())
        return [name for name in there if name not in self.services]

    def config(self, name: str) -> Config:
        """What governs a service, as it is read at a start.  Raises KeyError."""
        config, _ = _Read(self.conf, self.services[name]).read()
        return config

    def problems(self, names: Iterable[str]) -> list[str]:
        """What is wrong in what governs services, and does not count; each line once."""
        found: dict[str, None] = {}
        for name in names:
            found.update(dict.fromkeys(_Read(self.conf, self.services[name]).read()[1]))
        return list(found)

    def logs(self, name: str) -> tuple[str, str]:
        """The files that a service prints to, from its next start on; empty where that is none, or the same."""
        path = self.path(name)
        if name not in self.services:
            return join(path, STDOUT), join(path, STDERR)
        config = self.config(name)
        out = config.output_path("stdout") or ("" if config.stdout_logfile == NONE else join(path, STDOUT))
        error = config.output_path("stderr") or ("" if config.stderr_logfile == NONE else join(path, STDERR))
        return out, "" if config.redirect_stderr or error == out else error

    def where(self, name: str, key: str) -> str:
        """The place of a key that governs a service, `FILE:LINE`.  Raises KeyError."""
        conf = _Read(self.conf, self.services[name])
        conf.read()
        return conf.where(key)


class _Read(DefinedConf):
    """The configuration of a service whose definition has been read."""

    def __init__(self, path: str, definition: Definition) -> None:
        super().__init__(path, from_file(definition.name))
        self._read_already = definition

    def _load(self) -> tuple[bytes, bool, posix.stat_result]:
        self._definition, self._sources = self._read_already, self._read_already.sources
        return self._read_already.text(), False, posix.stat(self.path)
