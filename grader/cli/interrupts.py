"""Ctrl-C once there is a verdict: it ends the pictures and nothing else, so that no finished result is lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """From here to the end of the process Ctrl-C is heard, but raises only within `stoppable`."""

    def __init__(self) -> None:
        """Take over the signal; where a background job's shell has it ignored, it stays so."""
        self._heard = False
        self._may_stop = False
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._heard = True
        if self._may_stop:
            self._may_stop = False  # a second one must not disturb what cleans up after the first
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Raise KeyboardInterrupt at a Ctrl-C, also at one that came before."""
        try:
            self._may_stop = True
            if self._heard:
                raise KeyboardInterrupt
            yield
        finally:
            self._may_stop = False
