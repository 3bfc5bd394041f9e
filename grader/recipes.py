"""Recipes: inputs described in the judge and made in the worker, for student and reference alike.

A recipe is a small expression tree, `["randn", [seed, 4, 3, 8, 8], {}]`, that `alphabar_worker.recipes` evaluates with
torch. So inputs cost nothing on the wire, and strides, dtypes, meta tensors and `requires_grad` survive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the sandbox starts before numpy is needed
    import numpy as np

type_names = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to make one value in the worker: an operation, its arguments (plain values or recipes), keywords."""

    op: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def _then(self, op: str, *args: Any, **kwargs: Any) -> Recipe:
        return Recipe("." + op, (self, *args), kwargs)

    def to(self, dtype: str) -> Recipe:
        """Cast: `randn(0, 2, 3).to("bfloat16")`."""
        return self._then("to", dtype)

    def on(self, device: str) -> Recipe:
        """Move to a device; `"meta"` keeps shape and dtype and no values."""
        return self._then("on", device)

    def reshape(self, *shape: int) -> Recipe:
        """Give it another shape, same order of elements."""
        return self._then("reshape", *shape)

    def transpose(self, dim0: int, dim1: int) -> Recipe:
        """Swap two axes; the result is not contiguous."""
        return self._then("transpose", dim0, dim1)

    def expand(self, *shape: int) -> Recipe:
        """Broadcast without copying; strides become 0."""
        return self._then("expand", *shape)

    def contiguous(self) -> Recipe:
        """Copy into row-major order."""
        return self._then("contiguous")

    def clamp(self, low: float, high: float) -> Recipe:
        """Limit every value to [low, high]."""
        return self._then("clamp", low, high)

    def requires_grad_(self) -> Recipe:
        """Make it a leaf that gradients are asked for."""
        return self._then("requires_grad_")

    def __getitem__(self, index: int) -> Recipe:
        """Take one entry along the first axis."""
        return self._then("getitem", index)

    def __mul__(self, factor: float) -> Recipe:
        """Multiply by a number."""
        return self._then("mul", factor)

    def __add__(self, term: float) -> Recipe:
        """Add a number."""
        return self._then("add", term)

    def __str__(self) -> str:
        """Show it as the check's author wrote it."""
        if self.op == "stack":
            return "stack()"  # its arguments are megabytes
        shown = [show(a) for a in self.args] + [f"{k}={show(v)}" for k, v in self.kwargs.items()]
        if not self.op.startswith("."):
            return f"{self.op}({', '.join(shown)})"
        if self.op in (".mul", ".add"):
            return f"{shown[0]} {'*' if self.op == '.mul' else '+'} {shown[1]}"
        if self.op == ".getitem":
            return f"{shown[0]}[{shown[1]}]"
        return f"{shown[0]}.{self.op[1:]}({', '.join(shown[1:])})"


def show(value: Any) -> str:
    """Return a plain value, or one with recipes in it, as the source text a reader would write."""
    if type(value).__module__ == "numpy":
        return f"array of shape {value.shape}"
    if isinstance(value, Recipe):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {show(one)}" for key, one in value.items()) + "}"
    if type(value) is list:
        return "[" + ", ".join(map(show, value)) + "]"
    if type(value) is tuple:
        return "(" + ", ".join(map(show, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def randn(seed: int, *shape: int) -> Recipe:
    """Standard normal float32 values, drawn on the CPU from a generator of its own."""
    return Recipe("randn", (seed, *shape))


def rand(seed: int, *shape: int) -> Recipe:
    """Uniform float32 values in [0, 1), drawn on the CPU from a generator of its own."""
    return Recipe("rand", (seed, *shape))


def tensor(values: Any, dtype: str | None = None) -> Recipe:
    """A tensor of the given numbers; whole numbers become int64, others float32, unless `dtype` says otherwise."""
    return Recipe("tensor", (values,), {} if dtype is None else {"dtype": dtype})


def array(values: np.ndarray) -> Recipe:
    """A tensor with the values and dtype of a numpy array; the bytes travel with the call."""
    return Recipe("array", (values,))


def zeros(*shape: int) -> Recipe:
    """Float32 zeros."""
    return Recipe("zeros", shape)


def ones(*shape: int) -> Recipe:
    """Float32 ones."""
    return Recipe("ones", shape)


def arange(start: int, stop: int, step: int = 1) -> Recipe:
    """Whole numbers from `start` up to but not including `stop`, int64."""
    return Recipe("arange", (start, stop, step))


def linspace(start: float, stop: float, steps: int) -> Recipe:
    """Evenly spaced float32 values, both ends included."""
    return Recipe("linspace", (start, stop, steps))


def linear_betas(num_train_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Recipe:
    """The linear noise schedule of DDPM (Ho et al. 2020, section 4), float32 (T,)."""
    return Recipe("linear_betas", (num_train_timesteps, beta_start, beta_end))


def scaled_linear_betas(num_train_timesteps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> Recipe:
    """The schedule of latent diffusion: linear in sqrt(beta), float32 (T,)."""
    return Recipe("scaled_linear_betas", (num_train_timesteps, beta_start, beta_end))


def alphas_cumprod(betas: Recipe) -> Recipe:
    """The running product of 1 - beta, float32 (T,)."""
    return Recipe("alphas_cumprod", (betas,))


def generator(seed: int) -> Recipe:
    """A torch.Generator with this seed; its next draw after the call is part of the answer."""
    return Recipe("generator", (seed,))


def witnessed(builder: str, calls: int = 40, **kwargs: Any) -> Recipe:
    """A model that `builder` of scenarios.py builds; its calls are written down outside a student's process.

    `calls` is how often it may be called in one play.
    """
    return Recipe("witnessed", (builder, calls), kwargs)


def dtype(name: str) -> Recipe:
    """A torch dtype, by name."""
    return Recipe("dtype", (name,))
