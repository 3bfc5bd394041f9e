"""`grade repro`: a visible check's calls as a script of plain torch, to be debugged with `breakpoint()`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grader.checking.calls import Call
from grader.recipes import Recipe

_ABOUT = '''"""The calls of {id}, to be run under a debugger.

{title}

Written by `grade repro`. Change it as you like: nothing reads it.
"""
'''

_LOADED = '''import importlib.util
import sys

import torch


def load(path, name):
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


student = load({path!r}, "student")
'''

_HARNESS = """# The public harness that plays scenarios, and the meter it may use.
import grader.sandbox.worker as worker

sys.modules["alphabar_worker"] = worker
scenarios = load({path!r}, "scenarios")
"""


def script(check_id: str, title: str, calls: Sequence[Call], submission: Path, scenarios: Path) -> str:
    """Return the script's text. `scenarios` is the lab's public harness, for checks that play one."""
    parts = [_ABOUT.format(id=check_id, title=title), *loaded(calls, submission, scenarios)]
    for number, call in enumerate(calls, 1):
        target, given, keywords = spelled(call)
        arguments = [*given, *(f"{name}={value}" for name, value in keywords.items())]
        body = "".join(f"    {argument},\n" for argument in arguments)
        parts.append(
            f"# Call {number}: breakpoint() before it, then step into it.\n"
            f"torch.manual_seed(1234)\nanswer = {target}(\n{body})\nprint(answer)\n"
        )
    return "\n".join(parts)


def loaded(calls: Sequence[Call], submission: Path, scenarios: Path) -> list[str]:
    """Return the lines that import what the calls need, as `student` and, where one plays a scenario, `scenarios`."""
    parts = [_LOADED.format(path=str(submission.resolve()))]
    if any(call.request["op"] == "play" for call in calls):
        parts.append(_HARNESS.format(path=str(scenarios)))
    return parts


def spelled(call: Call) -> tuple[str, list[str], dict[str, str]]:
    """Return a call as Python: its function, its arguments, and those that are given by name."""
    request = call.request
    keywords = {name: source(value) for name, value in request["kwargs"].items()}
    if request["op"] == "call":
        return f"student.{request['function']}", [source(value) for value in request["args"]], keywords
    return f"scenarios.{request['scenario']}", ["student"], keywords


def source(value: Any) -> str:
    """Return Python source that makes `value` with torch, as the worker does."""
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if isinstance(value, (list, tuple)):
        inner = ", ".join(source(item) for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {source(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, Recipe):
        return repr(value)
    args = [source(argument) for argument in value.args]
    if value.op.startswith("."):
        return _method(value.op[1:], args)
    return _maker(value, args)


def _method(op: str, args: list[str]) -> str:
    subject, rest = args[0], args[1:]
    if op == "to":
        return f"{subject}.to(torch.{value_of(rest[0])})"
    if op == "on":
        return f"{subject}.to({rest[0]})"
    if op in ("mul", "add"):
        return f"({subject} {'*' if op == 'mul' else '+'} {rest[0]})"
    if op == "getitem":
        return f"{subject}[{rest[0]}]"
    return f"{subject}.{op}({', '.join(rest)})"


def _maker(recipe: Recipe, args: list[str]) -> str:
    op = recipe.op
    if op in ("randn", "rand"):
        return f"torch.{op}({', '.join(args[1:])}, generator=torch.Generator().manual_seed({args[0]}))"
    if op == "witnessed":
        given = [f"{name}={source(value)}" for name, value in recipe.kwargs.items()]
        return f"scenarios.{recipe.args[0]}({', '.join(given)})"
    if op == "generator":
        return f"torch.Generator().manual_seed({args[0]})"
    if op == "dtype":
        return f"torch.{value_of(args[0])}"
    if op == "linear_betas":
        return f"torch.linspace({args[1]}, {args[2]}, {args[0]})"
    if op == "scaled_linear_betas":
        return f"torch.linspace({args[1]} ** 0.5, {args[2]} ** 0.5, {args[0]}) ** 2"
    if op == "alphas_cumprod":
        return f"torch.cumprod(1 - {args[0]}, 0)"
    if op in ("tensor", "array"):
        kind = recipe.kwargs.get("dtype") or (str(recipe.args[0].dtype) if op == "array" else None)
        return f"torch.tensor({args[0]}" + (f", dtype=torch.{kind})" if kind else ")")
    return f"torch.{op}({', '.join(args)})"


def value_of(quoted: str) -> str:
    """Return the text inside a quoted string."""
    return quoted.strip("'\"")
