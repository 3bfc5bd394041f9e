"""How much of this machine's time one student's files may take before they are read."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

from grader.errors import SubmissionError

STEP_S = 0.5  # a ring that nobody heard, in code that may raise nothing, comes again


class TooSlow(SubmissionError):
    """Looking for a student's file took too long."""


class _Ring(BaseException):  # a reader of archives that catches every Exception does not catch this
    pass


@contextlib.contextmanager
def at_most(seconds: float, wanted: str) -> Iterator[None]:
    """Give the block so many seconds of this process's CPU; TooSlow past them.

    It is looked at within a file, between any two steps of Python: a call into C is ended by nothing, and the longest
    that there is, the syntax tree of a file of 1 MiB, takes some seconds more. What the block makes of its time after
    that, its own errors among it, counts no more. Where a system has no such clock, and beside the main thread, the
    block takes as long as it takes.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    running, rang = True, False

    def ring(*_: object) -> None:
        nonlocal rang
        rang = True
        if running:
            raise _Ring

    heard = sys.unraisablehook

    def unheard(what: sys.UnraisableHookArgs) -> None:
        # It fell into a destructor, which drops it: the next one comes. Nobody is told, for nothing went wrong.
        if what.exc_type is not _Ring:
            heard(what)

    before = signal.signal(signal.SIGPROF, ring)
    sys.unraisablehook = unheard
    signal.setitimer(signal.ITIMER_PROF, seconds, STEP_S)
    try:
        yield
    except (_Ring, Exception):  # C code that a ring interrupts may make another error of it
        if not rang:
            raise
    finally:
        running = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
        sys.unraisablehook = heard
    if rang:
        says = f"it takes more than {seconds:g} s of computing to look through it; hand in {wanted} alone."
        raise TooSlow("unreadable", says)
