"""What the code prints, on its way to the judge: line by line at first, a flood in large pieces.

A line is written at once, so that it is there when the process ends on the next one, and keeps its place among the
lines of stderr. Each of them wakes the judge, so that a million lines would keep two processes busy for minutes: after
as many bytes as the judge keeps, the rest is gathered.
"""

from __future__ import annotations

import io
import os
from typing import Any

AT_ONCE = 64 << 10  # bytes; the judge shows no more of one call
PIECE = 64 << 10

_write = os.write


class Output(io.RawIOBase):
    """The descriptor that stdout and stderr share."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor."""
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._since_answer = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, data: Any) -> int:
        """Take bytes; when they leave, `flush` decides."""
        self._waiting += data
        self._since_answer += len(data)
        return len(data)

    def flush(self) -> None:
        """Send what waits, once there is enough of it: text streams call this after every line."""
        if self._since_answer <= AT_ONCE or len(self._waiting) >= PIECE:
            self.send()

    def send(self) -> None:
        """Send all that waits."""
        waiting, self._waiting = memoryview(self._waiting), bytearray()
        while waiting:
            waiting = waiting[_write(self._descriptor, waiting) :]

    def answered(self) -> None:
        """Send all that waits before an answer; what is printed then belongs to the next one."""
        self.send()
        self._since_answer = 0

    def stream(self, errors: str) -> io.TextIOWrapper:
        """Return a text stream that ends here, line by line."""
        return io.TextIOWrapper(self, encoding="utf-8", errors=errors, line_buffering=True)  # type: ignore[arg-type]
