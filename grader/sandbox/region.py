"""Memory that the judge shares with one worker, where the inputs of its calls lie: what became of them is seen here.

Each byte is used for one input only, as long as the worker lives: code may keep what it was given. Linux.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from typing import Any

from grader.sandbox.decode import ITEM_SIZES, Made, MadeTensor, kind_of
from grader.sandbox.values import Tensor

DIGEST = 16  # bytes, as in worker/shared.py

SIZE = 64 << 20  # takes room only where inputs lie


class Region:
    """One worker's inputs."""

    def __init__(self) -> None:
        """Make the memory; it can no longer be made smaller, under the judge's eyes, or larger."""
        self.descriptor = os.memfd_create("inputs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, SIZE)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._bytes = mmap.mmap(self.descriptor, SIZE, prot=mmap.PROT_READ)
        self.at = 0  # where the inputs of the next call begin

    def changed(self, made: Made) -> dict[str, Tensor]:
        """Return the inputs of the call of the moment that no longer hold what was made, by name; go on behind them."""
        start, self.at = self.at, self.at + made.bytes
        if self.at > SIZE:  # no room: they lie elsewhere, and this worker says itself what became of them
            return {}
        if _digest(self._bytes[start : self.at]) == made.digest:
            return {}
        found = {}
        for tensor in made.tensors:
            array = self._read(start, tensor)
            if _digest(array.tobytes()) != tensor.digest:
                found[tensor.name] = Tensor(array, tensor.dtype, tensor.shape, tensor.strides, "cpu", False)
        return found

    def _read(self, start: int, tensor: MadeTensor) -> Any:
        import numpy as np

        size = ITEM_SIZES[tensor.dtype]
        kind = kind_of(tensor.dtype)
        strides = tuple(stride * size for stride in tensor.strides)
        array = np.ndarray(tensor.shape, kind, self._bytes, start + tensor.at, strides).copy("C")
        return array != 0 if tensor.dtype == "bool" else array

    def close(self) -> None:
        """Let go of it."""
        self._bytes.close()
        os.close(self.descriptor)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST).hexdigest()
