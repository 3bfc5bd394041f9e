"""The inputs of a call where the judge sees them: in memory that a worker shares with it, each byte used once.

A worker that holds a student's code is not asked whether it changed its inputs. They lie in a region that the judge
maps too, so it looks for itself. Where they lie, and what they held, a process without student code tells: it makes the
same inputs in the same order, and *describes* them.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from typing import Any

import torch

from .codec import name_of_dtype, raw

DIGEST = 16  # bytes
ALIGNMENT = 64  # of every storage, as torch's own allocator gives it: sums must come out alike

_empty, _frombuffer, _uint8 = torch.empty, torch.frombuffer, torch.uint8


class Layout:
    """Goes through the inputs of one call, in order, and knows where each storage lies."""

    def __init__(self, region: mmap.mmap | None = None, at: int = 0) -> None:
        """Start at byte `at` of `region`; without one, inputs stay where they are and are only described."""
        self.rows: list[dict[str, Any]] = []
        self.bytes = 0
        self._region, self._at = region, at
        self._places: dict[int, tuple[int, Any]] = {}  # a storage -> where it lies, and its copy there
        self._held: set[int] = set()
        self._whole = hashlib.blake2b(digest_size=DIGEST)

    def value(self, name: str, value: Any) -> Any:
        """Return an input with its tensors in the region: same strides, same aliases, storages of just their size."""
        if type(value) is torch.Tensor:
            return self._tensor(name, value) if _can_move(value) else value
        if type(value) in (list, tuple):
            return type(value)(self.value(f"{name}[{index}]", item) for index, item in enumerate(value))
        if type(value) is dict:
            return {key: self.value(f"{name}[{key!r}]", item) for key, item in value.items()}
        return value

    def holds(self, tensor: Any) -> bool:
        """Tell whether a tensor lies in the region."""
        return tensor.untyped_storage()._cdata in self._held

    def described(self) -> dict[str, Any]:
        """Return where each tensor lies and a digest of its values; `bytes` is what all take, `digest` theirs."""
        return {"bytes": self.bytes, "digest": self._whole.hexdigest(), "rows": self.rows}

    def _tensor(self, name: str, tensor: Any) -> Any:
        at, copy = self._place(tensor.untyped_storage())
        if self._region is None:
            self.rows.append(
                {
                    "name": name,
                    "at": at + tensor.storage_offset() * tensor.element_size(),
                    "dtype": name_of_dtype(tensor.dtype),
                    "shape": list(tensor.shape),
                    "strides": list(tensor.stride()),
                    "digest": hashlib.blake2b(raw(tensor), digest_size=DIGEST).hexdigest(),
                }
            )
        if copy is None:
            return tensor
        moved = _empty(0, dtype=tensor.dtype).set_(copy, tensor.storage_offset(), tensor.shape, tensor.stride())
        return moved.requires_grad_() if tensor.requires_grad else moved

    def _place(self, storage: Any) -> tuple[int, Any]:
        known = self._places.get(storage._cdata)
        if known is not None:
            return known
        size = storage.nbytes()
        at, copy = self.bytes, None
        start, padding = self._at + at, -size % ALIGNMENT
        if self._region is None:
            self._whole.update(ctypes.string_at(storage.data_ptr(), size))
            self._whole.update(bytes(padding))
        elif start + size <= len(self._region):
            copy = _frombuffer(self._region, dtype=_uint8, count=size, offset=start).untyped_storage()
            copy.copy_(storage)
            self._held.add(copy._cdata)
        self.bytes += size + padding
        self._places[storage._cdata] = at, copy
        return at, copy


def _can_move(tensor: Any) -> bool:
    """Tell whether an input that a recipe made is bytes and strides and nothing else: on the processor, a leaf."""
    return bool(tensor.device.type == "cpu" and tensor.is_leaf and tensor.numel())
