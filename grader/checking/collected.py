"""A lab's checks in a session of pytest that stays open: collected once, run on one submission after another."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import pytest_timeout
from _pytest.config import _prepareconfig

from grader.checking.plugin import ChecksPlugin, Sitting
from grader.course import Lab
from grader.errors import CourseError, InternalError

# Parts of pytest that no check needs, while each check would pass through their hooks.
UNUSED = (
    *("cacheprovider", "capture", "debugging", "doctest", "faulthandler", "junitxml", "legacypath", "logging"),
    *("monkeypatch", "pastebin", "recwarn", "setuponly", "setupplan", "subtests", "tmpdir", "unittest", "warnings"),
    # What these find is ours to find in the tests; here they cost a garbage collection a check each.
    *("threadexception", "unraisableexception"),
)


class Checks:
    """A session of pytest with the lab's checks, open until `close`.

    Opening one costs more than running its checks, so it is kept. Nothing passes from one submission to the next:
    what is known of one is in its `Sitting`, and checks.py is run anew for each, as if it were imported again.
    """

    def __init__(self, lab: Lab) -> None:
        """Collect the checks; CourseError when checks.py is wrong."""
        self.closed = False
        self._lab = lab
        self._plugin = ChecksPlugin(lab)
        with _quiet(lab.root), contextlib.ExitStack() as opened:
            try:
                self._session = self._open(opened)
            except (Exception, SystemExit) as error:
                raise InternalError(f"pytest cannot collect {lab.folder.name}/checks.py: {error!r}.") from error
            if self._plugin.collect_error:
                raise CourseError(f"{lab.folder.name}/checks.py cannot be collected: {self._plugin.collect_error}")
            self._items = [item for item in self._session.items if isinstance(item, pytest.Function)]
            if self._items:
                self._spec = self._items[0].module.__spec__
                self._code = self._spec.loader.get_code(self._spec.name)
            self._opened = opened.pop_all()

    def _open(self, opened: contextlib.ExitStack) -> pytest.Session:
        """Do what pytest.main does before the first check, step by step, as the workers of pytest-xdist do."""
        with _unconfigured():
            config = _prepareconfig(_options(self._lab), [self._plugin, pytest_timeout])
        opened.callback(config._ensure_unconfigure)
        session = pytest.Session.from_config(config)
        config._do_configure()
        config.hook.pytest_sessionstart(session=session)
        opened.callback(config.hook.pytest_sessionfinish, session=session, exitstatus=pytest.ExitCode.OK)
        config.hook.pytest_collection(session=session)
        return session

    def run(self, sitting: Sitting) -> None:
        """Run the checks on one submission. InternalError where pytest breaks off; this is closed after any error."""
        with _quiet(self._lab.root):
            self._session.items[:] = sitting.choose(self._items)
            self._plugin.sitting = sitting
            try:
                self._import_anew()
                sitting.load()
                self._session.config.hook.pytest_runtestloop(session=self._session)
            except BaseException as error:
                self.close()
                if isinstance(error, Exception):
                    raise InternalError(f"pytest broke off in {self._lab.folder.name}/checks.py: {error!r}.") from error
                raise
            finally:
                self._plugin.sitting = None
                sitting.bench.dismiss()

    def close(self) -> None:
        """End the session."""
        self.closed = True
        self._opened.close()

    def _import_anew(self) -> None:
        if self._items:
            module = importlib.util.module_from_spec(self._spec)
            sys.modules[self._spec.name] = module
            exec(self._code, vars(module))
            for item in self._items:
                item.obj = getattr(module, item.originalname)


def _options(lab: Lab) -> list[str]:
    seconds = lab.manifest.limits.cpu_s * len(lab.tasks) * 8 + 120
    return [
        *("-c", os.devnull, "--rootdir", str(lab.folder.parent)),
        *("--import-mode=importlib", "--noconftest", "--assert=plain", "--tb=no"),
        *(f"-pno:{name}" for name in UNUSED),
        *("-o", "python_files=checks.py", f"--timeout={seconds:.0f}"),
        str(lab.checks_path),
    ]


@contextlib.contextmanager
def _unconfigured() -> Iterator[None]:
    """Shut out what the environment says to pytest."""
    variables = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": None, "PYTEST_PLUGINS": None}
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _quiet(course_root: Path) -> Iterator[None]:
    """Let checks.py import from the course, and swallow what is printed: pytest-timeout needs the reporter."""
    path, bytecode, modules = sys.path[:], sys.dont_write_bytecode, set(sys.modules)
    sys.path.insert(0, str(course_root))
    sys.dont_write_bytecode = True
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, bytecode
        # Another course may have a checks.py of the same name.
        for name in [n for n in sys.modules if n not in modules and n.split(".")[-1] == "checks"]:
            del sys.modules[name]
