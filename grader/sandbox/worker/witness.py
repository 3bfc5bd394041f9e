"""Models that are handed to a submission while their calls are written down by somebody else.

A check says `witnessed("make_unet", ...)`. In a process that holds a student's code the scenario then gets a stand-in:
each call of it goes through the judge to the model's own process, which holds the public scenarios and no student code.
Sources that are ours get a stand-in whose calls stay in this process and are written down here. Both look alike to the
code, and give the same numbers: inputs go in and answers come out as copies, contiguous and without a graph.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .calls import by_name, too_many

Transport = Callable[[tuple[Any, ...], dict[str, Any], bool], Any]

_is_grad_enabled, _set_grad_enabled = torch.is_grad_enabled, torch.set_grad_enabled
_contiguous_format, _Tensor = torch.contiguous_format, torch.Tensor

REFUSAL = (
    "this model is a stand-in: its calls are counted elsewhere. It can be called, asked for config, dtype and device, "
    "and told train(), eval() and requires_grad_(); {name} does not reach the model"
)


class Witnessed(NamedTuple):
    """What a check asks for: a function of scenarios.py that builds a model, its arguments, most calls."""

    builder: str
    kwargs: dict[str, Any]
    calls: int


class Elsewhere(NamedTuple):
    """What stands in its place where a student's code is: a model of another process, and what it looks like."""

    name: str
    known: dict[str, Any]


class TooManyCalls(RuntimeError):
    """The model was called more often than any right code needs to."""


def facts(model: Any) -> dict[str, Any]:
    """Return what a stand-in for `model` shows of it, as plain values."""
    config = getattr(model, "config", None)
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    signature = inspect.signature(getattr(model, "forward", model))
    return {
        "name": type(model).__name__,
        "config": dict(config) if config is not None else {},
        "dtype": parameters[0].dtype if parameters else torch.float32,
        "device": parameters[0].device.type if parameters else "cpu",
        "training": bool(getattr(model, "training", False)),
        "requires_grad": any(parameter.requires_grad for parameter in parameters),
        "parameters": [name for name, p in signature.parameters.items() if p.kind <= p.POSITIONAL_OR_KEYWORD],
    }


def answer(model: Any, args: list[Any], kwargs: dict[str, Any], *, grad: bool) -> Any:
    """Call the real model and return its answer taken apart, so that it can travel."""
    before = _is_grad_enabled()
    _set_grad_enabled(grad)
    try:
        result = model(*args, **kwargs)
    finally:
        _set_grad_enabled(before)
    if isinstance(result, dict):
        return {"fields": {str(key): copied(value) for key, value in result.items()}}
    if isinstance(result, tuple):
        return {"tuple": tuple(copied(value) for value in result)}
    return {"value": copied(result)}


def copied(value: Any, *, flag: bool = False) -> Any:
    """Return a value whose tensors are copies in row-major order, outside any graph; `flag` keeps requires_grad."""
    if isinstance(value, _Tensor):
        copy = value.detach().clone(memory_format=_contiguous_format)
        return copy.requires_grad_(value.requires_grad) if flag and copy.is_floating_point() else copy
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item, flag=flag) for item in value)
    if isinstance(value, dict):
        return {key: copied(item, flag=flag) for key, item in value.items()}
    return value


def bound(parameters: list[str], args: tuple[Any, ...], kwargs: dict[str, Any], *, grad: bool) -> dict[str, Any]:
    """Return one call as it is written down: its arguments by name, and whether gradients were on."""
    return {**by_name(parameters, args, kwargs), "grad": grad}


def raised(kind: str, message: str) -> BaseException:
    """Return an exception as the model raised it; a class that is not Python's own becomes a RuntimeError."""
    if kind == TooManyCalls.__name__:
        return TooManyCalls(message)
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, Exception):
        return found(message)
    return RuntimeError(f"{kind}: {message}")


class Output(dict):  # type: ignore[type-arg]
    """A model's answer: `.sample`, `["sample"]` and `[0]` give the same."""

    def __getattr__(self, name: str) -> Any:
        """Return a field."""
        try:
            return dict.__getitem__(self, name)
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        """Return a field by name or by place."""
        return self.to_tuple()[key] if isinstance(key, (int, slice)) else dict.__getitem__(self, key)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields in order."""
        return tuple(self.values())


class Config(dict):  # type: ignore[type-arg]
    """A model's configuration, read by name or by key."""

    def __getattr__(self, name: str) -> Any:
        """Return an entry."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Remembers(torch.autograd.Function):  # type: ignore[misc]
    """Lets an answer ask for a gradient as the real model's would; none flows, for there is no graph here."""

    @staticmethod
    def forward(ctx: Any, tensor: Any, anchor: Any) -> Any:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(REFUSAL.format(name="backward()"))


class StandIn(torch.nn.Module):  # type: ignore[misc]
    """Looks like the model and passes its calls on."""

    def __init__(self, known: dict[str, Any], transport: Transport) -> None:
        """Take what is known of the model, and who answers for it."""
        super().__init__()
        self.__dict__["_transport"] = transport
        self.config = Config(known["config"])
        dtype, device = known["dtype"], known["device"]
        self.anchor = torch.nn.Parameter(torch.zeros(1, dtype=dtype, device=device), known["requires_grad"])
        self.train(known["training"])

    @property
    def dtype(self) -> Any:
        """The dtype of the model's parameters."""
        return self.anchor.dtype

    @property
    def device(self) -> Any:
        """The device of the model's parameters."""
        return self.anchor.device

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model answers."""
        grad = _is_grad_enabled()
        found = self.__dict__["_transport"](args, kwargs, grad)
        ((form, value),) = found.items()
        if grad and self.anchor.requires_grad:
            value = _remembering(value, self.anchor)
        if form == "fields":
            return Output(value)
        return value

    def _refuse(self, name: str) -> Any:
        raise RuntimeError(REFUSAL.format(name=name))

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Stay where and what it is; anything else is refused."""
        wanted = torch.empty(0, dtype=self.dtype, device=self.device).to(*args, **kwargs)
        if wanted.dtype != self.dtype or wanted.device != self.device:
            self._refuse("to()")
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse("half(), float(), cuda() and their like")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        self._refuse("state_dict()")

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        self._refuse("load_state_dict()")

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        self._refuse("a hook")

    def register_forward_pre_hook(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        self._refuse("a hook")

    def register_full_backward_hook(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        self._refuse("a hook")

    def __deepcopy__(self, memo: Any) -> Any:
        """Refuse."""
        self._refuse("deepcopy()")


def _remembering(value: Any, anchor: Any) -> Any:
    if isinstance(value, _Tensor) and value.is_floating_point():
        return _Remembers.apply(value, anchor)
    if isinstance(value, tuple):
        return tuple(_remembering(item, anchor) for item in value)
    if isinstance(value, dict):
        return {key: _remembering(item, anchor) for key, item in value.items()}
    return value


class Here:
    """Answers for a model in this process, and writes down its calls."""

    def __init__(self, model: Any, calls: int) -> None:
        """Take the model and how often it may be called."""
        self.known = facts(model)
        self.log: list[dict[str, Any]] = []
        self.refused: str | None = None
        self._model, self._calls = model, calls

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool) -> Any:
        """Answer one call."""
        if len(self.log) == self._calls:
            self.refused = too_many(self._calls)
            raise TooManyCalls(self.refused)
        self.log.append(bound(self.known["parameters"], copied(args, flag=True), copied(kwargs, flag=True), grad=grad))
        args, kwargs = copied(args), copied(kwargs)
        return answer(self._model, list(args), kwargs, grad=grad)
