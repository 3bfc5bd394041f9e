"""A deterministic meter of memory and work: what torch allocates and computes between two points. Runs in the worker.

Every storage that first appears as an operation's result is charged with its bytes and un-charged when its last
reference goes; storages that were there before (inputs, parameters) are free. CPython counts references, so the same
code gives the same integers every time, on any machine.

    with Meter() as meter:
        student.attention(q, k, v)
    return {"peak": meter.peak, "flops": meter.flops}

How a product is written makes no difference: `@`, `matmul`, `einsum`, `bmm`, `baddbmm_`, with gradients, under
`no_grad` or under `inference_mode`. Numbers that are multiplied one by one and summed afterwards (`(q * k).sum(-1)`,
`outer`, `vecdot`) are no matrix product: they count no FLOPs, and their terms are charged as the tensors they are.

It does not see: memory inside a kernel, memory that is not torch's, work in other threads. A check therefore bounds
FLOPs from below too: work done out of sight leaves fewer than the mathematics needs.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

_Base = torch._C.TensorBase
_storage = _Base.untyped_storage
_leaves, _finalize = tree_leaves, weakref.finalize
_gc_is_on, _gc_on, _gc_off = gc.isenabled, gc.enable, gc.disable
_decompose = torch._ops.OpOverload.decompose
_aten = torch.ops.aten


def _product(first: int) -> Callable[..., int]:
    """Return the FLOPs of a product whose left factor is argument `first`: 2 for each of its numbers and column."""

    def count(*args: Any, **_: Any) -> int:
        left, right = args[first : first + 2]
        columns = 1 if right.ndim == 1 else right.shape[-1]
        return 2 * int(left.numel()) * int(columns)

    return count


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the FLOPs of the two products of attention, as torch counts those of the GPU's kernels."""
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


# torch's counter knows neither the products in place nor those of a single vector, and no attention on the CPU.
_flops = dict(flop_registry) | {
    _aten.dot: _product(0),
    _aten.vdot: _product(0),
    _aten.mv: _product(0),
    _aten.addmv: _product(1),
    _aten.addmv_: _product(1),
    _aten.addmm_: _product(1),
    _aten.addbmm: _product(1),
    _aten.addbmm_: _product(1),
    _aten.baddbmm_: _product(1),
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
_matmuls = {"mm", "bmm", "addmm", "addmm_", "baddbmm", "baddbmm_"}


class Meter(TorchDispatchMode):  # type: ignore[misc]
    """Counts while it is entered; its figures stay readable afterwards."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.peak = 0
        """The most bytes alive at once."""
        self.peak_op = ""
        """The operation at the peak."""
        self.largest = 0
        """The largest single storage, in bytes."""
        self.total = 0
        """Bytes of all storages together."""
        self.count = 0
        """How many storages were made."""
        self.flops = 0
        """Floating point operations of matmuls, convolutions and attention, as torch counts them."""
        self.ops: Counter[str] = Counter()
        """How often each operation ran, by name."""
        self.matmuls: list[list[list[int]]] = []
        """The shapes of the two factors of every matrix product, in order."""
        self.timeline: list[tuple[int, int]] = []
        """(index of the operation, bytes alive) wherever that changed."""
        self._alive: dict[int, int] = {}
        self._known: dict[int, Any] = {}
        self._now = 0
        self._step = 0
        self._gc_was_on = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # True would import torch._dynamo at the first operation: a second of work, and frames that keep tensors alive.
        return False

    def __enter__(self) -> Self:
        """Begin. The collector is off meanwhile: when it would run is not determined by the code."""
        self._gc_was_on = _gc_is_on()
        _gc_off()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what is still alive is no longer followed."""
        super().__exit__(kind, error, trace)
        for finalizer in self._known.values():
            if finalizer is not None:
                finalizer.detach()
        self._known.clear()
        if self._gc_was_on:
            _gc_on()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and charge what it made; one that is made of others leaves that to them."""
        kwargs = kwargs or {}
        # Under inference_mode matmul and einsum arrive whole; autograd would have taken them apart before.
        super().__enter__()
        try:
            result = _decompose(func, *args, **kwargs)
        finally:
            super().__exit__(None, None, None)
        if result is not NotImplemented:
            return result
        name = func._overloadpacket.__name__
        self._step += 1
        self.ops[name] += 1
        given = [leaf for leaf in _leaves((args, kwargs)) if isinstance(leaf, _Base)]
        for tensor in given:
            self._meet(tensor, as_input=True)
        result = func(*args, **kwargs)
        made = [leaf for leaf in _leaves(result) if isinstance(leaf, _Base)]
        for tensor in (*given, *made):  # an input may have been resized
            self._meet(tensor, as_input=False)
        if self._now > self.peak:
            self.peak, self.peak_op = self._now, name
        counts = _flops.get(func._overloadpacket)
        if counts is not None:
            self.flops += int(counts(*args, **kwargs, out_val=result))
        if name in _matmuls:
            self.matmuls.append([list(tensor.shape) for tensor in given[-2:]])
        if not self.timeline or self.timeline[-1][1] != self._now:
            self.timeline.append((self._step, self._now))
        return result

    def _meet(self, tensor: Any, *, as_input: bool) -> None:
        try:
            storage = _storage(tensor)
        except (RuntimeError, NotImplementedError):  # sparse and the like have none
            return
        key = storage._cdata
        if key not in self._known:
            if as_input:
                # Free of charge; followed only so that its address is not taken for known after it has gone.
                self._known[key] = _finalize(storage, self._forget, key)
                return
            self._known[key] = _finalize(storage, self._forget, key)
            self.count += 1
            self._alive[key] = 0
        if key in self._alive:
            size, before = storage.nbytes(), self._alive[key]
            if size != before:
                self._alive[key] = size
                self._now += size - before
                self.total += max(0, size - before)
                self.largest = max(self.largest, size)

    def _forget(self, key: int) -> None:
        self._known.pop(key, None)
        size = self._alive.pop(key, 0)
        if size:
            self._now -= size
            self.timeline.append((self._step, self._now))
