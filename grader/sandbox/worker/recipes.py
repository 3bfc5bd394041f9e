"""Recipes, worker side: makes the inputs that `grader.recipes` describes. One function per operation, nothing else.

Everything is made on the CPU with generators of its own, so that the global random state is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from .witness import Elsewhere, Witnessed

DTYPES: dict[str, Any] = {
    name: getattr(torch, name)
    for name in (
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "bool",
        "complex64",
        "complex128",
    )
}

# Kept before any student code can replace them.
_randn, _rand, _tensor, _zeros, _ones = torch.randn, torch.rand, torch.tensor, torch.zeros, torch.ones
_arange, _linspace, _cumprod, _Generator = torch.arange, torch.linspace, torch.cumprod, torch.Generator


def _seeded(seed: int) -> Any:
    return _Generator().manual_seed(seed)


def _linear_betas(steps: int, start: float, end: float) -> Any:
    return _linspace(start, end, steps, dtype=torch.float32)


def _scaled_linear_betas(steps: int, start: float, end: float) -> Any:
    return _linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float32) ** 2


def _of_numbers(values: Any, dtype: str | None = None) -> Any:
    return _tensor(values, dtype=None if dtype is None else DTYPES[dtype])


def _on(tensor: Any, device: str) -> Any:
    if device not in ("cpu", "meta"):
        raise ValueError(f"no device {device} here")
    return tensor.to(device)


def _stack(source: str, configs: dict[str, Any], weights: dict[str, Any]) -> Any:
    module = ModuleType("stack")
    exec(compile(source, "model.py", "exec"), module.__dict__)
    return module.Stack(configs, weights)


def _witnessed(builder: str, calls: int, **kwargs: Any) -> Any:
    return Witnessed(builder, kwargs, calls)


def _stand_in(name: str, known: dict[str, Any]) -> Any:
    return Elsewhere(name, known)


_MAKERS: dict[str, Callable[..., Any]] = {
    "randn": lambda seed, *shape: _randn(shape, generator=_seeded(seed)),
    "rand": lambda seed, *shape: _rand(shape, generator=_seeded(seed)),
    "tensor": _of_numbers,
    "array": lambda literal: literal,
    "zeros": lambda *shape: _zeros(shape),
    "ones": lambda *shape: _ones(shape),
    "arange": lambda start, stop, step: _arange(start, stop, step),
    "linspace": lambda start, stop, steps: _linspace(start, stop, steps),
    "linear_betas": _linear_betas,
    "scaled_linear_betas": _scaled_linear_betas,
    "alphas_cumprod": lambda betas: _cumprod(1.0 - betas, dim=0),
    "generator": _seeded,
    "dtype": lambda name: DTYPES[name],
    "stack": _stack,
    "witnessed": _witnessed,
    "stand_in": _stand_in,
    ".to": lambda tensor, name: tensor.to(DTYPES[name]),
    ".on": _on,
    ".reshape": lambda tensor, *shape: tensor.reshape(shape),
    ".transpose": lambda tensor, dim0, dim1: tensor.transpose(dim0, dim1),
    ".expand": lambda tensor, *shape: tensor.expand(shape),
    ".contiguous": lambda tensor: tensor.contiguous(),
    ".clamp": lambda tensor, low, high: tensor.clamp(low, high),
    ".requires_grad_": lambda tensor: tensor.detach().requires_grad_(),
    ".getitem": lambda tensor, index: tensor[index],
    ".mul": lambda tensor, factor: tensor * factor,
    ".add": lambda tensor, term: tensor + term,
}


def operations() -> list[str]:
    """Return the names of all operations, for the test that both sides know the same."""
    return sorted(_MAKERS)


def make(op: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Return what one recipe step makes."""
    if op not in _MAKERS:
        raise ValueError(f"no recipe called {op}")
    return _MAKERS[op](*args, **kwargs)
