"""A student's file, read as text and as a syntax tree before anything of it runs. Standard library only."""

from __future__ import annotations

import ast
import codecs
import difflib
import errno
import hashlib
import io
import os
import re
import stat
import tokenize
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal

from grader.errors import SubmissionError

MAX_BYTES = 1 << 20
MAX_SHOWN = 200  # characters of a signature that are quoted


@dataclass(frozen=True)
class Definition:
    """What the file binds at its top level under one name."""

    line: int
    is_function: bool = False  # or a class: what a task may ask for
    is_stub: bool = False
    parameters: tuple[int, int] | None = None  # fewest and most positional arguments; None: cannot be told
    shown: str = ""  # the parameters as the student wrote them
    returns: tuple[int, ...] = ()  # lines of its return statements
    lines: frozenset[int] = frozenset()  # where something of a function or class begins


@dataclass(frozen=True)
class Unfit:
    """Why a task cannot be run at all. Not tried (`skipped`), or tried with another signature (`failed`)."""

    outcome: Literal["skipped", "failed"]
    says: str


@dataclass(frozen=True)
class Submission:
    """One file: its bytes, its digest, and what it defines."""

    filename: str
    source: bytes
    definitions: dict[str, Definition]
    binds_unknown_names: bool = False  # a star import, or a module-level __getattr__

    @property
    def digest(self) -> str:
        """sha256 of the source, first 16 digits."""
        return hashlib.sha256(self.source).hexdigest()[:16]

    def lines(self) -> list[str]:
        """The source's lines, for quoting."""
        return re.split(r"\r\n|\r|\n", decoded(self.source))  # a form feed ends no line of Python

    def unfit(self, signatures: Mapping[str, str], tasks: Collection[str] = ()) -> Unfit | None:
        """Return why a task of these functions cannot be run, or None: missing, still a stub, another signature.

        Of the functions that the file defines besides `tasks`, the lab's own, the one that was probably meant is
        suggested.
        """
        found = [reason for name, signature in signatures.items() if (reason := self._unfit(name, signature, tasks))]
        if not found:
            return None
        says = found[0].says
        if len(signatures) > 1:
            says += f" The task is {' and '.join(signatures)}; it is graded when all of them are there."
        return Unfit(found[0].outcome, says)

    def _unfit(self, name: str, signature: str, tasks: Collection[str]) -> Unfit | None:
        found = self.definitions.get(name)
        if found is None:
            if self.binds_unknown_names:
                return None
            others = [n for n, one in self.definitions.items() if one.is_function and n not in tasks]
            near = difflib.get_close_matches(name, others, 1)
            if near:
                where = self.definitions[near[0]].line
                advice = f"Did you mean {near[0]} on line {where}? Rename it to {name}."
                return Unfit("skipped", f"{self.filename} defines no {name}. {advice}")
            return Unfit("skipped", f"{self.filename} defines no {name}; the task asks for {signature}.")
        if found.is_stub:
            return Unfit("skipped", f"{name} is not written yet: line {found.line} is still the starter's stub.")
        wanted = _positional(ast.parse(f"def {signature}: pass").body[0])
        if found.parameters and wanted and not (found.parameters[0] <= wanted[1] <= found.parameters[1]):
            says = f"Line {found.line} defines {name}({found.shown}), but the task asks for {signature}."
            return Unfit("failed", says)
        return None


def find(path: Path, lab_id: str) -> Path:
    """Return the file to grade: `path` itself, or lab01.py in the folder `path`.

    Raises SubmissionError where there is no such file, or several could be meant.
    """
    wanted = f"{lab_id}.py"
    if not os.path.lexists(path):
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], 1)
        raise SubmissionError("missing", f"there is no {path}." + (f" Did you mean {near[0]}?" if near else ""))
    if path.is_dir() and not path.is_symlink():
        if path.suffix == ".py":
            raise SubmissionError("not_a_file", f"{path.name} is a folder; a Python file was expected.")
        exact = path / wanted
        if os.path.lexists(exact):
            return exact
        candidates = sorted(p for p in path.glob("*.py") if re.search(lab_id, p.name, re.IGNORECASE))
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            names = ", ".join(p.name for p in candidates)
            raise SubmissionError(
                "several",
                f"several files could be the submission: {names}. Name one: grade {lab_id} {candidates[0].name!r}",
            )
        raise SubmissionError("missing", f"there is no {wanted} in {path}. `grade start {lab_id}` writes one.")
    return path


def load(path: Path) -> Submission:
    """Read and parse one file without following links; SubmissionError says what is wrong with it."""
    with open_plain(path) as file:
        source = read_capped(file, path.name)
    return parse(source, path.name)


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file that others wrote; SubmissionError for a link, a FIFO, a folder, and what may not be read."""
    name = path.name
    try:
        # No symlink may choose what is read, no FIFO may hang us; what is opened is what is looked at.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SubmissionError("symlink", f"{name} is a symbolic link; hand in the file itself.") from None
        if isinstance(error, PermissionError):
            raise SubmissionError("unreadable", f"{name} may not be read (no permission); change its mode.") from None
        raise SubmissionError("unreadable", f"{name} cannot be read: {error.strerror}.") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = "is a folder; a Python file was expected" if stat.S_ISDIR(mode) else "is not a plain file"
        raise SubmissionError("not_a_file", f"{name} {what}.")
    return os.fdopen(descriptor, "rb")


def read_capped(file: IO[bytes], name: str) -> bytes:
    """Read a source file; SubmissionError when it is larger than any source needs to be."""
    source = file.read(MAX_BYTES + 1)
    if len(source) > MAX_BYTES:
        raise SubmissionError("too_large", f"{name} is larger than 1 MiB; a submission is source code only.")
    return source


def parse(source: bytes, filename: str) -> Submission:
    """Parse `source`; SubmissionError for what is not a Python file, in UTF-8 or in the encoding that it declares."""
    if not source.strip():
        raise SubmissionError("empty", f"{filename} is empty.")
    if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SubmissionError("not_text", f"{filename} is UTF-16, not UTF-8. Save it as UTF-8.", 1)
    nul = source.find(b"\0")
    if nul >= 0:
        line = source.count(b"\n", 0, nul) + 1
        raise SubmissionError("not_text", f"{filename} holds a NUL byte on line {line}; it is not Python source.", line)
    try:
        decoded(source)
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding
        raise SubmissionError(
            "not_text", f"{filename} is not {name}: a wrong byte on line {line}. Save it as UTF-8.", line
        ) from None
    except SyntaxError as error:  # it declares an encoding that there is not
        raise SubmissionError("syntax_error", f"{filename}: {error}. Save it as UTF-8.", 1) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, filename)
            definitions = dict(_bindings(tree.body))
    except SyntaxError as error:
        raise SubmissionError("syntax_error", _pointed(error, source), error.lineno) from None
    except ValueError as error:
        raise SubmissionError("syntax_error", f"{filename} is not valid Python: {error}") from None
    except (RecursionError, MemoryError):
        raise SubmissionError("too_nested", f"{filename} is nested too deeply to be parsed.") from None
    unknown = any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in tree.body)
    return Submission(filename, source, definitions, unknown or "__getattr__" in definitions)


def decoded(source: bytes) -> str:
    """Return a file's text as Python reads it: UTF-8, or what a comment in one of its first two lines declares."""
    # That the declaration can be read says nothing about the rest, and detect_encoding hides which byte is wrong.
    head = b"".join(source.splitlines(keepends=True)[:2])
    encoding, _ = tokenize.detect_encoding(io.BytesIO(head.decode("utf-8", "replace").encode()).readline)
    return source.decode(encoding)


def _pointed(error: SyntaxError, source: bytes) -> str:
    """Return the sentence, and below it the line with a caret under the place."""
    says = f"{type(error).__name__}: {error.msg}"  # TabError and IndentationError say more than SyntaxError
    lines = decoded(source).splitlines()
    if not error.lineno or error.lineno > len(lines):
        return says
    line = lines[error.lineno - 1]
    if len(line) > 200:
        return says
    indent = len(line) - len(line.lstrip())
    caret = " " * max(0, (error.offset or 1) - 1 - indent) + "^"
    return f"{says}\n    {line.strip()}\n    {caret}"


def _bindings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, Definition]]:
    """Yield every name that the statements can bind at the top level."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = list(ast.walk(node))
            yield (
                node.name,
                Definition(
                    node.lineno,
                    True,
                    _is_stub(node.body),
                    _positional(node),
                    _shortened(ast.unparse(node.args)),
                    tuple(sorted(n.lineno for n in inside if isinstance(n, ast.Return))),
                    _lines(inside),
                ),
            )
        elif isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            returns = tuple(sorted(n.lineno for m in methods for n in ast.walk(m) if isinstance(n, ast.Return)))
            lines = _lines(ast.walk(node))
            yield node.name, Definition(node.lineno, True, _is_stub_class(methods), returns=returns, lines=lines)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield (alias.asname or alias.name).split(".")[0], Definition(node.lineno)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id, Definition(node.lineno, isinstance(node.value, ast.Lambda))
        else:
            for block in ("body", "orelse", "finalbody"):
                inner = getattr(node, block, None)
                if isinstance(inner, list):
                    yield from _bindings(inner)
            for handler in getattr(node, "handlers", []):
                yield from _bindings(handler.body)


def _shortened(words: str) -> str:
    return words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]}…"


def _lines(nodes: Iterable[ast.AST]) -> frozenset[int]:
    return frozenset(n.lineno for n in nodes if isinstance(n, (ast.stmt, ast.expr)))


def _is_stub_class(methods: Sequence[ast.FunctionDef]) -> bool:
    """Tell whether a method still raises NotImplementedError, or none does anything; one empty method is a choice."""
    return any(_gives_up(m.body) for m in methods) or bool(methods and all(_is_stub(m.body) for m in methods))


def _gives_up(body: Sequence[ast.stmt]) -> bool:
    """Tell whether a body is `raise NotImplementedError`, below a docstring at most."""
    body = _without_docstring(body)
    if len(body) != 1 or not isinstance(body[0], ast.Raise):
        return False
    raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _without_docstring(body: Sequence[ast.stmt]) -> Sequence[ast.stmt]:
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return body[1:] if isinstance(body[0].value.value, str) else body
    return body


def _is_stub(body: Sequence[ast.stmt]) -> bool:
    """Tell whether a body is a docstring at most and `raise NotImplementedError`, `...` or `pass`."""
    body = _without_docstring(body)
    if len(body) != 1:
        return not body
    only = body[0]
    if _gives_up(body):
        return True
    ellipsis = isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant) and only.value.value is ...
    return ellipsis or isinstance(only, ast.Pass)


def _positional(node: ast.AST) -> tuple[int, int] | None:
    """Return the fewest and most arguments a def can be called with; None where *args or **kwargs leave it open."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.args.vararg or node.args.kwarg:
        return None
    positional = len(node.args.posonlyargs) + len(node.args.args)
    return positional - len(node.args.defaults), positional + len(node.args.kwonlyargs)
