"""The judge's end of a worker's pipes: what has been printed, and the traces of where it is. Never waits."""

from __future__ import annotations

import os
from collections.abc import Iterator


class Pipe:
    """One pipe, open until the worker's end is."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor."""
        os.set_blocking(descriptor, False)
        self.descriptor: int | None = descriptor

    def read(self) -> Iterator[bytes]:
        """Yield what has arrived."""
        while self.descriptor is not None:
            try:
                part = os.read(self.descriptor, 1 << 16)
            except (BlockingIOError, InterruptedError):
                return
            if part:
                yield part
            else:
                self.close()

    def close(self) -> None:
        """Close it, once."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
