"""Code that stands between a check and the reference: hollow answers, and right answers with other rounding.

Runs in the worker, as text at the end of a submission (`grader.authoring.hollow`, `.noise`); nothing else imports it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Change = Callable[[str, Any, tuple[Any, ...], dict[str, Any]], Any]

CHANGED = "hollow: another answer"  # printed where an answer is not the reference's
DIGEST = "hollow: digest"  # printed with the digest of a call's inputs


def wrap(thing: Any, change: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Return a function, or a class with all its public methods, wrapped by `change(name, right)`."""
    if not isinstance(thing, type):
        return functools.wraps(thing)(change(thing.__name__, thing))
    for name, method in list(vars(thing).items()):
        if callable(method) and not isinstance(method, type) and (not name.startswith("_") or name == "__call__"):
            setattr(thing, name, functools.wraps(method)(change(name, method)))
    return thing


# Hollow answers.


def hollow(thing: Any, kind: str) -> Any:
    """Return `thing` with answers that know nothing: the right kind, shape and dtype at most."""
    before: dict[str, Any] = {}

    def change(name: str, right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = right(*args, **kwargs)
            if kind == "other_seed":
                found = _reseeded(right, answer, args, kwargs)
            elif kind == "last_answer":
                found = before.get(name, answer)
                before[name] = answer
                if not _alike(found, answer) or found is answer:
                    found = over(answer, _zero)
            elif kind == "the_input":
                given = list(leaves((args, kwargs)))
                found = over(answer, lambda value: _given(value, given))
            else:
                found = over(answer, _MAKERS[kind])
            if not same(found, answer):
                print(CHANGED)
            return found

        return call

    return wrap(thing, change)


def hard_coded(thing: Any, known: frozenset[str] | None) -> Any:
    """Return `thing` with the right answers for `known` inputs and zeros for all others.

    None: print the inputs' digests. The calls of an object are known by all that it was given before, too.
    """
    histories: dict[int, str] = {}

    def change(name: str, right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            history = ""
            if isinstance(thing, type) and args:
                history, args_read = histories.get(id(args[0]), ""), args[1:]
            else:
                args_read = args
            key = digest((history, name, args_read, kwargs))
            if isinstance(thing, type) and args:
                histories[id(args[0])] = key
            answer = right(*args, **kwargs)
            if known is None:
                print(DIGEST, key)
            elif key not in known:
                return over(answer, _zero)
            return answer

        return call

    if isinstance(thing, type):
        start = thing.__init__  # type: ignore[misc]

        @functools.wraps(start)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            start(self, *args, **kwargs)
            histories[id(self)] = digest(("__init__", args, kwargs))

        thing.__init__ = __init__  # type: ignore[misc]
    return wrap(thing, change)


def over(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return `value` with every leaf changed."""
    if type(value) is dict:
        return {key: over(item, change) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(over(item, change) for item in value)
    return change(value)


def leaves(value: Any) -> Iterator[Any]:
    """Yield the tensors and numbers in a value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def same(a: Any, b: Any) -> bool:
    """Tell whether two values are alike and equal."""
    if not _alike(a, b):
        return False
    for x, y in zip(leaves(a), leaves(b), strict=True):
        if isinstance(x, torch.Tensor):
            if x.device.type != "meta" and not torch.equal(x, y):
                return False
        elif isinstance(x, (bool, int, float, str)) and x != y:
            return False
    return True


def _alike(a: Any, b: Any) -> bool:
    first, second = list(leaves(a)), list(leaves(b))
    if len(first) != len(second) or type(a) is not type(b):
        return False
    return all(
        type(x) is type(y) and (not isinstance(x, torch.Tensor) or (x.shape == y.shape and x.dtype == y.dtype))
        for x, y in zip(first, second, strict=True)
    )


def _zero(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.zeros_like(value)
    if isinstance(value, (bool, int, float, str)):
        return type(value)()
    # Of an object with a config, a scheduler or a model, there is nothing in between: it is right or it is not there.
    return None if isinstance(getattr(value, "config", None), dict) else value


def _mean(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.numel():
        return torch.full_like(value, 1.0) * value.float().mean().to(value.dtype)
    return value


def _rounded(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return (value * 10).round() / 10
    return float(f"{value:.1g}") if isinstance(value, float) else value


def _transposed(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.ndim == 0:
        return value
    return value.flip(0) if value.ndim == 1 else value.transpose(-1, -2).reshape(value.shape)


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "zeros": _zero,
    "mean": _mean,
    "rounded": _rounded,
    "transposed": _transposed,
}


def _given(value: Any, given: list[Any]) -> Any:
    """Return the input that could pass for an answer."""
    if not isinstance(value, torch.Tensor):
        return value
    tensors = [one for one in given if isinstance(one, torch.Tensor)]
    fitting = [one for one in tensors if one.shape == value.shape and one.device == value.device] or tensors
    return fitting[0].clone().to(value.dtype) if fitting else value


def _reseeded(right: Callable[..., Any], answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the answer for generators with another seed; without any, noise with the answer's mean and spread."""

    def other(value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return torch.Generator().manual_seed(value.initial_seed() + 1)
        return value

    # A method would change its object a second time.
    has_generator = any(isinstance(one, torch.Generator) for one in leaves((args, kwargs)))
    if has_generator and "." not in right.__qualname__:
        return right(*over(args, other), **over(kwargs, other))

    def noise(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.device.type == "meta":
            return value
        drawn = torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
        spread = value.float().std() if value.numel() > 1 else 1.0
        return (drawn * spread + value.float().mean()).to(value.dtype)

    return over(answer, noise)


def digest(value: Any) -> str:
    """Return a digest of a call's inputs."""
    parts = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            parts.update(f"{item.dtype} {tuple(item.shape)} {item.device.type}".encode())
            if item.device.type != "meta":
                parts.update(bytes(item.detach().contiguous().clone().untyped_storage()))
        elif isinstance(item, torch.Generator):
            parts.update(bytes(item.get_state().untyped_storage()))
        elif isinstance(item, dict):
            for key, inner in item.items():
                parts.update(repr(key).encode())
                add(inner)
        elif isinstance(item, (list, tuple)):
            parts.update(f"{type(item).__name__} {len(item)}".encode())
            for inner in item:
                add(inner)
        elif isinstance(item, (bool, int, float, str, type(None), torch.dtype)):
            parts.update(f"{type(item).__name__} {item!r}".encode())
        else:
            parts.update((item if isinstance(item, type) else type(item)).__name__.encode())
            config = getattr(item, "config", None)
            if isinstance(config, dict):
                add(dict(config))

    add(value)
    return parts.hexdigest()[:16]


# Right answers with other rounding.


class OtherOrder(TorchDispatchMode):  # type: ignore[misc]
    """Adds up sums and products of matrices from the other end."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Turn the reduced axis round where there is one."""
        aten, kwargs = torch.ops.aten, kwargs or {}
        if func in (aten.mm.default, aten.bmm.default):
            args = (args[0].flip(-1), args[1].flip(-2))
        elif func is aten.addmm.default:
            args = (args[0], args[1].flip(-1), args[2].flip(-2))
        elif func in (aten.sum.default, aten.mean.default):
            args = (args[0].flip(list(range(args[0].ndim))), *args[1:])
        elif func in (aten.sum.dim_IntList, aten.mean.dim) and args[1]:
            args = (args[0].flip(list(args[1])), *args[1:])
        elif func in (aten._softmax.default, aten._log_softmax.default):
            return func(args[0].flip(args[1]), *args[1:], **kwargs).flip(args[1])
        return func(*args, **kwargs)


class Float64(TorchDispatchMode):  # type: ignore[misc]
    """Computes every single operation on float32 in float64 and rounds its result."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Widen inputs and narrow outputs, but not of views, casts, random numbers and in-place operations."""
        kwargs = kwargs or {}
        given = [one for one in leaves(args) if isinstance(one, torch.Tensor)]
        plain = func.namespace == "aten" and not func._schema.is_mutable and not func.is_view and not kwargs
        if not plain or func is torch.ops.aten._to_copy.default or any(one.dtype != torch.float32 for one in given):
            return func(*args, **kwargs)

        def narrow(value: Any) -> Any:
            is_wide = isinstance(value, torch.Tensor) and value.dtype == torch.float64
            return value.float() if is_wide else value

        return over(func(*over(args, lambda v: v.double() if isinstance(v, torch.Tensor) else v)), narrow)


def noisy(thing: Any, kind: str) -> Any:
    """Return `thing` with answers that are right and rounded otherwise."""

    def strided(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.ndim < 2 or value.requires_grad:
            return value
        return value.transpose(0, -1).contiguous().transpose(0, -1)

    def change(name: str, right: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if kind == "contiguity":
                return right(*over(args, strided), **over(kwargs, strided))
            if kind in ("order", "float64"):
                with OtherOrder() if kind == "order" else Float64():
                    return right(*args, **kwargs)
            before = torch.get_num_threads()
            torch.set_num_threads(2)
            try:
                return right(*args, **kwargs)
            finally:  # the process goes on to other trials, in which two threads would wait for each other
                torch.set_num_threads(before)

        return call

    return wrap(thing, change)
