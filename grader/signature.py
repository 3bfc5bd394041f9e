"""How a task's functions are called: their signatures, read from starter.py. Standard library only."""

from __future__ import annotations

import ast
import functools


def signatures(source: str) -> dict[str, str]:
    """Return `add_noise(x0, noise, t, betas)` for each top-level function and class of `source`, by name.

    Annotations are left out. A class is called with what its `__init__` takes after `self`.
    """
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _shown(node.name, node.args)
        elif isinstance(node, ast.ClassDef):
            makers = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            arguments = makers[0].args if makers else ast.arguments([], [ast.arg("self")], None, [], [], None, [])
            found[node.name] = _shown(node.name, _without_first(arguments))
    return found


@functools.cache
def parameters(signature: str) -> tuple[str, ...]:
    """Return the names of a signature's positional parameters, in order."""
    node = ast.parse(f"def {signature}: pass").body[0]
    assert isinstance(node, ast.FunctionDef)
    return tuple(argument.arg for argument in (*node.args.posonlyargs, *node.args.args))


def _shown(name: str, arguments: ast.arguments) -> str:
    plain = ast.parse(f"def f({ast.unparse(arguments)}): pass").body[0]
    assert isinstance(plain, ast.FunctionDef)
    for argument in ast.walk(plain.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"{name}({ast.unparse(plain.args)})"


def _without_first(arguments: ast.arguments) -> ast.arguments:
    before = (arguments.posonlyargs, arguments.args)
    positional = before[0][1:], before[1] if before[0] else before[1][1:]
    return ast.arguments(
        *positional, arguments.vararg, arguments.kwonlyargs, arguments.kw_defaults, arguments.kwarg, arguments.defaults
    )
