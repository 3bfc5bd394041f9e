"""Automatic mutants: the reference with one small slip that nobody thought of, made from its syntax tree.

A mutant differs from the reference in one place. Where the changed text compiles to the same bytecode as the
reference, or as another mutant, it is left out: the first is equivalent by construction, the second is made twice. Text
outside the changed place stays as it is, so that a diff shows the slip and nothing else. Nothing is executed here.

The general mutation libraries do not fit: they know arithmetic and comparisons but no dtype, dim, keepdim or in-place
form, which is where tensor code goes wrong, and each comes with a test runner of its own.
"""

from __future__ import annotations

import ast
import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import CodeType
from typing import Any

from grader.course import Lab

Slip = tuple[ast.AST, str]  # a node, and the text that stands in its place
Operator = Callable[[ast.AST, "Text"], Iterator[Slip]]


@dataclass(frozen=True)
class Mutant:
    """One edited reference."""

    id: str  # operator and changed text: survives edits elsewhere in the reference
    operator: str
    task: str
    tasks: tuple[str, ...]  # whose checks may reject it: several where a helper is shared
    line: int  # in the reference
    source: str


class Text:
    """A source with the spans of its nodes. The tree counts in bytes of UTF-8, so this does too."""

    def __init__(self, source: str) -> None:
        """Parse `source`."""
        self.source = source
        self.tree = ast.parse(source)
        self._bytes = source.encode()
        self._starts = [0, *itertools.accumulate(len(line) for line in self._bytes.splitlines(keepends=True))]
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def of(self, node: ast.AST) -> str:
        """Return a node's text."""
        start, end = self.span(node)
        return self._bytes[start:end].decode()

    def between(self, left: ast.AST, right: ast.AST) -> str:
        """Return the text from the end of one node to the beginning of another."""
        return self._bytes[self.span(left)[1] : self.span(right)[0]].decode()

    def with_operator(self, left: ast.expr, symbol: str, put: str, right: ast.expr, whole: ast.expr) -> str:
        """Return `whole`, which joins `left` and `right`, with another operator; parentheses stay where they are."""
        start, end = self.span(whole)
        a, b = self.span(left)[1], self.span(right)[0]
        gap = self._bytes[a:b].decode().replace(symbol, put, 1)
        return f"({self._bytes[start:a].decode()}{gap}{self._bytes[b:end].decode()})"

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return a node's first byte and the one after its last."""
        first: Any = node
        return (
            self._starts[first.lineno - 1] + first.col_offset,
            self._starts[first.end_lineno - 1] + first.end_col_offset,
        )

    def replaced(self, node: ast.AST, put: str, within: ast.AST | None = None) -> str:
        """Return the source, or of it a node's text, with the text of a node in it replaced."""
        start, end = self.span(node)
        first, last = self.span(within) if within else (0, len(self._bytes))
        return (self._bytes[first:start] + put.encode() + self._bytes[end:last]).decode()


def mutants(lab: Lab, task_id: str) -> list[Mutant]:
    """Return all mutants of a task's function or class, and of the helpers that it is the first task to use.

    Always in the same order: by place in the reference, then by operator.
    """
    text = Text(lab.reference)
    functions = {task.id: task.functions for task in lab.tasks}
    users = _users(text.tree, functions)
    defined = [n for n in text.tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    made: list[Mutant] = []
    ids: dict[str, int] = {}
    for definition in defined:
        used_by = [task for task in functions if definition.name in users[task]]
        if not used_by or used_by[0] != task_id:
            continue
        seen = {_bytecode(text.of(definition))}
        for node, name, put in _slips(definition, text):
            code = _bytecode(text.replaced(node, put, within=definition))
            if code is None or code in seen:
                continue
            seen.add(code)
            label = f"{name}: {_label(node, put, text)}"
            ids[label] = ids.get(label, 0) + 1
            if ids[label] > 1:
                label += f" #{ids[label]}"
            line = node.lineno  # type: ignore[attr-defined]
            made.append(Mutant(label, name, task_id, tuple(used_by), line, text.replaced(node, put)))
    return made


def _users(tree: ast.Module, functions: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Return for each task which top-level functions and classes it reaches by name, other tasks' left out."""
    names = {n.name: n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    written = set(itertools.chain.from_iterable(functions.values()))
    reached: dict[str, set[str]] = {}
    for task, own in functions.items():
        found, todo = set(own), list(own)
        while todo:
            node = names.get(todo.pop())
            inside = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if node else set()
            new = {name for name in inside & set(names) if name not in written} - found
            found |= new
            todo += new
        reached[task] = found
    return reached


def _slips(definition: ast.AST, text: Text) -> Iterator[tuple[ast.AST, str, str]]:
    nodes = [node for node in ast.walk(definition) if hasattr(node, "lineno") and not _is_prose(node, text)]
    nodes.sort(key=lambda node: (text.span(node), type(node).__name__))
    for node in nodes:
        for operator in OPERATORS:
            for place, put in operator(node, text):
                yield place, operator.__name__, put


def _is_prose(node: ast.AST, text: Text) -> bool:
    """Tell whether a node is a docstring, an annotation or an error's message, or within one: a slip there is none."""
    while (parent := text.parents.get(node)) is not None:
        if isinstance(parent, ast.Expr) and isinstance(node, ast.Constant):
            return True
        if any(getattr(parent, field, None) is node for field in ("annotation", "returns")):
            return True
        if isinstance(parent, (ast.FunctionDef, ast.ClassDef)) and node in parent.decorator_list:
            return True
        if isinstance(parent, ast.Raise):
            return True
        node = parent
    return False


def _bytecode(source: str) -> Any:
    """Return what a definition compiles to, without positions; None where it does not compile."""
    try:
        return _code_key(compile(source, "reference", "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return None


def _code_key(code: CodeType) -> Any:
    constants = tuple(_code_key(c) if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts)
    return (
        (code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants),
        (code.co_exceptiontable,),
    )


def diff(before: str, after: str) -> str:
    """Return what differs, with one line around it."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm=""))
    return "\n".join(lines[2:])  # without the two lines of file names


def _label(node: ast.AST, put: str, text: Text) -> str:
    """Return `old -> new`; a short old text, such as a number, with the expression that it stands in."""
    around = node
    while len(text.of(around)) < 12 and isinstance(text.parents.get(around), (ast.expr, ast.keyword)):
        around = text.parents[around]
    (start, end), (first, last) = text.span(around), text.span(node)
    whole = text.source.encode()
    new = whole[start:first].decode() + put + whole[last:end].decode()
    return f"{_short(text.of(around))} -> {_short(new)}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 72 else f"{text[:46]}…{text[-25:]}"


# The operators. Each looks at one node and yields what could stand in its place.

_SYMBOLS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
}
_ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "**": "*", "//": "/", "%": "//", "@": "*"}


def arithmetic(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Exchange + and -, * and /; a power becomes a product."""
    if isinstance(node, ast.BinOp) and not _builds_a_list(node):
        symbol = _SYMBOLS.get(type(node.op), "")
        if symbol in _ARITHMETIC:
            yield node, text.with_operator(node.left, symbol, _ARITHMETIC[symbol], node.right, node)
    if isinstance(node, ast.AugAssign):
        symbol = _SYMBOLS.get(type(node.op), "")
        if symbol in _ARITHMETIC:
            yield node, text.of(node).replace(f"{symbol}=", f"{_ARITHMETIC[symbol]}=", 1)


def dropped_term(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Leave out one term of a sum or one factor of a product; leave out a minus."""
    if isinstance(node, ast.BinOp) and not _builds_a_list(node):
        yield node, f"({text.of(node.left)})"
        if isinstance(node.op, (ast.Add, ast.Mult, ast.MatMult)):
            yield node, f"({text.of(node.right)})"
        elif isinstance(node.op, ast.Sub):
            yield node, f"(-({text.of(node.right)}))"
        elif isinstance(node.op, ast.Div):
            yield node, f"(1 / ({text.of(node.right)}))"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node, f"({text.of(node.operand)})"


def swapped_operands(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Exchange the two sides where their order matters."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow)):
        yield node, f"(({text.of(node.right)}) {_SYMBOLS[type(node.op)]} ({text.of(node.left)}))"


_COMPARISONS: dict[type, tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=", "<=", ">=")),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}


def comparison(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Take the boundary in or out, or turn the comparison round; of words only the last, for nobody orders them."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        symbol, others = _COMPARISONS[type(node.ops[0])]
        sides = (node.left, node.comparators[0])
        are_words = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
        for other in others[:1] if are_words else others:
            yield node, text.with_operator(node.left, symbol, other, node.comparators[0], node)


def condition(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Take one branch always, or exchange `and` and `or`."""
    if isinstance(node, (ast.If, ast.IfExp)):
        for value in ("True", "False"):
            yield node.test, value
    if isinstance(node, ast.BoolOp):
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        yield node, text.with_operator(node.values[0], word, other, node.values[1], node)
        for part in node.values:
            yield node, f"({text.of(part)})"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, f"({text.of(node.operand)})"


def constant(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Change a number: by one where it is whole; otherwise to twice and half of it, and by one in the last digit that
    is written, for 0.998 in place of 0.999 is a slip too. Flip True and False.
    """
    if not isinstance(node, ast.Constant) or _is_dim(node, text):
        return
    value = node.value
    if isinstance(value, bool):
        if not _is_keyword(node, text, "keepdim"):
            yield node, repr(not value)
    elif isinstance(value, int):
        yield node, str(value + 1)
        yield node, f"({value - 1})"
    elif isinstance(value, float):
        for other in {0.0: (1.0,), 1.0: (2.0, 0.0)}.get(value, (2 * value, value / 2)):
            yield node, repr(other)
        yield node, repr(_in_last_digit(text.of(node)))


def _in_last_digit(number: str) -> float:
    """Return a number as it is written, less one in its last digit; more where nothing would be left."""
    written = Decimal(number)
    unit = Decimal((0, (1,), int(written.as_tuple().exponent)))
    return float(written - unit if written > unit else written + unit)


def off_by_one(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Take the neighbour of an index, a bound or a loop's end; leave out the first or last round of a loop."""
    if isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for part in parts:
            bounds = [part.lower, part.upper] if isinstance(part, ast.Slice) else [part]
            for bound in bounds:
                if bound is not None and not isinstance(bound, (ast.Constant, ast.Tuple)):
                    yield bound, f"{text.of(bound)} + 1"
                    yield bound, f"{text.of(bound)} - 1"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("range", "arange"):
        for bound in node.args[:2]:
            if not isinstance(bound, ast.Constant):
                yield bound, f"{text.of(bound)} + 1"
                yield bound, f"{text.of(bound)} - 1"
    if isinstance(node, (ast.For, ast.comprehension)):
        yield node.iter, f"list({text.of(node.iter)})[1:]"
        yield node.iter, f"list({text.of(node.iter)})[:-1]"


def backwards(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Walk a loop from its end."""
    if isinstance(node, (ast.For, ast.comprehension)):
        yield node.iter, f"list({text.of(node.iter)})[::-1]"


def swapped_arguments(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Exchange two neighbouring arguments."""
    if isinstance(node, ast.Call):
        for first, second in itertools.pairwise(node.args):
            if isinstance(first, ast.Starred) or isinstance(second, ast.Starred):
                continue
            if _dim_arguments(node, both=True) or _is_shape(node):
                continue  # transposing is the same both ways round; shapes are `reversed_shape`
            start, _ = text.span(node)
            a, b = text.span(first), text.span(second)
            raw = text.of(node).encode()
            put = raw[: a[0] - start] + text.of(second).encode() + raw[a[1] - start : b[0] - start]
            yield node, (put + text.of(first).encode() + raw[b[1] - start :]).decode()
    is_pair = isinstance(node, (ast.List, ast.Tuple)) and isinstance(node.ctx, ast.Load) and len(node.elts) == 2
    if is_pair and not isinstance(text.parents.get(node), ast.Subscript):
        inside = ", ".join(text.of(item) for item in reversed(node.elts))  # type: ignore[attr-defined]
        yield node, f"[{inside}]" if isinstance(node, ast.List) else f"({inside})"


def dim(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Take another axis."""
    if isinstance(node, ast.expr) and _is_dim(node, text):
        value = _whole(node)
        # 0 and -1 are the same axis where there is only one, so neither stands in for the other.
        for other in {None: (), 0: (1,), -1: (-2,)}.get(value, (value + 1, value - 1) if value is not None else ()):
            yield node, str(other)


def keepdim(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Keep the reduced axis where it should go, or drop it where it should stay."""
    if isinstance(node, ast.Constant) and _is_keyword(node, text, "keepdim"):
        yield node, repr(not node.value)
    is_reduction = isinstance(node, ast.Call) and _called(node) in _REDUCTIONS and (node.args or node.keywords)
    if is_reduction and not _keyword(node, "keepdim"):  # type: ignore[arg-type]
        yield node, f"{text.of(node)[:-1].rstrip().rstrip(',')}, keepdim=True)"


def dropped_call(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Forget a function around a value: sqrt, clamp, detach, float, reshape, ..."""
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield node, f"({text.of(node.func.value)})"
    elif len(node.args) >= 1 and not isinstance(node.args[0], ast.Starred) and _called(node) not in ("range", "len"):
        yield node, f"({text.of(node.args[0])})"


def dropped_keyword(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Forget an optional argument: dtype, device, generator, ..."""
    if isinstance(node, ast.Call):
        for index, keyword in enumerate(node.keywords):
            if keyword.arg is None:
                continue
            kept = [text.of(a) for a in node.args]
            kept += [text.of(k) for i, k in enumerate(node.keywords) if i != index]
            yield node, f"{text.of(node.func)}({', '.join(kept)})"


_DTYPES = {
    "float32": ("float64", "float16"),
    "float64": ("float32",),
    "float16": ("float32",),
    "bfloat16": ("float32",),
    "int64": ("int32", "float32"),
    "long": ("float",),
}
_CASTS = {"float": ("double", "half"), "double": ("float",), "long": ("float",), "half": ("float",), "int": ("float",)}


def dtype(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Compute in another precision."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        for other in _DTYPES.get(node.attr, ()):
            yield node, f"torch.{other}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        for other in _CASTS.get(node.func.attr, ()):
            yield node, f"{text.of(node.func.value)}.{other}()"


_IN_PLACE = {"+": "add_", "-": "sub_", "*": "mul_", "/": "div_"}
_HAS_IN_PLACE = {
    "add",
    "sub",
    "mul",
    "div",
    "clamp",
    "sqrt",
    "exp",
    "log",
    "neg",
    "abs",
    "pow",
    "square",
    "clip",
    "lerp",
}


def in_place(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Overwrite a value that somebody else may still need."""
    if isinstance(node, ast.BinOp) and _is_needed(node.left, text):
        method = _IN_PLACE.get(_SYMBOLS.get(type(node.op), ""))
        if method:
            yield node, f"{text.of(node.left)}.{method}({text.of(node.right)})"
    if isinstance(node, ast.BinOp) and _is_needed(node.right, text) and isinstance(node.op, (ast.Add, ast.Mult)):
        yield node, f"{text.of(node.right)}.{_IN_PLACE[_SYMBOLS[type(node.op)]]}({text.of(node.left)})"
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    if node.func.attr in _HAS_IN_PLACE and _is_needed(node.func.value, text):
        start = text.of(node.func)
        yield node, f"{start}_{text.of(node)[len(start) :]}"


def reversed_shape(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Line the axes up from the other end, so that they broadcast against the wrong ones."""
    if isinstance(node, ast.Call) and _is_shape(node) and len(node.args) > 1:
        yield node, f"{text.of(node.func)}({', '.join(text.of(a) for a in reversed(node.args))})"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) > 1:
        yield node, f"{text.of(node.value)}[{', '.join(text.of(e) for e in reversed(node.slice.elts))}]"


_RELATIVES = {
    "sqrt": ("rsqrt",),
    "rsqrt": ("sqrt",),
    "exp": ("expm1",),
    "expm1": ("exp",),
    "log": ("log1p", "log2"),
    "log1p": ("log",),
    "log2": ("log",),
    "sin": ("cos",),
    "cos": ("sin",),
    "cumprod": ("cumsum", "prod"),
    "cumsum": ("cumprod", "sum"),
    "sum": ("mean",),
    "mean": ("sum",),
    "var": ("std",),
    "std": ("var",),
    "randn": ("rand",),
    "rand": ("randn",),
    "zeros": ("ones",),
    "ones": ("zeros",),
    "zeros_like": ("ones_like",),
    "ones_like": ("zeros_like",),
    "min": ("max",),
    "max": ("min",),
    "minimum": ("maximum",),
    "maximum": ("minimum",),
    "floor": ("ceil", "round"),
    "ceil": ("floor",),
    "round": ("floor",),
    "softmax": ("log_softmax",),
    "reshape": ("view",),
    "repeat": ("repeat_interleave",),
    "repeat_interleave": ("repeat",),
    "stack": ("cat",),
    "cat": ("stack",),
    "chunk": ("split",),
    "sigmoid": ("tanh",),
    "silu": ("gelu", "relu"),
}


def related_function(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Call a function with a similar name or use."""
    if isinstance(node, ast.Call):
        name = _called(node)
        function = text.of(node.func)
        for other in _RELATIVES.get(name, ()):
            if other == "view" and not isinstance(getattr(node.func, "value", None), ast.Name):
                continue  # what was just computed is contiguous; what was given may not be
            yield node, f"{function[: len(function) - len(name)]}{other}{text.of(node)[len(function) :]}"


def related_name(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Take another variable, or another attribute of `self`, whose name looks alike."""
    scope = _scope(node, text)
    if scope is None:
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in _names(scope):
        for other in _look_alikes(node.id, _names(scope)):
            yield node, other
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _is_self(node.value):
        inside = ast.walk(_outermost(scope, text))
        known = {n.attr for n in inside if isinstance(n, ast.Attribute) and _is_self(n.value)}
        for other in _look_alikes(node.attr, known):
            yield node, f"{text.of(node.value)}.{other}"


def _look_alikes(name: str, names: set[str]) -> list[str]:
    return difflib.get_close_matches(name, sorted(names - {name}), 2, 0.55)


def dropped_statement(node: ast.AST, text: Text) -> Iterator[Slip]:
    """Forget a step: an update, a call, a second assignment, a context."""
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, "pass"
    if isinstance(node, ast.Assign):
        targets = [t for target in node.targets for t in (target.elts if isinstance(target, ast.Tuple) else [target])]
        scope = _scope(node, text)
        if all(isinstance(t, (ast.Attribute, ast.Subscript)) or (scope and _bound_before(t, scope)) for t in targets):
            yield node, "pass"
    if isinstance(node, ast.With) and all(item.optional_vars is None for item in node.items):
        first, last = node.items[0].context_expr, node.items[-1].context_expr
        if first is last:
            yield first, "__import__('contextlib').nullcontext()"


OPERATORS: tuple[Operator, ...] = (
    arithmetic,
    dropped_term,
    swapped_operands,
    comparison,
    condition,
    constant,
    off_by_one,
    backwards,
    swapped_arguments,
    dim,
    keepdim,
    dropped_call,
    dropped_keyword,
    dtype,
    in_place,
    reversed_shape,
    related_function,
    related_name,
    dropped_statement,
)

# What the operators ask of a node.

_REDUCTIONS = {"sum", "mean", "amax", "amin", "norm", "std", "var", "prod", "logsumexp"}
_SHAPES = {"reshape", "view", "expand", "permute", "repeat", "movedim", "tile"}
_ONE_DIM = {
    "softmax",
    "log_softmax",
    "cumsum",
    "cumprod",
    "unsqueeze",
    "squeeze",
    "flip",
    "flatten",
    "size",
} | _REDUCTIONS
_TWO_DIMS = {"transpose", "swapaxes", "unflatten", "movedim"}
_SECOND_DIM = {"cat", "stack", "chunk", "split", "roll", "gather", "index_select", "repeat_interleave"}
_DIM_KEYWORDS = {"dim", "axis", "dims", "axes", "start_dim", "end_dim", "dim0", "dim1"}
_MODULES = {"torch", "math", "F", "np", "functional"}


def _called(node: ast.Call) -> str:
    """Return the last part of the called name."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _is_module(node: ast.AST) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in _MODULES


def _is_shape(node: ast.Call) -> bool:
    return _called(node) in _SHAPES


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in node.keywords if k.arg == name), None)


def _is_keyword(node: ast.AST, text: Text, name: str) -> bool:
    parent = text.parents.get(node)
    return isinstance(parent, ast.keyword) and parent.arg == name


def _whole(node: ast.AST) -> int | None:
    """Return the value of a whole number, also of a negative one; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _whole(node.operand)
        return None if value is None else -value
    found = isinstance(node, ast.Constant) and type(node.value) is int
    return node.value if found else None  # type: ignore[attr-defined]


def _dim_arguments(call: ast.Call, both: bool = False) -> list[ast.expr]:
    """Return the positional arguments of a call that name an axis."""
    name, arguments = _called(call), list(call.args)
    if not isinstance(call.func, ast.Attribute):
        return []
    if _is_module(call.func.value):
        arguments = arguments[1:]  # the tensor itself
    if name in _TWO_DIMS:
        return arguments[:2]
    if both:
        return []
    if name in _ONE_DIM or (name in _SECOND_DIM and _is_module(call.func.value)):
        return arguments[:1]
    return arguments[1:2] if name in _SECOND_DIM else []


def _is_dim(node: ast.AST, text: Text) -> bool:
    """Tell whether a number names an axis; for `-1` both the number and its sign are asked about."""
    parent = text.parents.get(node)
    if isinstance(parent, ast.UnaryOp):
        return isinstance(node, ast.Constant) and _is_dim(parent, text)
    if isinstance(parent, ast.Tuple):
        return _is_dim(parent, text)
    if isinstance(parent, ast.keyword):
        return parent.arg in _DIM_KEYWORDS
    return isinstance(parent, ast.Call) and node in _dim_arguments(parent)


def _builds_a_list(node: ast.BinOp) -> bool:
    return any(isinstance(side, (ast.List, ast.Tuple)) for side in (node.left, node.right))


def _is_needed(node: ast.AST, text: Text) -> bool:
    """Tell whether somebody still needs a value: it belongs to the caller or to the object, or is read further down."""
    if isinstance(node, ast.Attribute):
        return _is_self(node.value)
    scope = _scope(node, text)
    if not isinstance(node, ast.Name) or scope is None or _is_module(node):
        return False
    if node.id in {a.arg for a in ast.walk(scope.args) if isinstance(a, ast.arg)}:
        return True
    statement: ast.AST = node
    while not isinstance(statement, ast.stmt):
        statement = text.parents[statement]
    if any(isinstance(n, ast.Name) and n.id == node.id and isinstance(n.ctx, ast.Store) for n in ast.walk(statement)):
        return False  # it gets a new value here: what is read further down is that one
    if isinstance(statement, ast.Return):
        return False
    after = text.span(statement)[1]
    reads = [n for n in ast.walk(scope) if isinstance(n, ast.Name) and n.id == node.id and isinstance(n.ctx, ast.Load)]
    return any(text.span(n)[0] >= after for n in reads)


def _scope(node: ast.AST, text: Text) -> ast.FunctionDef | None:
    """Return the function around a node."""
    parent = text.parents.get(node)
    while parent is not None and not isinstance(parent, ast.FunctionDef):
        parent = text.parents.get(parent)
    return parent


def _outermost(node: ast.AST, text: Text) -> ast.AST:
    while not isinstance(text.parents[node], ast.Module):
        node = text.parents[node]
    return node


def _names(scope: ast.FunctionDef) -> set[str]:
    """Return the parameters and local variables of a function."""
    bound = {a.arg for a in ast.walk(scope) if isinstance(a, ast.arg)}
    bound |= {n.id for n in ast.walk(scope) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return bound


def _bound_before(target: ast.AST, scope: ast.FunctionDef) -> bool:
    """Tell whether a name already has a value where `target` gives it one."""
    if not isinstance(target, ast.Name):
        return False
    if target.id in {a.arg for a in ast.walk(scope.args) if isinstance(a, ast.arg)}:
        return True
    stores = [n for n in ast.walk(scope) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return any(n.id == target.id and n.lineno < target.lineno for n in stores)
