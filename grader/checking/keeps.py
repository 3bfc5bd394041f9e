"""What a file keeps from one call to the next, as far as its text shows it: globals, shared defaults, settings.

Read only after a check has failed in a way that says that something is kept; so a guess costs nobody a point.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass

MOST = 2  # of several that could be it, so many are named

# Calls that hold for the whole process. As the subject of `with`, or as a decorator, they end by themselves.
SETTINGS = frozenset(
    {
        *("set_default_dtype", "set_default_device", "set_default_tensor_type", "set_grad_enabled", "set_num_threads"),
        *("use_deterministic_algorithms", "set_float32_matmul_precision", "set_flush_denormal", "set_detect_anomaly"),
    }
)
CHANGES = frozenset({"append", "extend", "insert", "update", "setdefault", "add", "pop", "popitem", "clear", "remove"})
CACHES = frozenset({"cache", "lru_cache", "cached_property"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Kept:
    """One thing that outlives a call: its name, the line to look at, and what stands there."""

    name: str
    line: int
    says: str


def keeps(source: bytes, functions: Collection[str]) -> list[Kept]:
    """Return what the file keeps, in the order of its lines; what `functions` and those they call keep goes first.

    `functions` are the task's. Empty where the text shows nothing, or more than could be it.
    """
    tree = ast.parse(source)
    defined = {node.name: node for node in tree.body if isinstance(node, Definition)}
    module = _bound(tree.body)
    near = _reached(functions, defined)
    for chosen in ([defined[name] for name in near], [n for name, n in defined.items() if name not in near]):
        found: dict[str, Kept] = {}
        for kept in sorted((kept for node in chosen for kept in _kept(node, module)), key=lambda kept: kept.line):
            found.setdefault(kept.name, kept)
        if found:
            return list(found.values()) if len(found) <= MOST else []
    return []


def _reached(functions: Collection[str], defined: dict[str, Definition]) -> list[str]:
    """Return the names of the top-level definitions that `functions` are, use, and so on."""
    waiting, found = [name for name in functions if name in defined], list[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += [n.id for n in ast.walk(defined[name]) if isinstance(n, ast.Name) and n.id in defined]
    return found


def _bound(body: list[ast.stmt]) -> dict[str, int]:
    """Return the names that plain statements at the top level bind, with their lines."""
    return {
        part.id: node.lineno
        for node in body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def _kept(node: Definition, module: dict[str, int]) -> Iterator[Kept]:
    """Yield what a top-level function or class keeps."""
    own = {} if not isinstance(node, ast.ClassDef) else _bound(node.body)
    for inner in ast.walk(node):
        if isinstance(inner, Function):
            yield from _of_function(inner, module, own)
        elif isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):  # not the subject of `with`
            called = _last(inner.value.func)
            if called in SETTINGS:
                yield Kept(called, inner.lineno, f"`{called}` on line {inner.lineno} holds for the whole process")


def _of_function(function: Function, module: dict[str, int], own: dict[str, int]) -> Iterator[Kept]:
    for mark in function.decorator_list:
        if _last(mark.func if isinstance(mark, ast.Call) else mark) in CACHES:
            yield Kept(function.name, mark.lineno, f"line {mark.lineno} keeps the answers of `{function.name}`")
    shared = {name for n in ast.walk(function) if isinstance(n, ast.Global) for name in n.names}
    stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defaults = _shared_defaults(function)
    for node in ast.walk(function):
        if not isinstance(node, ast.expr):
            continue
        name = _changed(node) or ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in shared:
            yield Kept(node.id, node.lineno, f"the global `{node.id}` is set on line {node.lineno}")
        elif name in defaults:
            line = defaults[name]
            yield Kept(name, line, f"the default of `{name}` on line {line} is made once, for all calls")
        elif name in module and name not in stored - shared:
            yield Kept(name, node.lineno, f"`{name}` of line {module[name]} is changed on line {node.lineno}")
        elif name.partition(".")[2] in own and name.startswith(("self.", "cls.")):
            attribute = name.partition(".")[2]
            if not _set_anew(function, attribute):
                line = own[attribute]
                yield Kept(name, line, f"`{attribute}` on line {line} is one for all objects of the class")
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _name(node.value) == function.name:
            yield Kept(node.attr, node.lineno, f"`{function.name}.{node.attr}` is set on line {node.lineno}")


def _shared_defaults(function: Function) -> dict[str, int]:
    """Return the parameters whose default is a list, a dict or a set, with its line."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True)]
    pairs += [(name, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value]
    return {name.arg: value.lineno for name, value in pairs if _is_container(value)}


def _is_container(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return _name(value.func) in ("list", "dict", "set")
    return isinstance(value, (ast.List, ast.Dict, ast.Set))


def _changed(node: ast.expr) -> str | None:
    """Return the name of what a node changes in place: `x[i] = …`, `x.append(…)`, `x.mul_(…)`."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
        return _name(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        method = node.func.attr
        in_place = method.endswith("_") and not method.endswith("__")
        return _name(node.func.value) if in_place or method in CHANGES else None
    return None


def _name(node: ast.expr) -> str | None:
    """Return `x` or `self.x` as text, None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return None


def _last(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _set_anew(function: Function, attribute: str) -> bool:
    return any(
        isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and n.attr == attribute
        for n in ast.walk(function)
    )
