"""Values on the wire, worker side: torch values become JSON, a table of tensors and raw bytes, and back.

What a student returns is asked as little as possible: its true type decides, and a tensor subclass is stripped to a
plain tensor before anything is read from it. Every torch function used here is kept from before student code runs.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import torch

from .recipes import DTYPES, make

MAX_DEPTH = 32
MAX_LEAVES = 50_000
MAX_TEXT = 100_000
MAX_ENTRIES = 2_000
MAX_TENSOR = 192 << 20

_names = {dtype: name for name, dtype in DTYPES.items()}
_Tensor, _Base, _Dtype = torch.Tensor, torch._C.TensorBase, torch.dtype
_no_subclass = torch._C.DisableTorchFunctionSubclass
_strided = torch.strided
_detach, _as_subclass, _clone = _Base.detach, _Base.as_subclass, _Base.clone
_contiguous_format = torch.contiguous_format
_frombuffer, _no_grad = torch.frombuffer, torch.no_grad
_string_at = ctypes.string_at
_mro = type.__dict__["__mro__"].__get__
_class_name = type.__dict__["__name__"].__get__
_class_module = type.__dict__["__module__"].__get__


class TooMuch(Exception):
    """The value as a whole cannot travel; the message continues 'your code returned ...'."""


def true_types(value: Any) -> tuple[type, ...]:
    """Return the classes a value really has, whatever its `__class__` claims."""
    return _mro(type(value))  # type: ignore[no-any-return]


def refused(kind: str, says: str) -> dict[str, Any]:
    """Return the placeholder for what cannot travel; it equals nothing."""
    return {"$refused": {"kind": kind, "says": says}}


def name_of(kind: type) -> str:
    """Return a class's short name without asking its metaclass."""
    return str(_class_name(kind))[:80]


def module_of(kind: type) -> str:
    """Return the name of the module a class says it is of, without asking its metaclass."""
    return str(_class_module(kind))


def plain(tensor: Any) -> Any:
    """Strip a tensor subclass (Parameter included) to a torch.Tensor that shares its data, outside autograd."""
    if type(tensor) is _Tensor:
        return _detach(tensor)
    with _no_subclass(), _no_grad():
        bare = _detach(tensor)
        return bare if type(bare) is _Tensor else _as_subclass(bare, _Tensor)


class Encoder:
    """Collects the tensors of one answer while its values are turned into JSON."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self.table: list[dict[str, Any]] = []
        self.chunks: list[bytes] = []
        self._leaves = 0
        self._entries = 0
        self._bytes = 0

    def value(self, value: Any) -> Any:
        """Return the JSON for a value; what cannot travel becomes a refusal, as a whole if need be."""
        mark = len(self.table), len(self.chunks), self._bytes
        try:
            return self._any(value, 0)
        except TooMuch as reason:
            kind, says = "too_large", str(reason)
        except BaseException as error:  # code of a hostile class ran; its answer is no answer
            kind, says = "object", f"a value that cannot be read ({name_of(type(error))})"
        del self.table[mark[0] :], self.chunks[mark[1] :]
        self._bytes = mark[2]
        return refused(kind, says)

    def _any(self, value: Any, depth: int) -> Any:
        self._leaves += 1
        if self._leaves > MAX_LEAVES:
            raise TooMuch(f"more than {MAX_LEAVES} values")
        if depth > MAX_DEPTH:
            raise TooMuch(f"containers nested more than {MAX_DEPTH} deep")
        if value is None:
            return None
        kinds = true_types(value)
        if _Base in kinds:
            return self._tensor(value)
        if float not in kinds and any(_class_module(kind) == "numpy" for kind in kinds):  # numpy.float64 is a float
            return {"$foreign": f"numpy.{name_of(kinds[0])}"}
        if bool in kinds:
            return value is True
        if int in kinds:
            whole = int.__add__(value, 0)
            return whole if -(1 << 63) <= whole < 1 << 64 else refused("too_large", "an integer beyond 64 bits")
        if float in kinds:
            number = float.__add__(value, 0.0)
            return number if math.isfinite(number) else {"$float": _special(number)}
        if str in kinds:
            text = str.__str__(value)
            return text if len(text) <= MAX_TEXT else refused("too_large", f"a text of {len(text)} characters")
        if _Dtype in kinds:
            return {"$dtype": str(value).removeprefix("torch.")}
        if tuple in kinds:
            return {"$tuple": [self._any(item, depth + 1) for item in tuple.__iter__(value)]}
        if list in kinds:
            return [self._any(item, depth + 1) for item in list.__iter__(value)]
        if dict in kinds:
            self._entries += len(value)
            if self._entries > MAX_ENTRIES:
                raise TooMuch(f"dicts of more than {MAX_ENTRIES} entries")
            pairs = list(dict.items(value))
            return {"$dict": [[self._any(k, depth + 1), self._any(v, depth + 1)] for k, v in pairs]}
        return refused("object", f"an object of type {name_of(kinds[0])}")

    def _tensor(self, value: Any) -> Any:
        with _no_subclass():
            asks_grad = bool(_Base.requires_grad.__get__(value))
        bare = plain(value)
        if bare.layout is not _strided:
            return refused("sparse", "a sparse tensor")
        if bare.is_quantized:
            return refused("quantized", "a quantized tensor")
        name = _names.get(bare.dtype)
        if name is None:
            return refused("dtype", f"a tensor of dtype {str(bare.dtype).removeprefix('torch.')}")
        if bare.is_nested:
            return refused("nested", "a nested tensor")
        shape, strides, device = list(bare.shape), list(bare.stride()), bare.device.type
        if device not in ("cpu", "meta", "cuda"):
            return refused("device", f"a tensor on device {device}")
        size = 0 if device == "meta" else math.prod(shape) * bare.element_size()
        if size > MAX_TENSOR or self._bytes + size > MAX_TENSOR:
            raise TooMuch(f"tensors of more than {MAX_TENSOR >> 20} MiB")
        if size:
            self.chunks.append(raw(bare.resolve_conj().resolve_neg().to("cpu")))
        self._bytes += size
        self.table.append(
            {
                "dtype": name,
                "shape": shape,
                "strides": strides,
                "device": device,
                "requires_grad": asks_grad,
                "nbytes": size,
            }
        )
        return {"$tensor": len(self.table) - 1}


def raw(tensor: Any) -> bytes:
    """Return a tensor's values in row-major order.

    By way of one private copy: what another thread does to the buffer meanwhile does not matter.
    """
    copy = _clone(tensor, memory_format=_contiguous_format)
    return _string_at(copy.data_ptr(), copy.numel() * copy.element_size())


def name_of_dtype(dtype: Any) -> str:
    """Return a dtype's name on the wire."""
    return _names[dtype]


def _special(number: float) -> str:
    return "nan" if number != number else ("inf" if number > 0 else "-inf")


def tensors(table: list[dict[str, Any]], data: bytes) -> list[Any]:
    """Return the literal tensors that came with a request."""
    made, offset = [], 0
    for row in table:
        size = row["nbytes"]
        flat = bytearray(data[offset : offset + size])
        dtype = DTYPES[row["dtype"]]
        tensor = _frombuffer(flat, dtype=dtype) if size else torch.empty(0, dtype=dtype)
        made.append(tensor.reshape(row["shape"]).clone())
        offset += size
    return made


def decode(value: Any, literals: list[Any]) -> Any:
    """Return the value a request describes, recipes made."""
    if isinstance(value, list):
        return [decode(item, literals) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, body),) = value.items()
    if tag == "$tuple":
        return tuple(decode(item, literals) for item in body)
    if tag == "$dict":
        return {decode(k, literals): decode(v, literals) for k, v in body}
    if tag == "$float":
        return float(body)
    if tag == "$tensor":
        return literals[body].clone()
    if tag == "$recipe":
        op, args, kwargs = body
        made = {name: decode(item, literals) for name, item in kwargs.items()}
        return make(op, [decode(item, literals) for item in args], made)
    raise ValueError(f"unknown placeholder {tag}")
