"""Which verdict counts when a check has not passed: it is asked again, in a fresh worker and perhaps in a led one.

A fresh worker has been asked nothing before. A *led* one has been given the same calls, in the same order, as the one
in which the check failed. A check that passes when it is asked first and fails again after the same calls is wrong: the
code keeps something. So a file cannot be two solutions of which the better one counts. What does not repeat is
unstable: two of three tries decide, and a process that ends while it is led, twice, has not passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from grader.checking.keeps import Kept

if TYPE_CHECKING:
    from grader.checking.session import Verdict

KEEPS = "Right when called first, wrong after other calls: your code keeps something from an earlier call"

# done; the process ended on the way, so that the calls do not repeat; the time for it was spent before the end
Led = Literal["done", "ended", "spent"]


def settle(
    first: Verdict, fresh: Callable[[], Verdict], lead: Callable[[], Led], again: Callable[[], Verdict]
) -> Verdict:
    """Return the verdict that counts.

    `first` is what the check found in the worker of the moment, and not a pass. `fresh` runs it in a new worker. `lead`
    takes a third worker through the calls that the first had been given, and `again` runs the check there.
    """
    second = fresh()
    if second.outcome in (first.outcome, "grader_error"):
        return second
    if second.outcome == "timed_out":  # and has spent the time for anything more
        return replace(second, unstable=True)
    led = lead()
    if led == "ended":  # something else may have ended it
        led = lead()
    if led != "done":  # whoever makes it long, or ends on the way, must not be the better for it
        return replace(first, unstable=True)
    third = again()
    if third.outcome == "grader_error":
        return third
    repeats = third.outcome == first.outcome
    if second.outcome != "passed" or third.outcome == "passed":
        return replace(second, unstable=not repeats)
    return replace(third, keeps=True) if repeats else replace(first, unstable=True)


def sentence(kept: Sequence[Kept]) -> str:
    """Return what a student reads of code that keeps something; `kept` is what its text shows."""
    return f"{KEEPS}{': ' if kept else ''}{', or '.join(one.says for one in kept)}."
